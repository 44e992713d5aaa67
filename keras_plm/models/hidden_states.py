from typing import Any

from jaxtyping import Float, Int, Shaped

from keras_plm.tensor_types import Tensor

from .encoder import Encoder, TokenInputs, pool_first


def encoder_states(
    encoder: Encoder, inputs: TokenInputs, attention: bool = False, training: bool | None = None
) -> dict[str, Any]:
    """Compute the outputs of an encoder, the hidden states after each block, and optionally the attention weights.

    Args:
        encoder: the encoder.
        inputs: `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32 each; other inputs are ignored.
        attention: whether to return the attention weights.
        training: whether dropout is on.

    Returns:
        dict: `sequence_output` and `pooled_output` as the outputs of the encoder; `hidden`, a list of the (B, T, D)
        outputs of the blocks; `attention`, a list of (B, N, T, T) float32, which is empty if `attention` is False.
    """
    hidden = encoder.embedding(inputs["token_ids"], inputs["segment_ids"], training=training)
    states, maps = [], []
    for block in encoder.blocks:
        hidden = block(hidden, padding_mask=inputs["padding_mask"], return_attention=attention, training=training)
        if attention:
            hidden, weights = hidden
            maps.append(weights)
        states.append(hidden)
    if encoder.final_norm is not None:
        hidden = encoder.final_norm(hidden, training=training)
    pooled = pool_first(hidden, encoder.pooler, encoder.config)
    return {"sequence_output": hidden, "pooled_output": pooled, "hidden": states, "attention": maps}


def states_at(
    encoder: Encoder,
    inputs: TokenInputs,
    positions: Int[Tensor, "B Q"],
    visible: Shaped[Tensor, "B T T"] | None = None,
) -> Float[Tensor, "B Q D"]:
    """Compute the last hidden states at some positions only. The last block does not compute the others.

    With 15 % of the positions, this saves 70 % of the last block.

    Args:
        encoder: the encoder.
        inputs: `token_ids`, `segment_ids`, `padding_mask` and optionally `position_ids`, (B, T) int32 each; other
            inputs are ignored.
        positions: (B, Q) int32 in [0, T).
        visible: (B, T, T) int32, 1 where a position sees another one; None means `padding_mask`.

    Raises:
        ValueError: the encoder has fake quantization, whose ranges must come from all positions.
    """
    if encoder.adaptation.quantization_aware:
        raise ValueError("the ranges of fake quantization come from all positions: use encoder_states")
    mask = inputs["padding_mask"] if visible is None else visible
    hidden = encoder.embedding(inputs["token_ids"], inputs["segment_ids"], inputs.get("position_ids"))
    for block in encoder.blocks[:-1]:
        hidden = block(hidden, padding_mask=mask)
    hidden = encoder.blocks[-1](hidden, padding_mask=mask, query_positions=positions)
    return hidden if encoder.final_norm is None else encoder.final_norm(hidden)
