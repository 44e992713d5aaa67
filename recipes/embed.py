"""A pre-trained encoder and pairs of texts → an embedder; the cosine of two vectors says how similar two texts are.

Input    TSV, CSV or JSONL files with two columns of texts, and a column of scores unless the loss is contrastive
Output   a folder with an Embedder, its tokenizer, recipe, history, card, predictions and errors
Command  keras-plm embed --start-from saved_models/mini --train pairs.tsv --save-to saved_models/vectors
Time     MiniLM, 5,700 pairs of sentences of 15 tokens: about a minute an epoch on 2 cores with AVX-512 BF16
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from keras_plm.models import Encoder
from keras_plm.tasks import EMBEDDING, Columns, Embedder, Pooling, Task
from keras_plm.tasks.embedding.task import Similarity
from keras_plm.text import LabeledTexts, TextRows

from .fine_tune import FineTune


@dataclass(frozen=True, kw_only=True)
class Embed(FineTune[Embedder]):
    """Fine-tune an encoder so that similar texts have similar vectors.

    Both texts of a pair go through the same encoder, so a batch of `batch_size` rows holds half as many pairs.

    Values of `similarity`, the loss:

    - "ranking": a pair with a higher score should get a higher cosine.
    - "cosine": squared difference of cosine and score. If scores are outside [0, 1], they are scaled: the lowest
      becomes 0 and the highest 1.
    - "contrastive": without scores. For each first text, its own second text is the positive; the other second texts
      of the batch are the negatives. Identical texts are not negatives of each other.

    "ranking" and "contrastive" compare the pairs of one batch. With several devices, each device compares only the
    pairs of its own part of the batch.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: there is no encoder at `encoder`, or a pattern matches no file.
        ValueError: a column is missing, a score is not a number, or `batch_size` is odd.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> vectors = Embed(  # doctest: +SKIP
        ...     start_from="saved_models/mini", train="pairs.tsv", save_to="saved_models/vectors"
        ... ).run()
        >>> vectors.similarities(["A quiet film."], ["A calm movie."])  # doctest: +SKIP
        array([0.87], dtype=float32)

    Source: Reimers & Gurevych 2019, §3, https://arxiv.org/abs/1908.10084
    """

    task: ClassVar[Task] = EMBEDDING

    text_column: str = "sentence1"  # column of the first text
    second_column: str = "sentence2"  # column of the second text
    label_column: str | None = "score"  # column of the similarity scores, on any scale; None if all pairs are similar
    similarity: Similarity = "ranking"  # the loss; see above
    pooling: Pooling = "mean"  # mean or max of the token vectors, or the first token's vector (cls)
    scale: float = 20.0  # factor of the cosines in "ranking" and "contrastive"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % 2:
            raise ValueError(f"batch_size={self.batch_size}; pairs need an even number of examples")
        if (self.label_column is None) != (self.similarity == "contrastive"):
            raise ValueError(
                'similarity="contrastive" takes no scores (label_column=None); the other losses need scores'
            )
        if self.label_column is None and (
            self.validation is not None or self.validation_split is not None or self.test is not None
        ):
            raise ValueError(
                "validation and test need a column of scores; score the model afterwards with plm.evaluate"
            )

    @property
    def columns(self) -> Columns:
        """The fields whose names end in `_column`."""
        return Columns(self.text_column, self.second_column, self.label_column)

    def make(self, encoder: Encoder, examples: LabeledTexts) -> Embedder:
        """An embedder that reads at most `max_length` tokens of a text."""
        return EMBEDDING.build(encoder, examples, self.pooling, self.max_length)

    def rows(self, model: Embedder, examples: LabeledTexts) -> TextRows:
        """Both texts of each pair, one after the other."""
        devices = tf.distribute.get_strategy().num_replicas_in_sync
        if self.batch_size % (2 * devices):
            raise ValueError(f"batch_size={self.batch_size} would split pairs; choose a multiple of {2 * devices}")
        return EMBEDDING.rows(model, examples, self.max_length, self.similarity)

    def loss(self, model: Embedder) -> Any:
        """The loss that `similarity` names."""
        return EMBEDDING.loss(model, self.similarity, self.scale)
