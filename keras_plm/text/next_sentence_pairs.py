import numpy as np
import tensorflow as tf

from .packing import Spans
from .tokenized_corpus import TokenizedCorpus

IS_NEXT, NOT_NEXT = 0, 1


class SentencePairs:
    """Draws IsNext and NotNext pairs of texts from a corpus, reproducibly.

    Each document is split into passages of whole sentences with up to `max_tokens` tokens. A pair starts at a passage.
    Its first part is the beginning of the passage, with a random number of tokens. For IsNext, its second part is the
    text that follows. For NotNext, a first part is chosen in a passage of another document in the same way, and the
    second part is the text that follows there. Both kinds are filled with whole sentences up to `max_tokens`, so
    their lengths do not reveal the label.

    Args:
        corpus: tokens with the boundaries of sentences and documents.
        max_tokens: maximum number of tokens of a pair without special tokens; a single sentence may be longer.
        short_rate: fraction of pairs with a random smaller length, because fine-tuning also has short rows.
        inside_rate: fraction of the NotNext pairs whose second part is from another passage of the same document. They
            are harder to classify, because the topic is the same.

    Raises:
        ValueError: the corpus has only one passage, so no NotNext pair can be made.

    Source: Devlin et al. 2019, appendix A.2, https://arxiv.org/abs/1810.04805
    Differs: in BERT's data, the length of a pair can reveal that it is NotNext. Here each epoch has new pairs. BERT has
        no NotNext pairs from one document; here a corpus with a single document has only such pairs.
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
                f"the corpus is too small for sentence pairs: it fills only one passage of {max_tokens} tokens; "
                f"add text or reduce the length"
            )
        self._anchors = tf.constant(anchors)
        self._document_end = tf.constant(corpus.documents[1:][owners])
        first_of_owner = np.searchsorted(owners, owners, side="left")
        self._own_first = tf.constant(first_of_owner)
        self._own_count = tf.constant(np.searchsorted(owners, owners, side="right") - first_of_owner)

    def __len__(self) -> int:
        return int(self._anchors.shape[0])

    def draw(self, index: tf.Tensor, seed: tf.Tensor) -> tuple[Spans, Spans, tf.Tensor]:
        """The pairs that start at the passages `index`.

        Args:
            index: (B,) int64 in [0, len(self)).
            seed: (2,) int32; equal seeds give equal pairs.

        Returns:
            The first parts, the second parts, and (B,) int32 labels: 0 for IsNext, 1 for NotNext.
        """
        draws = tf.random.stateless_uniform((6, tf.size(index)), seed)
        share, next_draw, other_draw, short_draw, short_share, inside_draw = tf.unstack(draws, num=6)
        goal = tf.where(short_draw < self.short_rate, short_share, 1.0) * self.max_tokens
        goal = tf.cast(goal, tf.int64)
        first_goal = tf.cast(share * tf.cast(goal, tf.float32), tf.int64)

        start = tf.gather(self._anchors, index)
        document_end = tf.gather(self._document_end, index)
        middle = self._fill(start, first_goal, document_end - 1)
        # in a document with one sentence, nothing follows
        is_next = (next_draw < 0.5) & (middle < document_end)

        other = self._other(index, other_draw, inside_draw < self.inside_rate)
        other_end = tf.gather(self._document_end, other)
        other_middle = self._fill(tf.gather(self._anchors, other), first_goal, other_end - 1)
        other_middle = tf.minimum(other_middle, other_end - 1)
        second_start = tf.where(is_next, middle, other_middle)
        second_limit = tf.where(is_next, document_end, other_end)

        # in a short document, an overlapping passage can be the next one by chance
        is_next |= second_start == middle
        first = self._spans(start, middle)
        second = self._spans(second_start, self._fill(second_start, goal - first.lengths, second_limit))
        return first, second, tf.where(is_next, IS_NEXT, NOT_NEXT)

    def texts(self, index: tf.Tensor, seed: tf.Tensor) -> tuple[Spans, None, tf.Tensor]:
        """Single texts that start at the passages `index`, as pairs from `draw` whose second part is missing."""
        share, short_draw = tf.unstack(tf.random.stateless_uniform((2, tf.size(index)), seed))
        # a single text has room for the special tokens of a pair
        goal = tf.where(short_draw < self.short_rate, share, 1.0) * self.max_tokens
        start = tf.gather(self._anchors, index)
        end = self._fill(start, tf.cast(goal, tf.int64), tf.gather(self._document_end, index))
        return self._spans(start, end), None, tf.zeros_like(index, tf.int32)

    def _fill(self, start: tf.Tensor, num_tokens: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
        """End of the sentences from `start` that fit in `num_tokens`: at least one sentence, at most up to `limit`."""
        last_token = tf.gather(self._sentences, start) + num_tokens
        end = tf.searchsorted(self._sentences, last_token, side="right", out_type=tf.int64) - 1
        return tf.maximum(tf.minimum(end, limit), start + 1)

    def _other(self, index: tf.Tensor, draw: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
        """A random other passage, uniformly from other documents, or from the same document if `inside`."""
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
            # nothing follows the last sentence, so start one sentence earlier
            anchors.append(max(min(sentence, end - 2), int(corpus.documents[owner])))
            owners.append(owner)
            full = corpus.sentences[sentence] + max_tokens
            following = int(np.searchsorted(corpus.sentences, full, side="right")) - 1
            sentence = max(following, sentence + 1)
    return np.array(anchors, np.int64), np.array(owners, np.int64)
