"""Tokenized documents in TFRecord files, and the description of a folder of them.

    corpus.json                  what the folder contains: the settings, and each shard with its checksum
    shard-00000-000.tfrecord.gz  one tf.train.Example for each document
    …                            the files of the tokenizer

An Example has two lists of int64: `tokens`, and `sentence_lengths`, the number of tokens of each sentence.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import tensorflow as tf

from keras_plm.config.typed_fields import TypedFields

from .tokenized_corpus import TokenizedCorpus

CORPUS = "corpus.json"
SUFFIX = ".tfrecord.gz"
Level = Literal["sentences", "texts"]
_FORMAT = 1
_READ_AT_ONCE = 1_000  # documents
_OPTIONS = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)  # level 6: 2 % smaller, half as fast


@dataclass(frozen=True)
class Shard(TypedFields):
    """One file of documents.

    Attributes:
        name: name of the file.
        sha256: hash of the file.
        documents, sentences, tokens: how many of them it has.
        text_bytes: bytes of the documents in UTF-8.
    """

    name: str
    sha256: str
    documents: int
    sentences: int
    tokens: int
    text_bytes: int

    def __post_init__(self) -> None:
        self.check_types()
        self.check_at_least(1, "documents", "sentences", "tokens", "text_bytes")
        if Path(self.name).name != self.name or not self.name.endswith(SUFFIX):
            raise ValueError(f"name={self.name!r:.60}; it must be the name of a {SUFFIX} file in the same folder")


@dataclass(frozen=True)
class PreparedCorpus:
    """A folder of shards, as described by its corpus.json.

    Attributes:
        folder: the folder.
        level: "sentences": the sentences of a document are separate, for next-sentence prediction. "texts": a document
            is one text with its white space, for decoders and encoder-decoders.
        tokenizer: the class and the settings of the tokenizer, whose files are in the folder.
        shards: the shards in order.
        settings: how the folder was made.
    """

    folder: Path = field(compare=False)
    level: Level
    tokenizer: Mapping[str, Any]
    shards: tuple[Shard, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Read the description of a folder.

        Raises:
            FileNotFoundError: there is no corpus.json.
            ValueError: the description is damaged, or a shard is missing.
        """
        path = Path(folder) / CORPUS
        try:
            content = json.loads(path.read_text("utf-8"))
            if content.get("format") != _FORMAT:
                raise ValueError(f"format {content.get('format')!r:.40}; this version reads format {_FORMAT}")
            if content.get("level") not in ("sentences", "texts"):
                raise ValueError(f"level={content.get('level')!r:.40}; it must be sentences or texts")
            for name in ("tokenizer", "settings"):
                if not isinstance(content.get(name), dict):
                    raise ValueError(f"{name} must be an object")
            shards = tuple(Shard.from_dict(shard) for shard in content["shards"])
            if not shards:
                raise ValueError("it has no shard")
        except FileNotFoundError:
            raise FileNotFoundError(f"{folder} has no {CORPUS}: `keras-plm prepare` makes such a folder") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from None
        if missing := [shard.name for shard in shards if not path.with_name(shard.name).is_file()]:
            raise ValueError(f"{folder} is incomplete: {len(missing)} shards are missing, such as {missing[0]}")
        return cls(path.parent, content["level"], content["tokenizer"], shards, content["settings"])

    def description(self) -> str:
        """The content of corpus.json."""
        content = {
            "format": _FORMAT,
            "level": self.level,
            "documents": self.total("documents"),
            "tokens": self.total("tokens"),
            "settings": dict(self.settings),
            "tokenizer": dict(self.tokenizer),
            "shards": [asdict(shard) for shard in self.shards],
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def total(self, name: Literal["documents", "sentences", "tokens", "text_bytes"]) -> int:
        """The sum of a number over all shards."""
        return sum(getattr(shard, name) for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """A hash of all documents and their tokens."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.shards).encode()).hexdigest()

    def load(self) -> TokenizedCorpus:
        """The documents of all shards in memory."""
        return TokenizedCorpus.joined([self.read(shard) for shard in self.shards])

    def read(self, shard: Shard) -> TokenizedCorpus:
        """The documents of a shard. Its checksum is compared first.

        Raises:
            ValueError: the file is damaged.
        """
        path = self.folder / shard.name
        if sha256_of(path) != shard.sha256:
            raise ValueError(f"{path} is damaged: its checksum differs from {CORPUS}; prepare the corpus again")
        return read_shard(path)


def write_shard(path: Path, corpus: TokenizedCorpus, text_bytes: int) -> Shard:
    """Write documents to a file, atomically. Equal documents give equal bytes.

    Args:
        path: the file; its folder must exist.
        corpus: the documents.
        text_bytes: bytes of the documents in UTF-8.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    lengths = np.diff(corpus.sentences)
    try:
        with tf.io.TFRecordWriter(str(temporary), _OPTIONS) as writer:
            for tokens, first, end in zip(corpus.texts(), corpus.documents, corpus.documents[1:], strict=False):
                writer.write(_example(tokens, lengths[first:end]))
        shard = Shard(
            path.name,
            sha256_of(temporary),
            len(corpus.documents) - 1,
            len(corpus.sentences) - 1,
            len(corpus.tokens),
            text_bytes,
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return shard


def _example(tokens: np.ndarray, sentence_lengths: np.ndarray) -> bytes:
    def integers(values: np.ndarray) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values.tolist()))

    features = {"tokens": integers(tokens), "sentence_lengths": integers(sentence_lengths)}
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def read_shard(path: Path) -> TokenizedCorpus:
    """Read the documents that `write_shard` wrote.

    Raises:
        ValueError: the file is damaged.
    """
    ragged = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    records = tf.data.TFRecordDataset(str(path), compression_type="GZIP").batch(_READ_AT_ONCE)
    tokens, sentences, documents = [], [], []
    try:
        for batch in records:
            found = tf.io.parse_example(batch, {"tokens": ragged, "sentence_lengths": ragged})
            tokens.append(found["tokens"].flat_values.numpy().astype("int32"))
            sentences.append(found["sentence_lengths"].flat_values.numpy())
            documents.append(found["sentence_lengths"].row_lengths().numpy())
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(f"{path} is damaged: {error.message}") from None
    return TokenizedCorpus.from_lengths(*map(np.concatenate, (tokens, sentences, documents)))


def sha256_of(path: Path) -> str:
    """The SHA-256 hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
