from typing import Any

import keras
from jaxtyping import Float, Int
from keras import ops

from keras_plm.layers import activate
from keras_plm.models import states_at
from keras_plm.tensor_types import Tensor

from .pretraining import Pretrainer

INPUTS = ("token_ids", "segment_ids", "padding_mask", "position_ids", "mask_positions", "first_positions")


class PackedPretrainer(keras.Model):
    """A `Pretrainer` for rows with several passages, which do not see each other. It has the weights of the model.

    Args:
        model: the model; `fit` trains its weights.

    Call args:
        inputs: dict of int32 tensors, as from `text.PackedPassages`: `token_ids`, `segment_ids`, `padding_mask` with
            the number of the passage and 0 for padding, `position_ids` in the passage, (B, T) each; `mask_positions`,
            (B, P); `first_positions`, (B, S), the first token of each passage.

    Returns:
        dict of `masked_tokens`, (B, P, V) logits, and, with the next-sentence head, `next_sentence`, (B, S, 2) logits.

    Source: Krell et al. 2021, §3.2, https://arxiv.org/abs/2107.02027
    """

    def __init__(self, model: Pretrainer, **kwargs: Any) -> None:
        encoder, config = model.encoder, model.config
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUTS}
        visible = _SamePassage(name="same_passage")(inputs["padding_mask"])
        positions = ops.concatenate([inputs["mask_positions"], inputs["first_positions"]], axis=1)
        hidden = states_at(encoder, inputs, positions, visible)
        masked, first = _Parts(name="parts")(hidden, inputs["mask_positions"])
        outputs = {"masked_tokens": model.masked_token_head(masked, None, encoder.embedding.embedding_matrix)}
        if model.next_sentence_head is not None:
            pooled = first if encoder.pooler is None else activate(encoder.pooler(first), config.pooler_activation)
            outputs["next_sentence"] = _Rows(name="next_sentence_rows")(
                model.next_sentence_head(pooled), inputs["first_positions"]
            )
        super().__init__(inputs=inputs, outputs=outputs, **{"name": "packed_pretrainer", **kwargs})


class _SamePassage(keras.layers.Layer):
    """(B, T, T) int32: 1 where both tokens have the same number, which is not 0."""

    def call(self, numbers: Int[Tensor, "B T"]) -> Int[Tensor, "B T T"]:
        same = ops.equal(ops.expand_dims(numbers, 2), ops.expand_dims(numbers, 1))
        return ops.cast(ops.logical_and(same, ops.expand_dims(numbers, 1) > 0), "int32")


class _Parts(keras.layers.Layer):
    """The states at the masked positions, and as rows the states of the first tokens of all passages."""

    def call(
        self, hidden: Float[Tensor, "B Q D"], mask_positions: Int[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "B P D"], Float[Tensor, "rows D"]]:
        count = ops.shape(mask_positions)[1]
        return hidden[:, :count], ops.reshape(hidden[:, count:], (-1, hidden.shape[-1]))


class _Rows(keras.layers.Layer):
    """The logits of all passages, by row."""

    def call(self, logits: Float[Tensor, "rows 2"], positions: Int[Tensor, "B S"]) -> Float[Tensor, "B S 2"]:
        return ops.reshape(logits, (*ops.shape(positions), 2))
