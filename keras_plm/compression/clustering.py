from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_plm.models import AnyModel, copy_model, named_weights

from .error_compensation import changed_kernel, fitted_values
from .pruning import changed_by_texts, check_merged, is_prunable

_ROUNDS = 20  # of Lloyd's algorithm
_SAMPLE = 20_000  # weights that k-means++ looks at
_MANY_ZEROS = 0.01  # more than that of a kernel are not by chance


def cluster(model: AnyModel, num_clusters: int, texts: Any = None, progress: bool = False) -> AnyModel:
    """Weight clustering: each kernel has `num_clusters` distinct values, each the mean of the weights near it.

    A `.tflite` is no smaller for it, but packed it is: by a tenth for MiniLM in int8 with 16 values. Zeros of
    pruning stay zeros. With texts each weight compensates for the changes before it, in its kernel and in those before.
    Training from there with `Clusterer`, or with the field `clusters` of a recipe, moves the values to where the model
    answers best.

    Args:
        model: an `Encoder` or a task model.
        num_clusters: different values in each kernel of the blocks, at least 2.
        texts: as of `prune`.
        progress: show a progress bar.

    Returns:
        A model of the same kind; embedding matrices, norms, biases and heads are as they were.

    Raises:
        ValueError: `num_clusters` below 2, a model with LoRA updates, or texts as `prune` refuses them.

    Example:
        >>> import keras_plm
        >>> small = cluster(keras_plm.Encoder(keras_plm.TINY), 16)
        >>> len(set(small.blocks[0].feed_forward.expand.kernel.numpy().flat))
        16

    Source: Han et al. 2016, §3, https://arxiv.org/abs/1510.00149; the first values are chosen by k-means++ of
        `tensorflow_model_optimization`. With texts: Frantar et al. 2023, §3, https://arxiv.org/abs/2210.17323
        and, for the kernels before, Li et al. 2025, §3, https://arxiv.org/abs/2504.02692
    Differs: Lloyd's algorithm continues from there, with texts as many times for each weight as its input is large; the
        values of a weight are those of its cluster, not of a grid.
    """
    if texts is None:
        clustered = copy_model(model)
        Clusterer(clustered, num_clusters)
        return clustered
    check_clusters(model, num_clusters)
    return changed_by_texts(
        model, texts, lambda kernel, products: clustered_kernel(kernel, products, num_clusters), progress
    )


def clustered_kernel(kernel: np.ndarray, products: np.ndarray, num_clusters: int) -> np.ndarray:
    """A kernel (D, U) with few distinct values, each weight the one that suits its products with some inputs.

    Args:
        kernel: float; its zeros stay, if there are many.
        products: (D, D), the sum of x xᵀ over inputs x.
        num_clusters: different values.
    """
    if not kernel.any():  # all of it was pruned
        return kernel
    stays = _many_zeros(kernel) & (kernel == 0)
    # A value weighs as much as its input: those of a few are hundreds of times the others. Without, the error of the
    # kernel that narrows a feed-forward is 13 times as large (MiniLM)
    importance = np.broadcast_to(np.diag(products)[:, None], kernel.shape)
    values = _values(kernel[~stays], num_clusters - stays.any(), importance[~stays])
    order = np.argsort(-np.diag(products), kind="stable")
    stays = stays[order]
    borders = (values[1:] + values[:-1]) / 2

    def change(i: int, left: np.ndarray, _costs: np.ndarray) -> np.ndarray:
        return np.where(stays[i], 0, values[np.searchsorted(borders, left[i])])

    return fitted_values(kernel, changed_kernel(kernel, products, order, change), products)


class Clusterer(keras.callbacks.Callback):
    """A callback for `fit` that keeps the weights of a cluster equal: after each step they become their mean again.

    That is a step of gradient descent on the shared values, each by the mean gradient of its weights. Which weights go
    together is decided when the callback is made, and that moment the weights change.

    Args:
        model: whose kernels; also where `fit` is called on a `Distiller`.
        num_clusters: as of `cluster`.

    Source: Han et al. 2016, §3.3, https://arxiv.org/abs/1510.00149
    Differs: the mean gradient, not the sum, as tfmot offers it too: the rate need not fit the size of a cluster.
    """

    def __init__(self, model: Any, num_clusters: int) -> None:
        super().__init__()
        check_clusters(model, num_clusters)
        self._weights = [weight.value for path, weight in named_weights(model).items() if is_prunable(path)]
        parts = [_parts(weight.numpy().ravel(), num_clusters) for weight in self._weights]
        self._clusters = [tf.constant(clusters) for clusters, _ in parts]
        self._held = [tf.constant(held, tf.float32) for _, held in parts]
        self.apply()

    @tf.function(autograph=False)
    def apply(self) -> None:
        """Make the weights of each cluster equal."""
        for weight, clusters, held in zip(self._weights, self._clusters, self._held, strict=True):
            # in float64: the kernel adds one by one, and in float32 the mean of 40,000 equal values is not that value
            flat = tf.cast(tf.reshape(weight, [-1]), tf.float64)
            means = tf.cast(tf.math.unsorted_segment_mean(flat, clusters, held.shape[0]), weight.dtype)
            weight.assign(tf.reshape(tf.gather(means * held, clusters), weight.shape))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.apply()


def check_clusters(model: Any, num_clusters: int) -> None:
    """Raise ValueError for too few, or for a model with LoRA updates."""
    check_merged(model)
    if num_clusters < 2:
        raise ValueError(f"num_clusters={num_clusters}; it must be at least 2")


def _parts(weights: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each weight, int32, and for each cluster 0 if it is that of the zeros, else 1."""
    zeros = _many_zeros(weights) & (weights == 0)
    values, held = _values(weights[~zeros], number - zeros.any()), np.ones(number, np.int32)
    clusters = np.searchsorted((values[1:] + values[:-1]) / 2, weights)
    if zeros.any():
        clusters, held[0] = np.where(zeros, 0, clusters + 1), 0
    return clusters.astype(np.int32), held


def _many_zeros(weights: np.ndarray) -> bool:
    return bool((weights == 0).mean() > _MANY_ZEROS)


def _values(weights: np.ndarray, number: int, importance: np.ndarray | None = None) -> np.ndarray:
    """The means of `number` clusters of some weights, in order; fewer if there are fewer distinct weights.

    Args:
        weights: (N,).
        number: of clusters.
        importance: (N,), how much each weight counts in the mean of its cluster; by default all the same.
    """
    # here, because it brings Keras 2 along
    from tensorflow_model_optimization.python.core.clustering.keras import clustering_centroids

    values = np.unique(weights).astype(np.float64)
    if len(values) <= number:  # they are clustered already, as in a training that was interrupted
        return values
    start = clustering_centroids.KmeansPlusPlusCentroidsInitialisation(
        weights[:: max(len(weights) // _SAMPLE, 1)], number
    )
    values = np.sort(start.get_cluster_centroids().numpy()).astype(np.float64)
    order = np.argsort(weights)
    ordered = weights[order].astype(np.float64)
    counts = np.ones(len(weights)) if importance is None else importance[order].astype(np.float64)
    sums, sizes = (np.concatenate([[0.0], np.cumsum(one)]) for one in (counts * ordered, counts))
    for _ in range(_ROUNDS):
        # of sorted numbers a cluster is a stretch, whose sum is a difference
        borders = np.searchsorted(ordered, (values[1:] + values[:-1]) / 2)
        edges = np.concatenate([[0], borders, [len(ordered)]])
        size = np.diff(sizes[edges])
        np.divide(np.diff(sums[edges]), size, out=values, where=size > 0)
    return values
