"""What a pre-training reads: texts in memory, files that are larger than the memory, or a prepared corpus."""

import copy
import hashlib
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.progress import track

from keras_plm.models import load_tokenizer, tokenizer_settings
from keras_plm.text import (
    PreparedCorpus,
    StreamedRows,
    TokenizedCorpus,
    Tokenizer,
    expand_files,
    read_text,
    read_texts,
    write_shards,
)
from keras_plm.text.readers.files import file_suffix
from keras_plm.text.streamed_rows import BLOCK_TOKENS, Rows
from keras_plm.text.token_shards import CORPUS
from keras_plm.training import write_whole

if TYPE_CHECKING:
    from .pretraining_recipe import PretrainingRecipe
    from .training_state import TrainingState

_IN_MEMORY = 2**28  # bytes of files, decompressed; larger ones are tokenized to shards first. 43 MB of text take 0.8 GB
_TABLES = (".tsv", ".csv", ".jsonl")
_GZIP = 3  # how much smaller a compressed text is
_LEARNED_FROM = 2**27  # bytes of text from which a vocabulary is learned


def open_texts(recipe: "PretrainingRecipe[Any]", limit: int | None) -> "PretrainingTexts":
    """The texts of `recipe.corpus`.

    Args:
        recipe: the recipe.
        limit: number of texts for a test run; None means all.
    """
    patterns = recipe.corpus
    if isinstance(patterns, str) and Path(patterns).is_dir():
        corpus = PreparedCorpus.open(patterns)
        return PreparedTexts(recipe, corpus if limit is None else replace(corpus, shards=corpus.shards[:1]))
    if limit is None:
        sizes = ((path.stat().st_size, path.suffix.lower() == ".gz") for path in expand_files(_listed(patterns)))
        if sum(size * (_GZIP if compressed else 1) for size, compressed in sizes) > _IN_MEMORY:
            return LargeTexts(recipe)
    return TextsInMemory(recipe, list(itertools.islice(recipe.read(patterns), limit)))


