import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from .token_shards import SUFFIX, Shard, sha256_of, write_shard
from .tokenized_corpus import NoTokensError, TokenizedCorpus
from .tokenizer import Tokenizer

Document = list[str]  # its sentences; a text that must keep its white space is one sentence


def write_shards(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    folder: Path,
    name: str,
    shard_bytes: int = 2**25,
) -> Iterator[Shard]:
    """Tokenize documents and write them in shards, atomically.

    Shards that an interrupted run has written are not written again. Their documents are read, but not tokenized.

    Args:
        documents: the documents, one by one.
        tokenizer: the tokenizer.
        folder: an existing folder.
        name: the beginning of the names of the shards, and of the files beside them that describe them.
        shard_bytes: a shard ends when it has this number of bytes of text.

    Yields:
        A description of each shard. Documents without tokens have none.
    """
    for number, (batch, size) in enumerate(_batches(documents, shard_bytes)):
        path = folder / f"{name}-{number:03d}{SUFFIX}"
        shard = _written(path)
        if shard is None:
            try:
                corpus = TokenizedCorpus.from_documents(batch, tokenizer)
            except NoTokensError:  # only white space, or characters that the tokenizer leaves out
                continue
            shard = write_shard(path, corpus, size)
            _describe(path, shard)
        yield shard


def description_of(shard: Path) -> Path:
    """The file that describes a shard until the folder is complete."""
    return shard.with_name(shard.name.removesuffix(SUFFIX) + ".json")


def _batches(documents: Iterable[Document], shard_bytes: int) -> Iterator[tuple[list[Document], int]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += sum(len(sentence.encode("utf-8", "surrogatepass")) for sentence in document)
        if size >= shard_bytes:
            yield batch, size
            batch, size = [], 0
    if batch:
        yield batch, size


def _written(path: Path) -> Shard | None:
    """The description of a shard that is complete; None if it must be written."""
    try:
        shard = Shard.from_dict(json.loads(description_of(path).read_text("utf-8")))
        return shard if sha256_of(path) == shard.sha256 else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _describe(path: Path, shard: Shard) -> None:
    temporary = description_of(path).with_suffix(f".{secrets.token_hex(4)}.tmp")
    temporary.write_text(json.dumps(asdict(shard)), "utf-8")
    os.replace(temporary, description_of(path))
