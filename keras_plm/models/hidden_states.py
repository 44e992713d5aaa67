from typing import Any

from .encoder import Encoder, TokenInputs, pool_first


def encoder_states(
    encoder: Encoder, inputs: TokenInputs, attention: bool = False, training: bool | None = None
) -> dict[str, Any]:
    """What an encoder gives, and what happens between its blocks.

    Args:
        encoder: whose layers to run.
        inputs: `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32 each; others are left alone.
        attention: give the attention weights too.
        training: dropout on.

    Returns:
        dict: `sequence_output` and `pooled_output` as the encoder has them; `hidden`, a list of (B, T, D), what each
        block gives; `attention`, a list of (B, N, T, T) float32, empty unless asked for.
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
