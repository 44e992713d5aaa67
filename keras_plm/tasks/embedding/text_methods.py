from collections.abc import Sequence

import numpy as np

from keras_plm.tasks.text_model import TextModel, check_texts


class EmbedderMethods(TextModel):
    """The methods of an embedder that take texts, also those of an exported one.

    Attributes:
        max_length: longest text in tokens that `embed` reads; None means the model's limit.
        prompt: what `embed` puts before every text.
    """

    max_length: int | None

    @property
    def longest_row(self) -> int:
        """Most tokens of a text, special tokens included: `max_length`, if the model could take more."""
        limit = super().longest_row
        return limit if self.max_length is None else min(self.max_length, limit)

    def embed(self, texts: Sequence[str], batch_size: int = 32, prompt: str | None = None) -> np.ndarray:
        """(rows, D) float32 vectors of texts.

        Args:
            texts: texts; longer ones than `max_length` lose their end.
            batch_size: rows at a time; rows of similar length go together.
            prompt: is put before every text, such as "passage: "; None means the model's own.

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
