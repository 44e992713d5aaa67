"""Losses for text vectors. Rows 2i and 2i + 1 of a batch are the two texts of a pair."""

from typing import Any

import keras
from jaxtyping import Float, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor


class _PairLoss(keras.losses.Loss):
    """A loss per pair or per batch, repeated for each row.

    Call args:
        y_true: (B,) the score of each row's pair, in [0, 1]; the same for both rows.
        y_pred: (B, D) vectors of length 1; B is even.

    Returns:
        Scalar float32.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Shaped[Tensor, "B ..."], y_pred: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        vectors = ops.cast(y_pred, "float32")
        # Keras passes (B,) or (B, 1)
        scores = ops.cast(ops.reshape(y_true, (-1,)), "float32")[::2]
        first, second = vectors[::2], vectors[1::2]
        return ops.repeat(self.pairs(scores, first, second), 2)

    def pairs(
        self, scores: Float[Tensor, " B/2"], first: Float[Tensor, "B/2 D"], second: Float[Tensor, "B/2 D"]
    ) -> Float[Tensor, " B/2"]:
        """The loss of each pair."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("keras_plm")
class CosineLoss(_PairLoss):
    """`(cos(a, b) - score)²`.

    Source: Reimers & Gurevych 2019, §3, https://arxiv.org/abs/1908.10084
    """

    def __init__(self, name: str = "cosine", **kwargs: Any) -> None:
        super().__init__(name, **kwargs)

    def pairs(
        self, scores: Float[Tensor, " B/2"], first: Float[Tensor, "B/2 D"], second: Float[Tensor, "B/2 D"]
    ) -> Float[Tensor, " B/2"]:
        return ops.square(ops.sum(first * second, axis=-1) - scores)


@keras.saving.register_keras_serializable("keras_plm")
class RankingLoss(_PairLoss):
    """`log(1 + Σ exp(scale · (cos_j - cos_i)))` over all pairs i, j of the batch in which i has the higher score.

    Args:
        scale: factor of the cosines.

    Source: Huang et al. 2024, CoSENT, https://doi.org/10.1109/TASLP.2024.3402087
    """

    def __init__(self, scale: float = 20.0, name: str = "ranking", **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.scale = scale

    def pairs(
        self, scores: Float[Tensor, " B/2"], first: Float[Tensor, "B/2 D"], second: Float[Tensor, "B/2 D"]
    ) -> Float[Tensor, " B/2"]:
        cosines = self.scale * ops.sum(first * second, axis=-1)
        differences = cosines[None, :] - cosines[:, None]
        wrong_if_high = scores[:, None] > scores[None, :]
        flat = ops.reshape(ops.where(wrong_if_high, differences, -1e9), (-1,))
        loss = ops.logsumexp(ops.concatenate([ops.zeros((1,)), flat]))
        return ops.broadcast_to(loss, ops.shape(scores))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"scale": self.scale}


@keras.saving.register_keras_serializable("keras_plm")
class ContrastiveLoss(_PairLoss):
    """Cross-entropy of finding each text's partner in the batch, in both directions, with in-batch negatives.

    Two pairs that share a text are not negatives of each other, because a batch may contain a pair twice, or two
    correct answers to one question.

    Args:
        scale: factor of the cosines (the inverse of a temperature).

    Call args:
        y_true: (B,) the number of each row's text. Equal texts have equal numbers in the whole data set. The numbers
            must be below 2²⁴, because Keras may convert them to float32.
        y_pred: (B, D) vectors of length 1; B is even.

    Source: Henderson et al. 2017, §4, https://arxiv.org/abs/1705.00652; both directions: Radford et al. 2021,
        https://arxiv.org/abs/2103.00020
    Differs: in the papers, a pair that is twice in a batch is a negative of itself.
    """

    def __init__(self, scale: float = 20.0, name: str = "contrastive", **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.scale = scale

    def call(self, y_true: Shaped[Tensor, "B ..."], y_pred: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        vectors, texts = ops.cast(y_pred, "float32"), ops.reshape(y_true, (-1,))
        first, second = vectors[::2], vectors[1::2]
        one, two = texts[::2], texts[1::2]
        shared = (one[:, None] == one[None]) | (two[:, None] == two[None]) | (one[:, None] == two[None])
        negatives = ~(shared | ops.transpose(shared)) | ops.eye(ops.shape(one)[0], dtype="bool")
        cosines = self.scale * ops.matmul(first, ops.transpose(second))
        cosines = ops.where(negatives, cosines, -1e9)
        right = ops.sum(self.scale * first * second, axis=-1)
        forward, backward = ops.logsumexp(cosines, axis=1), ops.logsumexp(cosines, axis=0)
        return ops.repeat((forward + backward) / 2 - right, 2)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"scale": self.scale}
