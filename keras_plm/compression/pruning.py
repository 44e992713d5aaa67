from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from rich.progress import track

from keras_plm.models import copy_model, named_weights, weight_arrays
from keras_plm.text import list_of_texts

from .second_order import TOGETHER, changed_kernel, fitted_kernel, input_products
from .watching import text_rows

_HEALING = 0.3  # share of the steps at the end in which the zeros stay where they are
_UPDATES = 60  # of the masks, before that
_TWO_OF_FOUR = "2:4"


@dataclass(frozen=True)
class Sparsity:
    """Which weights of a kernel become 0.

    Attributes:
        fraction: share of the weights, in (0, 1): the smallest ones.
        two_of_four: of each four neighbours that make one output, the two smallest: what sparse processors can skip.
    """

    fraction: float
    two_of_four: bool = False

    @classmethod
    def parse(cls, spelling: str) -> Self:
        """From "0.8" or "2:4"; ValueError for anything else."""
        if spelling == _TWO_OF_FOUR:
            return cls(0.5, True)
        try:
            fraction = float(spelling)
        except ValueError:
            fraction = 0.0
        if not 0 < fraction < 1:
            raise ValueError(f'sparsity {spelling!r}; it is a fraction such as "0.8", or "2:4"')
        return cls(fraction)


def prune(model: Any, sparsity: str, texts: Any = None, progress: bool = False) -> Any:
    """The model with many weights of each kernel set to 0, at once.

    Those are the smallest; with texts, those that change the products with the texts' inputs least, and the other
    weights make up for them. It answers worse, the more the higher the sparsity. Training from there with `Pruner`, or
    with the field `prune` of a recipe, mends that: two of four stay the same, of other shares the smallest are chosen
    anew. Zeros make no `.tflite` smaller, but packed it is: by a seventh for MiniLM in int8 with half of each kernel.

    Args:
        model: an `Encoder` or a task model.
        sparsity: "0.8" for that share of each kernel of the blocks; "2:4" for two of each four neighbours.
        texts: texts (or pairs) like those that it will see, some hundred of them; a kernel needs twice as many of their
            tokens as it has rows, or the smallest of its weights go.
        progress: show a progress bar.

    Returns:
        A model of the same kind; tables, norms, biases and heads are as they were.

    Raises:
        ValueError: another spelling of `sparsity`, a model with low-rank updates, or texts that are none, for a model
            without tokenizer, or no list of them.

    Example:
        >>> import keras_plm
        >>> half = prune(keras_plm.Encoder(keras_plm.TINY), "2:4")
        >>> float((half.blocks[0].feed_forward.expand.kernel.numpy() == 0).mean())
        0.5

    Source: Han et al. 2015, §3, https://arxiv.org/abs/1506.02626; 2:4: Mishra et al. 2021, §3,
        https://arxiv.org/abs/2104.08378; the algorithm is `tensorflow_model_optimization`'s. With texts: Frantar &
        Alistarh 2023, §3, https://arxiv.org/abs/2301.00774
    Differs: with texts, the inputs are those of the model before any pruning, and those with the largest values go
        first; shares are of 64 rows of a kernel; at the end all weights that are left are fitted once more.
    """
    pruned = copy_model(model)
    if texts is None:
        pruner = Pruner(pruned, sparsity, steps=0)  # a name, because a compiled method does not keep its object alive
        pruner.update()
        return pruned
    check_merged(model)
    chosen = Sparsity.parse(sparsity)
    kernels, products = kernels_with_inputs(pruned, texts)
    for path, weight in track(kernels.items(), "pruning the kernels", disable=not progress):
        weight.assign(pruned_kernel(np.asarray(weight), products.pop(path), chosen))
    return pruned


