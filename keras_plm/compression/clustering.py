from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_plm.models import AnyModel, copy_model, named_weights

from .error_compensation import changed_kernel, fitted_values
from .pruning import changed_by_texts, check_merged, is_prunable

_ROUNDS = 20  # iterations of Lloyd's algorithm
_SAMPLE = 20_000  # size of the sample of weights for k-means++
_MANY_ZEROS = 0.01  # if a larger fraction of a kernel is zero, the kernel was pruned


def cluster(model: AnyModel, num_clusters: int, texts: Any = None, progress: bool = False) -> AnyModel:
    """Weight clustering: give each kernel `num_clusters` distinct values, the means of clusters of its weights.

    A `.tflite` does not become smaller, but a compressed one does: by a tenth for MiniLM in int8 with 16 values. Zeros
    of a pruned model stay zero. With texts, each weight compensates for earlier changes in its kernel and in the
    kernels before. To recover accuracy, fine-tune with `Clusterer`, or with the field `clusters` of a recipe. This
    trains the shared values.

    Args:
        model: an `Encoder` or a task model.
        num_clusters: number of distinct values in each kernel of the blocks, at least 2.
        texts: as in `prune`.
        progress: show a progress bar.

    Returns:
        A model of the same kind. Embedding matrices, norms, biases and heads are not changed.

    Raises:
        ValueError: `num_clusters` is below 2, the model has LoRA updates, or the texts are not valid for `prune`.

    Example:
        >>> import keras_plm
        >>> small = cluster(keras_plm.Encoder(keras_plm.TINY), 16)
        >>> len(set(small.blocks[0].feed_forward.expand.kernel.numpy().flat))
        16

    Source: Han et al. 2016, §3, https://arxiv.org/abs/1510.00149; the first values are chosen by k-means++ of
        `tensorflow_model_optimization`. With texts: Frantar et al. 2023, §3, https://arxiv.org/abs/2210.17323
        and, for the kernels before, Li et al. 2025, §3, https://arxiv.org/abs/2504.02692
    Differs: Lloyd's algorithm follows k-means++. With texts, it weights each weight by its squared inputs. A weight
        gets the value of a cluster, not of a quantization grid.
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
    """Cluster a kernel (D, U), with little change of its outputs for some inputs.

    Args:
        kernel: the float kernel. If it has many zeros, they stay.
        products: (D, D), the sum of x xᵀ over inputs x.
        num_clusters: number of distinct values.
    """
    if not kernel.any():  # all weights were pruned
        return kernel
    stays = _many_zeros(kernel) & (kernel == 0)
    # Each weight is weighted by its inputs; a few inputs are hundreds of times as large as the others. Without these
    # weights, the error of the second feed-forward kernel is 13 times as large (MiniLM).
    importance = np.broadcast_to(np.diag(products)[:, None], kernel.shape)
    values = _values(kernel[~stays], num_clusters - stays.any(), importance[~stays])
    order = np.argsort(-np.diag(products), kind="stable")
    stays = stays[order]
    borders = (values[1:] + values[:-1]) / 2

    def change(i: int, left: np.ndarray, _costs: np.ndarray) -> np.ndarray:
        return np.where(stays[i], 0, values[np.searchsorted(borders, left[i])])

    return fitted_values(kernel, changed_kernel(kernel, products, order, change), products)


class Clusterer(keras.callbacks.Callback):
    """A callback for `fit` that keeps the weights of a cluster equal. After each step, they are set to their mean.

    This is gradient descent on the shared values, with the mean gradient of the weights of a cluster. The clusters are
    chosen when the callback is created; this already changes the weights.

    Args:
        model: the model with the kernels, also if `fit` is called on a `Distiller`.
        num_clusters: as in `cluster`.

    Source: Han et al. 2016, §3.3, https://arxiv.org/abs/1510.00149
    Differs: the gradient is the mean over a cluster, not the sum (tfmot has this option, too). The learning rate then
        does not depend on the size of a cluster.
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
            # In float64: the operator sums sequentially; in float32 the mean of 40,000 equal values is another value.
            flat = tf.cast(tf.reshape(weight, [-1]), tf.float64)
            means = tf.cast(tf.math.unsorted_segment_mean(flat, clusters, held.shape[0]), weight.dtype)
            weight.assign(tf.reshape(tf.gather(means * held, clusters), weight.shape))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.apply()


def check_clusters(model: Any, num_clusters: int) -> None:
    """Raise ValueError if there are too few clusters, or if the model has LoRA updates."""
    check_merged(model)
    if num_clusters < 2:
        raise ValueError(f"num_clusters={num_clusters}; it must be at least 2")


def _parts(weights: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each weight, int32; and for each cluster a 0 if it holds the zeros, else a 1."""
    zeros = _many_zeros(weights) & (weights == 0)
    values, held = _values(weights[~zeros], number - zeros.any()), np.ones(number, np.int32)
    clusters = np.searchsorted((values[1:] + values[:-1]) / 2, weights)
    if zeros.any():
        clusters, held[0] = np.where(zeros, 0, clusters + 1), 0
    return clusters.astype(np.int32), held


def _many_zeros(weights: np.ndarray) -> bool:
    return bool((weights == 0).mean() > _MANY_ZEROS)


def _values(weights: np.ndarray, number: int, importance: np.ndarray | None = None) -> np.ndarray:
    """The means of `number` clusters of some weights, sorted; fewer if there are fewer distinct weights.

    Args:
        weights: (N,).
        number: number of clusters.
        importance: (N,), the weight of each value in the mean of its cluster; equal by default.
    """
    # imported here, because it imports Keras 2
    from tensorflow_model_optimization.python.core.clustering.keras import clustering_centroids

    values = np.unique(weights).astype(np.float64)
    if len(values) <= number:  # already clustered, for example in a resumed training
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
        # in sorted numbers, a cluster is a contiguous range, and its sum is a difference of cumulative sums
        borders = np.searchsorted(ordered, (values[1:] + values[:-1]) / 2)
        edges = np.concatenate([[0], borders, [len(ordered)]])
        size = np.diff(sizes[edges])
        np.divide(np.diff(sums[edges]), size, out=values, where=size > 0)
    return values
