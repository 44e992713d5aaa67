from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from .datasets import ready, shuffled_rows
from .masking import mask_tokens
from .next_sentence_pairs import SentencePairs
from .packing import pack
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class MaskedPairs:
    """Rows for masked-token and next-sentence pre-training.

    Attributes:
        pairs: the source of the passages.
        tokenizer: the tokenizer of their tokens.
        mask_rate: fraction of tokens to predict.
        whole_word: whole-word masking.
        next_sentence: True: pairs of texts with their labels; False: single texts.
    """

    pairs: SentencePairs
    tokenizer: Tokenizer
    mask_rate: float = 0.15
    whole_word: bool = True
    next_sentence: bool = True

    def __len__(self) -> int:
        return len(self.pairs)

    def training_dataset(self, batch_size: int, num_steps: int, first_step: int = 0, seed: int = 0) -> tf.data.Dataset:
        """Batches of shuffled passages with masked tokens; each batch is a function of (seed, step).

        Args:
            batch_size: rows per batch, summed over all replicas.
            num_steps: the dataset ends before this step.
            first_step: the dataset begins at this step. Its batches are the same as in a dataset that starts at 0.
            seed: random seed of the order, the pairs and the masks.

        Returns:
            Dataset of (inputs, labels, weights): inputs are `token_ids`, `segment_ids`, `padding_mask` (B, T) and
            `mask_positions` (B, P) int32; labels and weights have `masked_tokens` (B, P) and `next_sentence` (B,).
            P is `mask_rate` of the longest row, rounded up. The weights of `masked_tokens` are scaled to an average of
            1 over the batch, so that Keras' mean over B·P is the mean over the masked tokens of all replicas together.
        """
        length = self.pairs.max_tokens + self.tokenizer.template.num_special(pair=True)
        num_positions = int(np.ceil(length * self.mask_rate))

        def make(step: tf.Tensor) -> tuple[dict, dict, dict]:
            index = shuffled_rows(step, batch_size, len(self), seed)
            pair_seed, mask_seed = tf.unstack(tf.random.split(tf.stack([tf.cast(seed, tf.int64), step]), 2))
            draw = self.pairs.draw if self.next_sentence else self.pairs.texts
            first, second, is_next = draw(index, pair_seed)
            packed = pack(self.tokenizer, first, second, length, pad_to=length)
            inputs, masked_tokens, weights = mask_tokens(
                self.tokenizer, packed, mask_seed, num_positions, self.mask_rate, self.whole_word
            )
            weights *= tf.math.divide_no_nan(float(batch_size * num_positions), tf.reduce_sum(weights))
            labels, label_weights = {"masked_tokens": masked_tokens}, {"masked_tokens": weights}
            if self.next_sentence:
                labels["next_sentence"], label_weights["next_sentence"] = is_next, tf.ones(batch_size)
            return inputs, labels, label_weights

        return ready(tf.data.Dataset.range(first_step, num_steps).map(make, num_parallel_calls=tf.data.AUTOTUNE))