def pruned_kernel(kernel: np.ndarray, products: np.ndarray, sparsity: Sparsity) -> np.ndarray:
    """A kernel (D, U) with zeros where its products with some inputs need it least, and the rest adapted to that.

    Args:
        kernel: float.
        products: (D, D), the sum of x xᵀ over inputs x.
        sparsity: which become 0. Of two of four, the last rows of a D that is no multiple of 4 stay as they are.
    """
    size = 4 if sparsity.two_of_four else TOGETHER  # rows among which weights are compared
    neighbours = 4 if sparsity.two_of_four else 1
    whole = len(kernel) // neighbours * neighbours
    importance = np.diag(products)[:whole].reshape(-1, neighbours).sum(1)
    first = np.argsort(-importance, kind="stable") * neighbours
    order = np.append((first[:, None] + np.arange(neighbours)).reshape(-1), np.arange(whole, len(kernel)))
    gone = np.zeros(kernel.shape, bool)

    def change(i: int, left: np.ndarray, costs: np.ndarray) -> np.ndarray:
        if i % size == 0 and i < whole:
            now = slice(i, min(i + size, whole))
            errors = np.abs(left[now] * costs[now, None])
            if sparsity.two_of_four:
                gone[now] = errors.argsort(0, kind="stable").argsort(0) < 2
            else:
                smallest = errors.argsort(axis=None, kind="stable")[: round(sparsity.fraction * errors.size)]
                gone[now].reshape(-1)[smallest] = True
        return np.where(gone[i], 0, left[i])

    return fitted_kernel(kernel, changed_kernel(kernel, products, order, change), products)


class Pruner(keras.callbacks.Callback):
    """A callback for `fit` that sets more and more of the smallest weights to 0, and keeps them there.

    The share grows by a polynomial over the first 70 % of the steps, quickly at first; then the zeros stay where they
    are. Two of four are chosen at the first step.

    Args:
        model: whose kernels; also where `fit` is called on a `Distiller`.
        sparsity: as of `prune`.
        steps: of the optimizer in the whole training: with accumulated gradients fewer than batches.

    Source: Zhu & Gupta 2017, §3, https://arxiv.org/abs/1710.01878
    Differs: on the variables of Keras 3, for which tfmot's own wrapper raises.
    """

    def __init__(self, model: Any, sparsity: str, steps: int) -> None:
        # here, because it brings Keras 2 along
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
        self._step = tf.Variable(1, dtype=tf.int64, trainable=False)  # two of four are chosen at step 1
        # zeros of a training that was interrupted stay
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
        """Choose the weights that the schedule wants, and set them to 0."""
        self._pruning.conditional_mask_update()
        self._pruning.weight_mask_op()

    @tf.function(autograph=False)
    def apply(self) -> None:
        """Set to 0 what was chosen last: averaged weights remember what was there before."""
        self._pruning.weight_mask_op()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._step.assign(tf.cast(self.model.optimizer.iterations, tf.int64))
        self.update()


def check_merged(model: Any) -> None:
    """Raise ValueError for a model with low-rank updates: added to its kernels, they would fill zeros and clusters."""
    if model.config.lora_rank:
        raise ValueError("low-rank updates would fill the zeros and clusters of their kernels: merge_lora first")


def is_prunable(path: str) -> bool:
    """Whether a weight of that path is a kernel of a block."""
    return path.startswith("block_") and path.endswith("/kernel") and "adapter" not in path


def kernels_with_inputs(model: Any, texts: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The kernels of the blocks by their paths, and for each the sum of x xᵀ over its inputs, see `input_products`."""
    given = list_of_texts(texts, "texts")
    if not given:
        raise ValueError("texts has no texts; leave it out to go by the weights alone")
    kernels = {path: weight for path, weight in named_weights(model).items() if is_prunable(path)}
    return kernels, input_products(model, text_rows(model, given, model.config.max_sequence_length), list(kernels))


def measured_sparsity(model: Any) -> float:
    """The share of zeros in the kernels of the blocks."""
    kernels = [kernel for path, kernel in weight_arrays(model).items() if is_prunable(path)]
    return sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.size for kernel in kernels)
