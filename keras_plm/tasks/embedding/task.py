"""Embedding: one vector per text. Texts with a similar meaning have similar vectors."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from keras_plm.evaluation import Evaluation, correlations
from keras_plm.models import Encoder
from keras_plm.tasks.columns import Columns
from keras_plm.tasks.pooling import Pooling
from keras_plm.tasks.registry import register
from keras_plm.tasks.task import Settings, Task
from keras_plm.text import LabeledTexts, OnBadRow, TextRows
from keras_plm.training import ContrastiveLoss, CosineLoss, RankingLoss

from .keras_model import Embedder
from .text_methods import EmbedderMethods

Similarity = Literal["ranking", "cosine", "contrastive"]


class EmbeddingTask(Task[EmbedderMethods, Embedder, LabeledTexts]):
    """See `Task`; the examples are `LabeledTexts` of pairs with a score."""

    name = "embedding"
    model, methods, examples = Embedder, EmbedderMethods, LabeledTexts
    columns = Columns("sentence1", "sentence2", "score")
    labels_optional = True
    setting_types = {"max_length": int | None, "prompt": str}
    sentence_encoder = True

    def read(
        self,
        source: Any,
        columns: Columns,
        on_bad_row: OnBadRow = "error",
        limit: int | None = None,
        model: EmbedderMethods | None = None,
    ) -> LabeledTexts:
        """Read two texts and a score from the columns of a table."""
        return LabeledTexts.read(source, columns.text, columns.second, columns.label, limit, "score", on_bad_row)

    def build(
        self, encoder: Encoder, examples: LabeledTexts, pooling: Pooling = "mean", max_length: int | None = None
    ) -> Embedder:
        """An embedder with vectors of length 1."""
        return Embedder(encoder.config, encoder.tokenizer, pooling, max_length=max_length, encoder=encoder)

    def rows(
        self, model: Embedder, examples: LabeledTexts, max_length: int, similarity: Similarity = "ranking"
    ) -> TextRows:
        """Both texts of each pair, one after the other, with the pair's score in [0, 1].

        Args:
            model: the model; its tokenizer is used.
            examples: pairs.
            max_length: longest text in tokens.
            similarity: the loss. For "contrastive", the targets are numbers instead of scores; identical texts have the
                same number.
        """
        assert examples.second is not None
        texts = [text for pair in zip(examples.first, examples.second, strict=True) for text in pair]
        if similarity == "contrastive":  # identical texts are not negatives of each other
            numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
            targets = np.array([numbers[text] for text in texts], "int32")
        else:
            targets = np.repeat(_in_unit_range(np.array(examples.scores(), "float32")), 2)
        rows = TextRows.from_texts(model.needs_tokenizer(), texts, None, targets, max_length)
        return dataclasses.replace(rows, group=2)

    def loss(self, model: Embedder, similarity: Similarity = "ranking", scale: float = 20.0) -> Any:
        """The loss that `similarity` names. All losses except "cosine" multiply the cosines by `scale`."""
        if similarity == "cosine":
            return CosineLoss()
        return RankingLoss(scale) if similarity == "ranking" else ContrastiveLoss(scale)

    def facts(self, model: Embedder) -> dict[str, Any]:
        """The size of the vectors and the pooling."""
        return {"vectors": f"{model.config.hidden_dim} numbers, {model.pooling} of the tokens"}

    def inputs(self, texts: list) -> list:
        """Single texts: of pairs, all first texts and then all second texts."""
        pairs = texts and not isinstance(texts[0], str)
        return [text for side in zip(*texts, strict=True) for text in side] if pairs else texts

    def evaluate(self, model: EmbedderMethods, examples: LabeledTexts, batch_size: int = 32) -> Evaluation:
        """Correlation of the cosines with the scores."""
        if examples.second is None:
            raise TypeError("an embedder is evaluated on pairs of texts with a score")
        wanted = np.array(examples.scores())
        found = model.similarities(examples.first, examples.second, batch_size)
        measured = correlations(wanted, found)
        rows = [
            {**texts, "wanted": float(w), "found": round(float(f), 4)}
            for texts, w, f in zip(examples.given(), wanted, found, strict=True)
        ]
        # by rank: scores and cosines have different scales
        distance = np.abs(wanted.argsort().argsort() - found.argsort().argsort())
        worst = [int(i) for i in np.argsort(-distance, kind="stable")]
        return Evaluation({name: measured[name] for name in ("spearman", "pearson")}, rows, worst)

    def lines(
        self, model: EmbedderMethods, first: list[str], second: list[str] | None, question: str | None = None
    ) -> Iterator[str]:
        """Lines with the cosines of a text with all texts, and the text; for pairs, the cosine and both texts."""
        if second is not None:
            for a, b, cosine in zip(first, second, model.similarities(first, second), strict=True):
                yield f"{cosine:.3f}\t{a}\t{b}"
            return
        vectors = model.embed(first)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        for text, cosines in zip(first, unit @ unit.T, strict=True):
            yield "\t".join([*(f"{cosine:.3f}" for cosine in cosines), text])

    def arrays(self, model: EmbedderMethods, first: list[str], second: list[str] | None) -> np.ndarray:
        """Vectors, (rows, D); for pairs, cosines, (rows,)."""
        return model.embed(first) if second is None else model.similarities(first, second)

    def example_command(self, folder: str) -> str:
        """A command that shows the cosine of two texts."""
        return f'keras-plm predict --model {folder} "a text" "another text"'

    def output_names(self, settings: Settings) -> list[str]:
        """`vectors` (B, D)."""
        return ["vectors"]

    def to_outputs(self, settings: Settings, outputs: Any) -> dict[str, tf.Tensor]:
        """The vectors."""
        return {"vectors": outputs}

    def from_outputs(self, settings: Settings, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """The vectors."""
        return arrays["vectors"]

    def task_library_problem(self, settings: Settings, length: int | None) -> str | None:
        """None: both libraries support embedders."""
        return None


def _in_unit_range(scores: np.ndarray) -> np.ndarray:
    """Scale scores to [0, 1] by their minimum and maximum, unless they already are in [0, 1]."""
    low, high = float(scores.min()), float(scores.max())
    if low >= 0 and high <= 1:
        return scores
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


EMBEDDING = EmbeddingTask()
register(EMBEDDING)
