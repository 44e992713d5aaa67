from typing import Any

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
