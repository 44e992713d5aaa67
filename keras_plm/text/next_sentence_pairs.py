from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import tensorflow as tf

from .packing import Spans
from .tokenizer import Tokenizer

IS_NEXT, NOT_NEXT = 0, 1


@dataclass(frozen=True)
class TokenizedCorpus:
    """A corpus as one array of tokens, with the borders of its sentences and documents.

    Attributes:
        tokens: (any,) int32.
        sentences: (S + 1,) int64, index of each sentence's first token, and the end.
        documents: (D + 1,) int64, index of each document's first sentence, and the end.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray

    @classmethod
    def from_documents(
        cls, documents: Iterable[list[str]], tokenizer: Tokenizer, row_tokens: int | None = None
    ) -> "TokenizedCorpus":
        """Tokenize documents given as lists of sentences; sentences without a token are left out.

        Args:
            documents: lists of sentences.
            tokenizer: of this corpus.
            row_tokens: a sentence longer than a row of so many tokens counts as several of half a row, so that no text
                is lost where sentences have no visible end; None leaves all whole. Shorter ones are not cut: a pair
                that parts in the middle of a sentence is too easy to tell.

        Raises:
            ValueError: nothing but empty sentences.
        """
        tokens, sentence_lengths, document_lengths = [], [], [0]
        iterator = iter(documents)
        while batch := list(islice(iterator, 1_000)):
            rows = tokenizer([sentence for document in batch for sentence in document])
            lengths = rows.row_lengths().numpy()
            tokens.append(rows.flat_values.numpy())
            parts = (lengths > 0).astype(np.int64)  # of each sentence; 0 of an empty one
            half = 1
            if row_tokens is not None:
                half = max(row_tokens // 2, 1)
                parts = np.where(lengths > row_tokens, -(-lengths // half), parts)
            part_lengths = np.full(parts.sum(), half)
            last = np.cumsum(parts)[parts > 0] - 1
            part_lengths[last] = (lengths - (parts - 1) * half)[parts > 0]
            sentence_lengths.append(part_lengths)
            borders = np.cumsum([0, *map(len, batch)])
            counts = np.diff(np.concatenate([[0], np.cumsum(parts)])[borders])
            document_lengths.extend(counts[counts > 0])
        if not sum(map(len, tokens)):
            raise ValueError("the corpus is empty: no document has a token")
        return cls(
            np.concatenate(tokens),
            np.concatenate([[0], np.cumsum(np.concatenate(sentence_lengths))]).astype(np.int64),
            np.cumsum(document_lengths).astype(np.int64),
        )


class SentencePairs:
    """Draws IsNext and NotNext pairs of passages from a corpus, reproducibly.

    Each document is cut into passages of whole sentences that fill `max_tokens`. A pair begins at a passage:
    its first part is a random share of it; its second part is what follows there (IsNext), or what follows
    the first part of a passage of another document (NotNext), filled with whole sentences up to
    `max_tokens` in the same way, so that no length tells the two apart.

    Args:
        corpus: tokens with their borders.
        max_tokens: most tokens of a pair, special tokens not counted; a single sentence may be longer.
        short_rate: fraction of pairs that aim at a random smaller length, as fine-tuning will see.
        inside_rate: fraction of the NotNext pairs whose second part comes from another passage of the same document:
            harder to tell from IsNext, because the topic is the same.

    Raises:
        ValueError: a corpus with a single passage, of which no NotNext pair can be made.

    Source: Devlin et al. 2019, appendix A.2, https://arxiv.org/abs/1810.04805
    Differs: in BERT's data a NotNext pair can be recognized by its length; the pairs are drawn anew in
        each epoch; BERT has no NotNext from inside a document. With a single document, all NotNext come from inside it.
    """

    def __init__(
        self, corpus: TokenizedCorpus, max_tokens: int, short_rate: float = 0.1, inside_rate: float = 0.0
    ) -> None:
        self.max_tokens = max_tokens
        self.short_rate = short_rate
        self.inside_rate = inside_rate
        self._tokens = tf.constant(corpus.tokens)
        self._sentences = tf.constant(corpus.sentences)
        anchors, owners = _passages(corpus, max_tokens)
        if len(anchors) < 2:
            raise ValueError(
                f"the corpus is too small for sentence pairs: it fills one passage of {max_tokens} tokens; "
                f"add text or lower the length"
            )
        self._anchors = tf.constant(anchors)
        self._document_end = tf.constant(corpus.documents[1:][owners])
        first_of_owner = np.searchsorted(owners, owners, side="left")
        self._own_first = tf.constant(first_of_owner)
        self._own_count = tf.constant(np.searchsorted(owners, owners, side="right") - first_of_owner)

    def __len__(self) -> int:
        return int(self._anchors.shape[0])

    def draw(self, index: tf.Tensor, seed: tf.Tensor) -> tuple[Spans, Spans, tf.Tensor]:
        """The pairs that begin at passages `index`.

        Args:
            index: (B,) int64 in [0, len(self)).
            seed: (2,) int32; equal seeds give equal pairs.

        Returns:
            first and second parts, and (B,) int32 labels: 0 for IsNext, 1 for NotNext.
        """
        draws = tf.random.stateless_uniform((6, tf.size(index)), seed)
        share, next_draw, other_draw, short_draw, short_share, inside_draw = tf.unstack(draws, num=6)
        goal = tf.where(short_draw < self.short_rate, short_share, 1.0) * self.max_tokens
        goal = tf.cast(goal, tf.int64)
        first_goal = tf.cast(share * tf.cast(goal, tf.float32), tf.int64)

        start = tf.gather(self._anchors, index)
        document_end = tf.gather(self._document_end, index)
        middle = self._fill(start, first_goal, document_end - 1)
        # a document of one sentence has nothing that follows
        is_next = (next_draw < 0.5) & (middle < document_end)

        other = self._other(index, other_draw, inside_draw < self.inside_rate)
        other_end = tf.gather(self._document_end, other)
        other_middle = self._fill(tf.gather(self._anchors, other), first_goal, other_end - 1)
        other_middle = tf.minimum(other_middle, other_end - 1)
        second_start = tf.where(is_next, middle, other_middle)
        second_limit = tf.where(is_next, document_end, other_end)

        # overlapping passages of a short document can follow each other by chance
        is_next |= second_start == middle
        first = self._spans(start, middle)
        second = self._spans(second_start, self._fill(second_start, goal - first.lengths, second_limit))
        return first, second, tf.where(is_next, IS_NEXT, NOT_NEXT)

    def _fill(self, start: tf.Tensor, num_tokens: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
        """End of the whole sentences from `start` that fit, at least one, at most up to `limit`."""
        last_token = tf.gather(self._sentences, start) + num_tokens
        end = tf.searchsorted(self._sentences, last_token, side="right", out_type=tf.int64) - 1
        return tf.maximum(tf.minimum(end, limit), start + 1)

    def _other(self, index: tf.Tensor, draw: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
        """Another passage, each with the same chance: of another document, or of the same one where `inside`."""
        total = tf.constant(len(self), tf.int64)
        own_first, own_count = tf.gather(self._own_first, index), tf.gather(self._own_count, index)
        inside = (inside & (own_count > 1)) | (own_count == total)
        choices = tf.where(inside, own_count - 1, total - own_count)
        chosen = tf.cast(tf.cast(draw, tf.float64) * tf.cast(choices, tf.float64), tf.int64)
        chosen = tf.minimum(chosen, choices - 1)
        of_own = own_first + (index - own_first + 1 + chosen) % own_count
        of_others = chosen + tf.where(chosen >= own_first, own_count, 0)
        return tf.where(inside, of_own, of_others)

    def _spans(self, start: tf.Tensor, end: tf.Tensor) -> Spans:
        first_token = tf.gather(self._sentences, start)
        return Spans(self._tokens, first_token, tf.gather(self._sentences, end) - first_token)


def _passages(corpus: TokenizedCorpus, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """First sentence and document of each passage, (R,) int64 each."""
    anchors, owners = [], []
    for owner in range(len(corpus.documents) - 1):
        sentence, end = int(corpus.documents[owner]), int(corpus.documents[owner + 1])
        while sentence < end:
            # the last sentence alone has no follower: begin one earlier
            anchors.append(max(min(sentence, end - 2), int(corpus.documents[owner])))
            owners.append(owner)
            full = corpus.sentences[sentence] + max_tokens
            following = int(np.searchsorted(corpus.sentences, full, side="right")) - 1
            sentence = max(following, sentence + 1)
    return np.array(anchors, np.int64), np.array(owners, np.int64)
