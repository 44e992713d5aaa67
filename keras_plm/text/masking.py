import tensorflow as tf

from .tokenizer import Tokenizer


def mask_tokens(
    tokenizer: Tokenizer,
    packed: dict[str, tf.Tensor],
    seed: tf.Tensor,
    num_positions: int,
    rate: float = 0.15,
    whole_word: bool = True,
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Choose words for masking. Replace 80 % of their tokens by [MASK] and 10 % by a random token, and keep 10 %.

        token_ids        [CLS] the   cat  s   ##at   [SEP]        (before)
        token_ids        [CLS] the [MASK] s [MASK]   [SEP]
        mask_positions   2 4 0
        labels           cat ##at [PAD]
        weights          1 1 0

    Args:
        tokenizer: knows the special ids, the vocabulary size, and which tokens continue a word.
        packed: `token_ids`, `segment_ids` and `padding_mask`, (B, T), from `pack`.
        seed: (2,) int32; equal seeds give equal masks.
        num_positions: P, maximum number of positions per row.
        rate: fraction of a row's real tokens to choose; at least one token is chosen.
        whole_word: choose either all tokens of a word or none, unless the first chosen word exceeds the limit.

    Returns:
        inputs: `packed` with changed `token_ids`, and with `mask_positions` (B, P) int32, ascending; unused positions
            are 0.
        labels: (B, P) int32, the original tokens; [PAD] at unused positions.
        weights: (B, P) float32; 0 at unused positions, otherwise 1.

    Source: Devlin et al. 2019, §3.1 and appendix A.1, https://arxiv.org/abs/1810.04805; whole words:
        https://github.com/google-research/bert (2019 update)
    """
    ids = packed["token_ids"]
    batch, length = tf.shape(ids)[0], tf.shape(ids)[1]
    word_seed, kind_seed, piece_seed = tf.unstack(tf.random.split(seed, 3))
    ordinary = tf.reduce_all(ids[..., None] != tf.constant(tokenizer.special_ids), -1)
    rank = _random_ranks(tokenizer, ids, ordinary, word_seed, whole_word)  # (B, T)
    num_ordinary = tf.reduce_sum(tf.cast(ordinary, tf.int32), 1, keepdims=True)
    real = tf.cast(tf.reduce_sum(packed["padding_mask"], 1, keepdims=True), tf.float32)
    goal = tf.clip_by_value(tf.cast(tf.round(real * rate), tf.int32), 1, num_positions)
    goal = tf.minimum(goal, num_ordinary)

    # Sorted by rank, the tokens of a word are adjacent. A word that exceeds the goal is left out, except the first.
    order = tf.argsort(rank, axis=1, stable=True)
    sorted_rank = tf.gather(rank, order, batch_dims=1)
    index = tf.range(length)[None, :]
    word_end = tf.searchsorted(sorted_rank, sorted_rank, side="right")
    first_word = word_end[:, :1]
    fits = (word_end <= goal) | ((word_end == first_word) & (index < goal))
    chosen_sorted = fits & (index < num_ordinary)

    count = tf.reduce_sum(tf.cast(chosen_sorted, tf.int32), 1, keepdims=True)
    positions = tf.sort(tf.where(chosen_sorted, order, length), axis=1)[:, :num_positions]
    missing = num_positions - tf.shape(positions)[1]
    positions = tf.pad(positions, [[0, 0], [0, tf.maximum(missing, 0)]])
    used = tf.range(num_positions)[None, :] < count
    positions = tf.ensure_shape(tf.where(used, positions, 0), (None, num_positions))
    labels = tf.where(used, tf.gather(ids, positions, batch_dims=1), tokenizer.pad_id)

    kind = tf.random.stateless_uniform(tf.shape(positions), kind_seed)
    random_piece = tf.random.stateless_uniform(tf.shape(positions), piece_seed, 0, len(tokenizer), tf.int32)
    shown = tf.where(kind < 0.8, tokenizer.mask_id, tf.where(kind < 0.9, random_piece, labels))
    rows = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(positions))
    replaced = tf.tensor_scatter_nd_update(
        ids,
        tf.stack([tf.boolean_mask(rows, used), tf.boolean_mask(positions, used)], 1),
        tf.boolean_mask(shown, used),
    )
    inputs = {**packed, "token_ids": replaced, "mask_positions": positions}
    return inputs, labels, tf.cast(used, tf.float32)


def _random_ranks(
    tokenizer: Tokenizer, ids: tf.Tensor, ordinary: tf.Tensor, seed: tf.Tensor, whole_word: bool
) -> tf.Tensor:
    """(B, T) float32: a random number for each word, shared by its tokens; 2 for special tokens."""
    draw = tf.random.stateless_uniform(tf.shape(ids), seed)
    if whole_word:
        continues = tf.gather(tf.constant(tokenizer.continues_word), ids) & ordinary
        # the index of each token's word, then the random number of that word
        word = tf.maximum(tf.cumsum(tf.cast(~continues, tf.int32), axis=1) - 1, 0)
        draw = tf.gather(draw, word, batch_dims=1)
    return tf.where(ordinary, draw, 2.0)
