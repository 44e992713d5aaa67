from typing import Any

import keras
from jaxtyping import Float, Int
from keras import ops

from keras_plm.layers import activate
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
        hidden = encoder.embedding(inputs["token_ids"], inputs["segment_ids"], inputs["position_ids"])
        for block in encoder.blocks:
            hidden = block(hidden, padding_mask=visible)
        if encoder.final_norm is not None:
            hidden = encoder.final_norm(hidden)
        matrix = encoder.embedding.embedding_matrix
        outputs = {"masked_tokens": model.masked_token_head(hidden, inputs["mask_positions"], matrix)}
        if model.next_sentence_head is not None:
            first = _First(name="first_tokens")(hidden, inputs["first_positions"])
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


class _First(keras.layers.Layer):
    """The states of the first tokens of all passages, as rows."""

    def call(self, hidden: Float[Tensor, "B T D"], positions: Int[Tensor, "B S"]) -> Float[Tensor, "rows D"]:
        found = ops.take_along_axis(hidden, ops.expand_dims(positions, -1), axis=1)
        return ops.reshape(found, (-1, hidden.shape[-1]))


class _Rows(keras.layers.Layer):
    """The logits of all passages, by row."""

    def call(self, logits: Float[Tensor, "rows 2"], positions: Int[Tensor, "B S"]) -> Float[Tensor, "B S 2"]:
        return ops.reshape(logits, (*ops.shape(positions), 2))
