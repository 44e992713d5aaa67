from jaxtyping import Float, Int, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor

# Far below all attention scores of a trained model, and representable in bfloat16.
MASKED_SCORE = -1e9


def expand_mask(mask: Shaped[Tensor, "B S"] | Shaped[Tensor, "B T S"]) -> Shaped[Tensor, "B 1 queries S"]:
    """A mask per key (queries = 1) or per query and key (queries = T), which broadcasts over heads.

    Args:
        mask: (B, S) or (B, T, S), int32 or bool, 1 where the key is visible.

    Raises:
        ValueError: the mask has another rank.
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
    window: int | None = None,
) -> Int[Tensor, "1 1 T S"]:
    """1 where query position - window < key position ≤ query position.

    Args:
        query_length: T.
        key_length: S.
        first_position: position of the first query among the keys, if T < S because earlier keys are in a cache.
        window: number of positions that a query sees, including its own; None means all positions up to its own.
    """
    query_positions = ops.arange(query_length, dtype="int32") + first_position
    key_positions = ops.arange(key_length, dtype="int32")
    distance = ops.expand_dims(query_positions, 1) - ops.expand_dims(key_positions, 0)
    keep = distance >= 0
    if window is not None:
        keep = ops.logical_and(keep, distance < window)
    return ops.expand_dims(ops.expand_dims(ops.cast(keep, "int32"), 0), 0)


def visible_tokens(
    padding_mask: Int[Tensor, "B S"], first_position: Int[Tensor, ""] | int = 0, num_queries: int | None = None
) -> Int[Tensor, "B T S"]:
    """1 where a token sees another token: in the same text, not later, and not padding.

    Args:
        padding_mask: (B, S) int32, 0 for padding. If a row has several texts, the mask is 1 for the first text, 2 for
            the second, and so on.
        first_position: position of the first query in its row.
        num_queries: T; None means S.

    Example:
        A row with two texts after padding (·). The last token sees only its own text:

        padding_mask     ·  1  1  2  2
        the last token   0  0  0  1  1
    """
    length = ops.shape(padding_mask)[1]
    queries = length if num_queries is None else num_queries
    own = padding_mask
    if num_queries is not None:
        # not `ops.slice`: XLA would compile a step again for each first position
        own = ops.take(padding_mask, ops.arange(num_queries, dtype="int32") + first_position, axis=1)
    before = ops.squeeze(causal_mask(queries, length, first_position), 1)
    same = ops.logical_and(
        ops.equal(ops.expand_dims(own, 2), ops.expand_dims(padding_mask, 1)),
        ops.expand_dims(padding_mask, 1) > 0,
    )
    return before * ops.cast(same, "int32")


def text_positions(visible: Int[Tensor, "B T S"]) -> Int[Tensor, "B T"]:
    """The position of each token in its text: the number of tokens that it sees before itself; 0 for padding."""
    return ops.maximum(ops.sum(visible, axis=-1) - 1, 0)


def in_window(
    visible: Int[Tensor, "B T S"], window: int, first_position: Int[Tensor, ""] | int = 0
) -> Int[Tensor, "B T S"]:
    """1 where a token is visible and among the last `window` positions."""
    queries, keys = ops.shape(visible)[1], ops.shape(visible)[2]
    return visible * ops.squeeze(causal_mask(queries, keys, first_position, window), 1)


def mask_bias(
    mask: Shaped[Tensor, "batch 1 queries S"], masked_score: float = MASKED_SCORE
) -> Float[Tensor, "batch 1 queries S"]:
    """What is added to the scores: `masked_score` where the expanded mask is 0, else 0; float32."""
    return (1.0 - ops.cast(mask, "float32")) * masked_score
