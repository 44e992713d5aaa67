from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from keras_plm.models import AnyModel, copy_model, named_weights, weight_arrays
from keras_plm.text import list_of_texts

from .activation_capture import text_rows
from .error_compensation import sparse_kernel
from .layerwise import Change, changed_model

_HEALING = 0.3  # fraction of the steps, at the end, in which the zeros do not change
_UPDATES = 60  # number of mask updates before that
_TWO_OF_FOUR = "2:4"


@dataclass(frozen=True)
class Sparsity:
    """Which weights of a kernel become 0.

    Attributes:
        fraction: fraction of the weights, in (0, 1); the smallest weights become 0.
        two_of_four: in each group of four neighboring weights of an output, the two smallest become 0. Processors with
            support for 2:4 sparsity can skip them.
    """

    fraction: float
    two_of_four: bool = False

    @classmethod
    def parse(cls, spelling: str) -> Self:
        """Parse "0.8" or "2:4"; raise ValueError for anything else."""
        if spelling == _TWO_OF_FOUR:
            return cls(0.5, True)
        try:
            fraction = float(spelling)
        except ValueError:
            fraction = 0.0
        if not 0 < fraction < 1:
            raise ValueError(f'sparsity {spelling!r}; it must be a fraction such as "0.8", or "2:4"')
        return cls(fraction)

    def kept(self, weights: np.ndarray) -> np.ndarray:
        """(D, U) bool, which of the weights are kept. With "2:4", an incomplete last group of four is kept."""
        if not self.two_of_four:
            gone = round(self.fraction * weights.size)
            sizes = np.abs(weights)
            return sizes > np.partition(sizes, gone - 1, axis=None)[gone - 1] if gone else np.ones(weights.shape, bool)
        whole = len(weights) // 4 * 4
        four = np.abs(weights[:whole]).reshape(-1, 4, weights.shape[1]).swapaxes(0, 1)
        kept = np.ones(weights.shape, bool)
        # Keep a weight that is larger than two of the others; of equal weights, the later is larger. Sorting would take
        # four times as long.
        for i in range(4):
            kept[i:whole:4] = sum(four[i] > four[j] if i < j else four[i] >= four[j] for j in range(4) if i != j) >= 2
        return kept


def prune(model: AnyModel, sparsity: str, texts: Any = None, progress: bool = False) -> AnyModel:
    """Set many weights of each kernel to 0, in one step.

    Without texts, the smallest weights become 0. With texts, the weights with the least effect on the outputs of the
    kernels become 0; the other weights and the kernels after them compensate.

    Higher sparsity means lower accuracy. Fine-tuning with `Pruner`, or with the field `prune` of a recipe, recovers
    most of it. With "2:4" the same weights stay 0; with a fraction, the smallest weights are chosen again. On question
    answering, the recovery was best with `Distill`: the original model as teacher, `hard=0, soft=1, hidden=1`, and no
    dropout.

    Zeros do not make a `.tflite` smaller, but gzip compresses it better: by a seventh for MiniLM in int8 with half of
    each kernel.

    Args:
        model: an `Encoder` or a task model.
        sparsity: "0.8" for this fraction of each kernel of the blocks; "2:4" for two of each four neighbors.
        texts: a few hundred texts (or pairs) similar to the texts in production. A kernel of D inputs needs texts with
            2 D tokens; with fewer, its smallest weights become 0.
        progress: show a progress bar.

    Returns:
        A model of the same kind. Embedding matrices, norms, biases and heads are not changed.

    Raises:
        ValueError: the spelling of `sparsity` is unknown, the model has LoRA updates, `texts` is empty or not a list of
            texts, or the model has no tokenizer for them.

    Example:
        >>> import keras_plm
        >>> half = prune(keras_plm.Encoder(keras_plm.TINY), "2:4")
        >>> float((half.blocks[0].feed_forward.expand.kernel.numpy() == 0).mean())
        0.5

    Source: Han et al. 2015, §3, https://arxiv.org/abs/1506.02626; 2:4: Mishra et al. 2021, §3,
        https://arxiv.org/abs/2104.08378; the algorithm is `tensorflow_model_optimization`'s. With texts: Meng et al.
        2024, §3, https://arxiv.org/abs/2406.07831, with the inputs and outputs of Li et al. 2025, §3,
        https://arxiv.org/abs/2504.02692
    """
    if texts is None:
        pruned = copy_model(model)
        pruner = Pruner(pruned, sparsity, steps=0)  # in a variable: a compiled method does not keep its object alive
        pruner.update()
        return pruned
    chosen = Sparsity.parse(sparsity)
    return changed_by_texts(
        model, texts, lambda kernel, products: sparse_kernel(kernel, products, chosen.kept), progress
    )


