"""The most probable sequence of tags, inside and outside of a graph."""

import numpy as np
from jaxtyping import Bool, Float, Int
from keras import ops
from numpy.typing import ArrayLike

from keras_plm.tensor_types import Tensor

_FORBIDDEN = -1e4


def best_path(
    logits: Float[Tensor, "B T C"],
    mask: Bool[Tensor, "B T"],
    begin: Float[Tensor, " C"],
    follow: Float[Tensor, "C C"],
    end: Float[Tensor, " C"],
) -> Int[Tensor, "B T"]:
    """The sequence with the highest score, by the Viterbi algorithm.

    Args:
        logits: (B, T, C) float; log-probabilities give the same path.
        mask: (B, T) bool, True for the positions of the chain, which are at the beginning of each row. The path after
            them has no meaning.
        begin: (C,) scores of the first tag. In all scores, a large negative number forbids a tag or a transition.
        follow: (C, C) scores of a tag (column) after another (row).
        end: (C,) scores of the last tag.
    """
    logits = ops.cast(logits, "float32")
    begin, follow, end = (ops.convert_to_tensor(scores, "float32") for scores in (begin, follow, end))
    length = ops.shape(logits)[1]
    same = ops.arange(logits.shape[2], dtype="int32")[None]

    def forward(t: Int[Tensor, ""], best: Float[Tensor, "B C"], came_from: Int[Tensor, "T B C"]) -> tuple:
        visible = ops.take(mask, t, axis=1)[:, None]
        paths = best[:, :, None] + follow[None]
        score = ops.max(paths, axis=1) + ops.take(logits, t, axis=1)
        pointers = ops.where(visible, ops.cast(ops.argmax(paths, axis=1), "int32"), same)
        return t + 1, ops.where(visible, score, best), ops.slice_update(came_from, (t, 0, 0), pointers[None])

    def backward(t: Int[Tensor, ""], path: Int[Tensor, "T B"]) -> tuple:
        pointers = ops.take(came_from, t, axis=0)
        before = ops.take_along_axis(pointers, ops.transpose(ops.take(path, [t], axis=0)), axis=1)
        return t - 1, ops.slice_update(path, (t - 1, 0), ops.transpose(before))

    came_from = ops.zeros((length, ops.shape(logits)[0], logits.shape[2]), "int32")
    first = begin[None] + logits[:, 0]
    _, best, came_from = ops.while_loop(lambda t, *_: t < length, forward, (1, first, came_from))
    last = ops.cast(ops.argmax(best + end[None], axis=1), "int32")
    path = ops.tile(last[None], (length, 1))
    _, path = ops.while_loop(lambda t, *_: t > 0, backward, (length - 1, path))
    return ops.transpose(path)


def best_paths(
    logits: Float[np.ndarray, "B T C"],
    lengths: Int[np.ndarray, " B"],
    begin: Float[np.ndarray, " C"],
    follow: Float[np.ndarray, "C C"],
    end: Float[np.ndarray, " C"],
) -> Int[np.ndarray, "B T"]:
    """The sequence with the highest score for each row, as in `best_path`, but outside of a graph.

    In a graph, each step of the loop copies all pointers. For a text of 100 kB this took minutes. Here, it takes
    seconds.

    Args:
        logits: (B, T, C).
        lengths: (B,) number of positions of the chain in each row, at least 1.
        begin: (C,) scores of the first tag.
        follow: (C, C) scores of a tag (column) after another (row).
        end: (C,) scores of the last tag.
    """
    rows, length, count = logits.shape
    pointers = np.empty((length, rows, count), "int32")
    best = begin + logits[:, 0]
    for t in range(1, length):
        scores = best[:, :, None] + follow
        pointers[t] = scores.argmax(1)
        inside = (t < lengths)[:, None]
        pointers[t] = np.where(inside, pointers[t], np.arange(count))
        best = np.where(inside, scores.max(1) + logits[:, t], best)
    paths = np.empty((length, rows), "int64")
    paths[-1] = (best + end).argmax(-1)
    for t in range(length - 1, 0, -1):
        paths[t - 1] = pointers[t, np.arange(rows), paths[t]]
    return paths.T


def forbid(allowed: ArrayLike) -> Float[np.ndarray, "..."]:
    """0 where `allowed` is true, a large negative score elsewhere."""
    return np.where(np.asarray(allowed), 0.0, _FORBIDDEN).astype("float32")
