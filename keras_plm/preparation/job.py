from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keras_plm.text.token_shards import Level

from .duplicates import Deduplicate
from .raw_documents import DocumentEnd, Part, documents_of

UNFINISHED = "unfinished"  # subfolder of what is needed only until the corpus is complete
TOKENIZER = "tokenizer_settings.json"


@dataclass(frozen=True)
class Job:
    """What workers need to know.

    Attributes:
        folder: the folder of the work, on a disk that all workers share.
        level, document_end, text_column, deduplicate, threshold, languages, quality, shard_bytes: see `Prepare`.
    """

    folder: Path
    level: Level
    document_end: DocumentEnd
    text_column: str
    deduplicate: Deduplicate
    threshold: float
    languages: tuple[str, ...]
    quality: bool
    shard_bytes: int

    @property
    def filters(self) -> bool:
        """Whether some documents may be left out."""
        return self.deduplicate != "none" or bool(self.languages) or self.quality

    def fingerprints(self, part: Part) -> Path:
        """The file with the hashes of a part."""
        return self.folder / UNFINISHED / f"{part.name}.hashes.npz"

    def finished(self, part: Part) -> Path:
        """The file that says what became of a part."""
        return self.folder / UNFINISHED / f"{part.name}.json"

    def documents(self, part: Part) -> Iterator[str]:
        """The texts of the documents of a part."""
        return documents_of(part, self.document_end, self.text_column)