class Pruner(keras.callbacks.Callback):
    """A callback for `fit` that sets more and more of the smallest weights to 0, and keeps them at 0.

    The sparsity grows polynomially over the first 70 % of the steps, quickly at first. Then the zeros do not change.
    With "2:4", all zeros are chosen at the first step.

    Args:
        model: the model with the kernels, also if `fit` is called on a `Distiller`.
        sparsity: as in `prune`.
        steps: optimizer steps of the whole training; with gradient accumulation, they are fewer than batches.

    Source: Zhu & Gupta 2017, §3, https://arxiv.org/abs/1710.01878
    Differs: it works with Keras 3 variables, for which tfmot's own wrapper raises an error.
    """

    def __init__(self, model: Any, sparsity: str, steps: int) -> None:
        # imported here, because it imports Keras 2
        from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl, pruning_schedule

        super().__init__()
        check_merged(model)
        chosen = Sparsity.parse(sparsity)
        weights = [weight.value for path, weight in named_weights(model).items() if is_prunable(path)]
        growing = max(round(steps * (1 - _HEALING)), 1)
        schedule = (
            pruning_schedule.PolynomialDecay(0.0, chosen.fraction, 0, growing, frequency=max(growing // _UPDATES, 1))
            if steps
            else pruning_schedule.ConstantSparsity(chosen.fraction, 0, frequency=1)
        )
        self._step = tf.Variable(1, dtype=tf.int64, trainable=False)  # "2:4" zeros are chosen at step 1
        # zeros of an interrupted training stay
        masks = [tf.Variable(tf.cast(weight != 0, weight.dtype), trainable=False) for weight in weights]
        self._pruning = pruning_impl.Pruning(
            lambda: self._step,
            [(*pair, tf.Variable(0.0, trainable=False)) for pair in zip(weights, masks, strict=True)],
            schedule,
            (1, 1),
            "AVG",
            (2, 4) if chosen.two_of_four else None,
        )

    @tf.function(autograph=False)
    def update(self) -> None:
        """Choose weights according to the schedule, and set them to 0."""
        self._pruning.conditional_mask_update()
        self._pruning.weight_mask_op()

    @tf.function(autograph=False)
    def apply(self) -> None:
        """Set the chosen weights to 0 again; in averaged weights they still contain earlier values."""
        self._pruning.weight_mask_op()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._step.assign(tf.cast(self.model.optimizer.iterations, tf.int64))
        self.update()


def check_merged(model: Any) -> None:
    """Raise ValueError if the model has LoRA updates. Added to the kernels, they would destroy zeros and clusters."""
    if model.adaptation.lora_rank:
        raise ValueError("LoRA updates would destroy the zeros and clusters of their kernels: use merge_lora first")


def is_prunable(path: str) -> bool:
    """Whether the weight with this path is a kernel of a block."""
    return path.startswith("block_") and path.endswith("/kernel") and "adapter" not in path


def changed_by_texts(model: AnyModel, texts: Any, change: Change, progress: bool) -> AnyModel:
    """Check the user's texts, and call `changed_model` for all prunable kernels."""
    check_merged(model)
    given = list_of_texts(texts, "texts")
    if not given:
        raise ValueError("texts has no texts; leave it out to use the weights alone")
    rows = text_rows(model, given, model.config.max_sequence_length)
    return changed_model(model, list(filter(is_prunable, named_weights(model))), rows, change, progress)


def measured_sparsity(model: Any) -> float:
    """The fraction of zeros in the kernels of the blocks."""
    kernels = [kernel for path, kernel in weight_arrays(model).items() if is_prunable(path)]
    return sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.size for kernel in kernels)
