from jaxtyping import Float, Int, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor

# Far below every attention score that training produces, and representable in bfloat16.
MASKED_SCORE = -1e9


def expand_mask(mask: Shaped[Tensor, "B S"] | Shaped[Tensor, "B T S"]) -> Shaped[Tensor, "B 1 queries S"]:
    """A mask per key (queries = 1) or per query and key (queries = T), to broadcast over heads.

    Args:
        mask: (B, S) or (B, T, S), int32 or bool, 1 where the key may be seen.

    Raises:
        ValueError: another rank.
    """
    rank = len(mask.shape)
    if rank == 2:
        return ops.expand_dims(ops.expand_dims(mask, 1), 1)
    if rank == 3:
        return ops.expand_dims(mask, 1)
    raise ValueError(f"mask has shape {tuple(mask.shape)}; expected (B, S) or (B, T, S)")


def causal_mask(
    query_length: Int[Tensor, ""] | int,
    key_length: Int[Tensor, ""] | int,
    first_position: Int[Tensor, ""] | int = 0,
) -> Int[Tensor, "1 1 T S"]:
    """1 where key position ≤ query position.

    Args:
        query_length: T.
        key_length: S.
        first_position: the position of the first query among the keys, when T < S because earlier
            keys come from a cache.
    """
    query_positions = ops.arange(query_length, dtype="int32") + first_position
    key_positions = ops.arange(key_length, dtype="int32")
    keep = ops.expand_dims(key_positions, 0) <= ops.expand_dims(query_positions, 1)
    return ops.expand_dims(ops.expand_dims(ops.cast(keep, "int32"), 0), 0)


def masked_scores(
    scores: Float[Tensor, "B N T S"],
    mask: Shaped[Tensor, "batch 1 queries S"],
    masked_score: float = MASKED_SCORE,
) -> Float[Tensor, "B N T S"]:
    """The scores with `masked_score` added where the expanded mask is 0."""
    return scores + (1.0 - ops.cast(mask, scores.dtype)) * masked_score