class PretrainingTexts(ABC):
    """The texts of a pre-training, and how they become tokens and rows."""

    def __init__(self, recipe: "PretrainingRecipe[Any]") -> None:
        self.recipe = recipe

    def for_recipe(self, recipe: "PretrainingRecipe[Any]") -> Self:
        """The same texts for a recipe that makes other rows of them."""
        found = copy.copy(self)
        found.recipe = recipe
        return found

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of all texts."""

    @abstractmethod
    def tokenizer(self, state: "TrainingState") -> Tokenizer:
        """The tokenizer of a new model."""

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:  # noqa: B027
        """Raise ValueError if the model of `start_from` cannot read the texts."""

    @abstractmethod
    def rows(self, model: Any, state: "TrainingState") -> Rows:
        """The texts as rows of tokens."""

    def facts(self, model: Any, rows: Rows) -> dict[str, Any]:
        """Facts about the rows for the model card."""
        if isinstance(rows, StreamedRows):
            return {"rows": f"{len(rows):,}, in {len(rows.sizes):,} blocks"}
        return self.recipe.facts(model, rows)

    @abstractmethod
    def __len__(self) -> int:
        """Number of texts; known after `rows`."""


class TextsInMemory(PretrainingTexts):
    """Texts in memory."""

    def __init__(self, recipe: "PretrainingRecipe[Any]", texts: list[Any]) -> None:
        super().__init__(recipe)
        self.texts = texts
        self._corpus: TokenizedCorpus | None = None

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.texts)

    def tokenizer(self, state: "TrainingState") -> Tokenizer:
        return state.kept_tokenizer() or self.recipe.new_tokenizer(self.texts)

    def rows(self, model: Any, state: "TrainingState") -> Rows:
        if self._corpus is None:
            self._corpus = tokenized(model, self.texts)
        return self.recipe.rows(model, self._corpus)

    def __len__(self) -> int:
        return len(self.texts)


class PreparedTexts(PretrainingTexts):
    """A prepared corpus, with its own tokenizer."""

    def __init__(self, recipe: "PretrainingRecipe[Any]", corpus: PreparedCorpus) -> None:
        super().__init__(recipe)
        self.corpus = corpus
        if corpus.level != recipe.level:
            raise ValueError(
                f"{corpus.folder} has documents as {corpus.level}, but this training needs {recipe.level}: prepare it "
                f"with --model {recipe.family}"
            )

    @property
    def fingerprint(self) -> str:
        return self.corpus.fingerprint

    def tokenizer(self, state: "TrainingState") -> Tokenizer:
        self.recipe.check_prepared()
        return load_tokenizer(dict(self.corpus.tokenizer), lambda name: self.corpus.folder / name)

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        paths = {name: self.corpus.folder / name for name in tokenizer.files()}
        same = tokenizer_settings(tokenizer) == dict(self.corpus.tokenizer) and all(
            paths[name].is_file() and paths[name].read_bytes() == content for name, content in tokenizer.files().items()
        )
        if not same:
            raise ValueError(
                f"{self.corpus.folder} has the tokens of another tokenizer than {self.recipe.start_from}: prepare it "
                f"with --tokenizer {self.recipe.start_from}"
            )

    def rows(self, model: Any, state: "TrainingState") -> Rows:
        if self.corpus.total("tokens") <= BLOCK_TOKENS:
            return self.recipe.rows(model, self.corpus.load())
        path = state.folder / f"rows_{self.recipe.max_length}.json"
        sizes = json.loads(path.read_text("utf-8")) if path.is_file() else None
        rows = StreamedRows(
            self.corpus,
            lambda corpus: self.recipe.rows(model, corpus),
            sizes,
            BLOCK_TOKENS,
            progress=self.recipe.verbose == 1,
        )
        if sizes is None and state.keeps_files:
            write_whole(path, json.dumps(rows.sizes))
        return rows

    def __len__(self) -> int:
        return self.corpus.total("documents")


class LargeTexts(PretrainingTexts):
    """Files that are larger than the memory. They become shards in the folder of the training."""

    corpus: PreparedCorpus

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.recipe.read(self.recipe.corpus))

    def tokenizer(self, state: "TrainingState") -> Tokenizer:
        texts = limited(self.recipe.read(self.recipe.corpus), _LEARNED_FROM)
        return state.kept_tokenizer() or self.recipe.new_tokenizer(texts)

    def rows(self, model: Any, state: "TrainingState") -> Rows:
        state.keep_tokenizer(model.needs_tokenizer())
        folder = state.folder / "corpus"
        if not (folder / CORPUS).is_file():
            self._write(folder, model)
        prepared = PreparedTexts(self.recipe, PreparedCorpus.open(folder))
        self.corpus = prepared.corpus
        return prepared.rows(model, state)

    def _write(self, folder: Path, model: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        documents = as_documents(self.recipe.read(self.recipe.corpus))
        shown = track(documents, "tokenizing", total=None, disable=self.recipe.verbose != 1)
        tokenizer = model.needs_tokenizer()
        shards = tuple(write_shards(shown, tokenizer, folder, "shard"))
        corpus = PreparedCorpus(folder, self.recipe.level, tokenizer_settings(tokenizer), shards)
        write_whole(folder / CORPUS, corpus.description())

    def __len__(self) -> int:
        return self.corpus.total("documents")


def read_corpus(patterns: str | tuple[str, ...], text_column: str) -> Iterator[str]:
    """The texts of text files, each of them one text, and of tables with one text per row."""
    for path in expand_files(patterns):
        if file_suffix(path) in _TABLES:
            yield from read_texts(str(path), text_column)
        else:
            yield read_text(path)


def as_documents(texts: Iterable[str | list[str]]) -> Iterator[list[str]]:
    """Texts as documents with one sentence each; documents unchanged."""
    return ([text] if isinstance(text, str) else text for text in texts)


def tokenized(model: Any, texts: Iterable[str | list[str]]) -> TokenizedCorpus:
    """Texts or documents as tokens of the model."""
    return TokenizedCorpus.from_documents(as_documents(texts), model.needs_tokenizer())


def limited(texts: Iterable[Any], size: int) -> Iterator[Any]:
    """The first texts, up to this number of bytes."""
    for text in texts:
        yield text
        size -= len(text.encode()) if isinstance(text, str) else sum(map(len, text))
        if size <= 0:
            return


def fingerprint_of(texts: Iterable[str | list[str]]) -> str:
    """A hash of all texts."""
    found = hashlib.sha256()
    for text in texts:
        whole = text if isinstance(text, str) else "\n".join(text)
        found.update(hashlib.sha256(whole.encode("utf-8", "surrogatepass")).digest())
    return found.hexdigest()


def _listed(patterns: str | tuple[str, ...]) -> str | list[str]:
    return patterns if isinstance(patterns, str) else list(patterns)
