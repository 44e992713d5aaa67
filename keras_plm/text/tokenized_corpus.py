from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .tokenizer import Tokenizer

# of text that is tokenized at once; with 33 MB, a process needed 0.4 GB more
_DOCUMENTS_AT_ONCE, _CHARACTERS_AT_ONCE = 1_000, 2**21


class NoTokensError(ValueError):
    """No document has a token."""


@dataclass(frozen=True)
class TokenizedCorpus:
    """A corpus as one array of tokens, with the boundaries of its sentences and documents.

    Attributes:
        tokens: (any,) int32.
        sentences: (S + 1,) int64, index of each sentence's first token, and the end.
        documents: (D + 1,) int64, index of each document's first sentence, and the end.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray

    @classmethod
    def from_documents(cls, documents: Iterable[Sequence[str]], tokenizer: Tokenizer) -> "TokenizedCorpus":
        """Tokenize documents given as lists of sentences. Sentences without tokens are left out.

        Args:
            documents: lists of sentences.
            tokenizer: the tokenizer.

        Raises:
            NoTokensError: no document has a token.
        """
        tokens, sentence_lengths, document_lengths = [], [], []
        for batch in _batches(documents):
            rows = tokenizer([sentence for document in batch for sentence in document])
            lengths = rows.row_lengths().numpy()
            tokens.append(rows.flat_values.numpy())
            borders = np.cumsum([0, *map(len, batch)])
            filled = np.diff(np.concatenate([[0], np.cumsum(lengths > 0)])[borders])
            sentence_lengths.append(lengths[lengths > 0])
            document_lengths.append(filled[filled > 0])
        if not sum(map(len, tokens)):
            raise NoTokensError("the corpus is empty: no document has a token")
        return cls.from_lengths(*map(np.concatenate, (tokens, sentence_lengths, document_lengths)))

    @classmethod
    def from_lengths(
        cls, tokens: np.ndarray, sentence_lengths: np.ndarray, document_lengths: np.ndarray
    ) -> "TokenizedCorpus":
        """A corpus from the number of tokens of each sentence, and the number of sentences of each document."""
        return cls(tokens, _borders(sentence_lengths), _borders(document_lengths))

    @classmethod
    def joined(cls, parts: Sequence["TokenizedCorpus"]) -> "TokenizedCorpus":
        """The documents of several corpora, one after the other."""
        return cls.from_lengths(
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([np.diff(part.sentences) for part in parts]),
            np.concatenate([np.diff(part.documents) for part in parts]),
        )

    def texts(self) -> list[np.ndarray]:
        """The tokens of each document, int32."""
        return np.split(self.tokens, self.sentences[self.documents[1:-1]])

    def with_short_sentences(self, limit: int) -> "TokenizedCorpus":
        """Split each sentence of more than `limit` tokens into sentences of half this number.

        No text is lost then if sentence ends are not marked. Shorter sentences are not split, because a pair that is
        split inside a sentence is too easy to classify.
        """
        lengths = np.diff(self.sentences)
        half = max(limit // 2, 1)
        parts = np.where(lengths > limit, -(-lengths // half), 1)  # number of parts of each sentence
        part_lengths = np.full(parts.sum(), half)
        part_lengths[np.cumsum(parts) - 1] = lengths - (parts - 1) * half
        return TokenizedCorpus(self.tokens, _borders(part_lengths), _borders(parts)[self.documents])


def _borders(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _batches(documents: Iterable[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    batch: list[Sequence[str]] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += sum(map(len, document))
        if len(batch) == _DOCUMENTS_AT_ONCE or size >= _CHARACTERS_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
