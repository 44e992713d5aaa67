from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_plm.models import copy_model, named_weights

from .pruning import check_merged, is_prunable

_ROUNDS = 20  # of Lloyd's algorithm
_SAMPLE = 20_000  # weights that k-means++ looks at
_MANY_ZEROS = 0.01  # more than that of a kernel are not by chance


def cluster(model: Any, num_clusters: int) -> Any:
    """The model with only so many different weights in each kernel: each weight becomes the mean of those near it.

    A `.tflite` is no smaller for it, but packed it is: by a tenth for MiniLM in int8 with 16 values. Zeros of
    pruning stay zeros. Training with `Clusterer`, or with the field `clusters` of a recipe, moves the values to where
    the model answers best.

    Args:
        model: an `Encoder` or a task model.
        num_clusters: different values in each kernel of the blocks, at least 2.

    Returns:
        A model of the same kind; tables, norms, biases and heads are as they were.

    Raises:
        ValueError: `num_clusters` below 2, or a model with low-rank updates.

    Example:
        >>> import keras_plm
        >>> small = cluster(keras_plm.Encoder(keras_plm.TINY), 16)
        >>> len(set(small.blocks[0].feed_forward.expand.kernel.numpy().flat))
        16

    Source: Han et al. 2016, §3, https://arxiv.org/abs/1510.00149; the first values are chosen by k-means++ of
        `tensorflow_model_optimization`.
    Differs: Lloyd's algorithm goes on from there.
    """
    clustered = copy_model(model)
    Clusterer(clustered, num_clusters)
    return clustered


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
        check_merged(model)
        if num_clusters < 2:
            raise ValueError(f"num_clusters={num_clusters}; it must be at least 2")
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


def _parts(weights: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each weight, int32, and for each cluster 0 if it is that of the zeros, else 1."""
    # here, because it brings Keras 2 along
    from tensorflow_model_optimization.python.core.clustering.keras import clustering_centroids

    zero = bool((weights == 0).mean() > _MANY_ZEROS)
    others = weights[weights != 0] if zero else weights
    centers = np.unique(others)
    if len(centers) > number - zero:  # else they are clustered already, as in a training that was interrupted
        start = clustering_centroids.KmeansPlusPlusCentroidsInitialisation(
            others[:: max(len(others) // _SAMPLE, 1)], number - zero
        )
        centers = np.sort(start.get_cluster_centroids().numpy())
    ordered = np.sort(others)
    sums = np.concatenate([[0.0], np.cumsum(ordered, dtype=np.float64)])
    for _ in range(_ROUNDS):
        # of sorted numbers a cluster is a stretch, whose sum is a difference
        borders = np.searchsorted(ordered, (centers[1:] + centers[:-1]) / 2)
        edges = np.concatenate([[0], borders, [len(ordered)]])
        sizes = np.diff(edges)
        centers = np.where(sizes > 0, np.diff(sums[edges]) / np.maximum(sizes, 1), centers)
    clusters = np.searchsorted((centers[1:] + centers[:-1]) / 2, weights).astype(np.int32)
    held = np.ones(number, np.int32)
    if zero:
        clusters = np.where(weights == 0, 0, clusters + 1).astype(np.int32)
        held[0] = 0
    return clusters, held
