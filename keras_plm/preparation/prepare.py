"""Raw text → a folder of shards of tokens, for pre-training on more text than fits in memory.

Input    text files, .jsonl files or other tables, also compressed
Output   a folder with shards (compressed TFRecords), the tokenizer, and corpus.json with checksums
Command  keras-plm prepare --corpus 'books/*.txt' --save-to prepared/books
"""

import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from keras_plm.checkpoints import load
from keras_plm.hidden_output import hidden_until_error
from keras_plm.models import check_free, load_tokenizer, replace_folder, tokenizer_settings
from keras_plm.text import (
    MASK,
    SENTINELS,
    PreparedCorpus,
    Tokenizer,
    WordPieceTokenizer,
    expand_files,
    learn_byte_pairs,
    learn_sentence_pieces,
    learn_vocabulary,
)
from keras_plm.text.shard_writing import description_of
from keras_plm.text.token_shards import CORPUS, SUFFIX, Level, Shard
from keras_plm.training import write_whole

from .beam_workers import run_with_workers
from .duplicates import Deduplicate
from .job import TOKENIZER, UNFINISHED, Job
from .raw_documents import DocumentEnd, Part, documents_of, parts_of

_LEARNED_FROM = 2**27  # bytes of text from which a vocabulary is learned, from all over the corpus
_MOST_PARTS = 256  # that are read to learn a vocabulary
_PLAN = "plan.json"
Family = Literal["encoder", "decoder", "encoder-decoder"]


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Tokenize a corpus once, for any number of trainings.

    `Pretrain`, `PretrainCausal` and `PretrainDenoising` read the folder shard by shard, so the corpus may be larger
    than the memory. Duplicates are left out. If the command is interrupted, start it again with the same settings: it
    continues. The shards do not depend on the number of workers.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: a pattern matches no file.
        ImportError: Apache Beam is not installed.
        ValueError: a file is not UTF-8, a setting is out of range, no document is left, or an unfinished preparation
            has other settings or files.

    Example:
        >>> Prepare(corpus="books/*.txt", save_to="prepared/books").run()  # doctest: +SKIP
    """

    corpus: str | tuple[str, ...]  # paths or globs of text files or tables, also .gz
    save_to: str  # folder for the shards
    overwrite: bool = False  # replace the folder if it exists
    tokenizer: str | None = None  # a model with its tokenizer (a folder or "hf:…") or a vocab.txt; None learns one
    model: Family = "encoder"  # what will be pre-trained; only for an encoder, sentences are separate
    # what ends a document of a text file; None: a blank line for an encoder, the end of the file for others
    document_end: DocumentEnd | None = None
    text_column: str = "text"  # column of the texts in tables; each row is a document
    vocabulary_size: int = 30_522  # number of tokens to learn: WordPiece, byte pairs (decoder), or SentencePiece
    lowercase: bool = True  # lower-case and strip accents, in a learned WordPiece vocabulary
    deduplicate: Deduplicate = "exact"  # exact: leave out equal documents; near: also similar ones (MinHash)
    threshold: float = 0.8  # Jaccard similarity of near duplicates, in (0, 1)
    languages: tuple[str, ...] = ()  # ISO 639-1 codes of the languages that are kept; none: all
    quality: bool = False  # leave out documents that do not look like text: lists, tables, symbols
    shard_megabytes: int = 32  # text of a shard
    workers: int = 0  # processes on this machine; 0 means one for each core
    beam_flags: tuple[str, ...] = ()  # run on a cluster: flags of Apache Beam, such as --runner=FlinkRunner
    verbose: int = 1  # 0: silent, 1: progress bar

    def __post_init__(self) -> None:
        for name, choices in (("model", get_args(Family)), ("deduplicate", get_args(Deduplicate))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {', '.join(choices)}")
        if self.document_end not in (None, *get_args(DocumentEnd)):
            raise ValueError(f"document_end={self.document_end!r}; choose one of {', '.join(get_args(DocumentEnd))}")
        if self.tokenizer is not None and self.vocabulary_size != Prepare.vocabulary_size:
            raise ValueError("tokenizer has its own tokens: leave out vocabulary_size")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold={self.threshold}; it is a similarity, in (0, 1)")
        for name, least in (("shard_megabytes", 1), ("vocabulary_size", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least {least}")

    def run(self) -> PreparedCorpus:
        """Prepare the corpus and return its description.

        Raises:
            RuntimeError: a worker was killed, for example because the memory was full.
        """
        logging.disable(logging.WARNING)  # Beam reports at its import that it finds no Google Cloud
        try:
            from .pipeline import run_pipeline
        except ImportError as error:
            raise ImportError(f'prepare needs: pip install "keras-plm[beam]" ({error})') from None
        finally:
            logging.disable(logging.NOTSET)
        check_free(self.save_to, self.overwrite, is_folder=True)
        files = expand_files(self.corpus if isinstance(self.corpus, str) else list(self.corpus))
        parts = parts_of(files, self.shard_megabytes * 2**20, self._document_end)
        work = Path(self.save_to).with_name(f"{Path(self.save_to).name}.preparing")
        self._begin(work, files)
        tokenizer = self._tokenizer(work, parts)
        job = self._job(work)
        # TensorFlow reports in each worker what it found on the machine
        with self._progress(work, sum(path.stat().st_size for path in files)), hidden_until_error():
            workers = self.workers or os.cpu_count() or 1
            run_with_workers(lambda: run_pipeline(job, parts, workers, self.beam_flags))
        return self._finish(work, parts, tokenizer)

    @property
    def _level(self) -> Level:
        return "sentences" if self.model == "encoder" else "texts"

    @property
    def _document_end(self) -> DocumentEnd:
        return self.document_end or ("blank-line" if self.model == "encoder" else "file")

    def _job(self, work: Path) -> Job:
        return Job(
            work.resolve(),
            self._level,
            self._document_end,
            self.text_column,
            self.deduplicate,
            self.threshold,
            self.languages,
            self.quality,
            self.shard_megabytes * 2**20,
        )

    def _record(self) -> dict[str, Any]:
        """The settings that change the shards."""
        without = ("save_to", "overwrite", "workers", "beam_flags", "verbose")
        return {name: value for name, value in asdict(self).items() if name not in without}

    def _begin(self, work: Path, files: list[Path]) -> None:
        """Make the folder of the work, or check that it is an interrupted run of this preparation."""
        sizes = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        plan = json.dumps(self._record() | {"files": sizes}, indent=2)
        path = work / UNFINISHED / _PLAN
        if path.exists() and path.read_text("utf-8") != plan:
            raise ValueError(
                f"{work} holds an unfinished preparation with other settings or other files; use the same settings to "
                "continue it, or delete the folder"
            )
        if not path.exists():
            write_whole(path, plan)

    def _tokenizer(self, work: Path, parts: list[Part]) -> Tokenizer:
        """The tokenizer, whose files are in the folder of the work."""
        settings = work / UNFINISHED / TOKENIZER
        if settings.exists():
            return load_tokenizer(json.loads(settings.read_text("utf-8")), lambda name: work / name)
        tokenizer = self._new_tokenizer(parts)
        for name, content in tokenizer.files().items():
            write_whole(work / name, content)
        # the settings come last: if they exist, the other files are complete
        write_whole(settings, json.dumps(tokenizer_settings(tokenizer), ensure_ascii=False))
        return tokenizer

    def _new_tokenizer(self, parts: list[Part]) -> Tokenizer:
        if self.tokenizer is not None and self.tokenizer.endswith(".txt"):
            return WordPieceTokenizer.from_file(self.tokenizer, self.lowercase)
        if self.tokenizer is not None:
            found = load(self.tokenizer).tokenizer
            if found is None:
                raise ValueError(f"{self.tokenizer} was saved without a tokenizer")
            return found
        texts = self._sample(parts)
        progress = self.verbose == 1
        if self.model == "decoder":
            return learn_byte_pairs(texts, self.vocabulary_size, progress=progress)
        if self.model == "encoder-decoder":
            return learn_sentence_pieces(texts, self.vocabulary_size, SENTINELS, MASK)
        lines = (line for text in texts for line in text.split("\n"))
        learned = learn_vocabulary(lines, self.vocabulary_size, self.lowercase, progress=progress)
        return WordPieceTokenizer(learned, self.lowercase)

    def _sample(self, parts: list[Part]) -> Iterator[str]:
        """Texts from parts all over the corpus, up to a number of bytes."""
        parts = parts[:: -(-len(parts) // _MOST_PARTS)]
        each = _LEARNED_FROM // len(parts)
        for part in parts:
            left = each
            for text in documents_of(part, self._document_end, self.text_column):
                yield text
                left -= len(text.encode())
                if left <= 0:
                    break

    @contextmanager
    def _progress(self, work: Path, total: int) -> Iterator[None]:
        """A progress bar of the text in finished shards, which the workers describe in files."""
        if self.verbose != 1:
            yield
            return
        done = threading.Event()
        columns = (
            TextColumn("preparing"),
            BarColumn(),
            TextColumn("{task.fields[shards]} shards"),
            TimeElapsedColumn(),
        )
        with Progress(*columns) as progress:
            task = progress.add_task("", total=total, shards=0)
            read: dict[str, int] = {}  # bytes of text of each finished shard

            def watch() -> None:
                while not done.wait(1.0):
                    for path in work.glob(f"*{SUFFIX}"):
                        if path.name not in read and description_of(path).exists():
                            read[path.name] = _description(path).text_bytes
                    progress.update(task, completed=min(sum(read.values()), total), shards=len(read))

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            try:
                yield
                progress.update(task, completed=total)
            finally:
                done.set()
                watcher.join()

    def _finish(self, work: Path, parts: list[Part], tokenizer: Tokenizer) -> PreparedCorpus:
        """Write the description, and give the folder its final name."""
        found = [json.loads((work / UNFINISHED / f"{part.name}.json").read_text("utf-8")) for part in parts]
        names = [name for part in found for name in part["shards"]]
        if not names:
            raise ValueError(f"no document is left of {self.corpus}")
        shards = tuple(_description(work / name) for name in names)
        counts = {name: sum(part.get(name, 0) for part in found) for name in ("read", "filtered", "repeated")}
        settings = self._record() | {"documents": counts}
        corpus = PreparedCorpus(work, self._level, tokenizer_settings(tokenizer), shards, settings)
        write_whole(work / CORPUS, corpus.description())
        folder = Path(self.save_to)
        replace_folder(work, folder)
        kept = {CORPUS, *names, *tokenizer.files()}
        for path in folder.iterdir():  # descriptions of shards, and incomplete files of workers that were killed
            if path.is_file() and path.name not in kept:
                path.unlink()
        shutil.rmtree(folder / UNFINISHED)
        if self.verbose:
            print(_summary(corpus, counts, self.save_to))
        return PreparedCorpus.open(folder)


def _description(shard: Path) -> Shard:
    return Shard.from_dict(json.loads(description_of(shard).read_text("utf-8")))


def _summary(corpus: PreparedCorpus, counts: dict[str, int], save_to: str) -> str:
    left_out = ", ".join(f"{counts[name]:,} {name}" for name in ("filtered", "repeated") if counts[name])
    text = corpus.total("text_bytes") / 1e6
    return (
        f"{corpus.total('documents'):,} of {counts['read']:,} documents{f' ({left_out})' if left_out else ''}, "
        f"{corpus.total('tokens'):,} tokens from {text:,.1f} MB of text in {len(corpus.shards):,} shards → {save_to}"
    )
