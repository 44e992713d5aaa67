from collections.abc import Sequence

import numpy as np

from keras_plm.tasks.text_model import TextModel, check_texts


class EmbedderMethods(TextModel):
    """The text-level methods of an embedder. Keras models and exported artifacts share them.

    Attributes:
        max_length: maximum number of tokens that `embed` reads of a text; None means the model's limit.
        prompt: the prefix that `embed` adds to every text.
    """

    max_length: int | None

    @property
    def longest_row(self) -> int:
        """Maximum number of tokens of a text, including special tokens: `max_length`, but at most the model's limit."""
        limit = super().longest_row
        return limit if self.max_length is None else min(self.max_length, limit)

    def embed(self, texts: Sequence[str], batch_size: int = 32, prompt: str | None = None) -> np.ndarray:
        """(rows, D) float32 vectors of texts.

        Args:
            texts: texts; they are truncated to `max_length` tokens.
            batch_size: rows per batch; rows of similar length are batched together.
            prompt: a prefix for every text, such as "passage: "; None means the model's own prompt.

        Example:
            >>> vectors = embedder.embed(["A quiet film.", "A calm movie."])  # doctest: +SKIP
            >>> vectors @ vectors.T  # cosines, if the embedder normalizes  # doctest: +SKIP
        """
        check_texts(texts)
        before = self.prompt if prompt is None else prompt
        return self.predict_texts([before + text for text in texts] if before else texts, batch_size=batch_size)

    def similarities(self, first: Sequence[str], second: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """(rows,) float32 cosines of pairs of texts."""
        check_texts(first, second)
        unique = list(dict.fromkeys([*first, *second]))
        vectors = self.embed(unique, batch_size)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        place = {text: i for i, text in enumerate(unique)}
        a, b = (vectors[[place[text] for text in texts]] for texts in (first, second))
        return (a * b).sum(-1)
