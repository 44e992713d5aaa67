"""Rotary position embeddings: queries and keys are rotated by angles that grow with their position."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from keras import ops

from keras_plm.tensor_types import Tensor

Rotary = tuple[Float[Tensor, "B T 1 H"], Float[Tensor, "B T 1 H"]]  # cosines and sines


def rotary_frequencies(head_dim: int, base: float = 10_000.0, scaling: Sequence[float] = ()) -> np.ndarray:
    """(H / 2,) float32 angles per position, `base^(-2i / H)`.

    Args:
        head_dim: H, even.
        base: θ.
        scaling: Llama 3.1's (factor, low frequency factor, high frequency factor, original length). Wavelengths above
            original length / low frequency factor are multiplied by the factor. Wavelengths below original length /
            high frequency factor are unchanged. Between them, the scaling is interpolated. Empty for no scaling.

    Source: Su et al. 2021, §3.2, https://arxiv.org/abs/2104.09864; scaling: Grattafiori et al. 2024,
        https://arxiv.org/abs/2407.21783 (its published code)
    """
    frequencies = base ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    if scaling:
        factor, low, high, length = scaling
        waves = length * frequencies / (2 * math.pi)  # number of waves in the original length
        kept = np.clip((waves - low) / (high - low), 0, 1)
        frequencies = frequencies * (kept + (1 - kept) / factor)
    return frequencies.astype("float32")


def rotary_angles(positions: Int[Tensor, "B T"], frequencies: np.ndarray, dtype: str = "float32") -> Rotary:
    """Cosines and sines of the angles at these positions, for all blocks.

    Args:
        positions: (B, T) int32.
        frequencies: (H / 2,), from `rotary_frequencies`.
        dtype: dtype of the result; the angles are computed in float32.

    Returns:
        Two tensors of shape (B, T, 1, H), which broadcast over the heads.
    """
    angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * frequencies
    angles = ops.expand_dims(ops.concatenate([angles, angles], -1), 2)
    return ops.cast(ops.cos(angles), dtype), ops.cast(ops.sin(angles), dtype)


def rotate(x: Float[Tensor, "B T N H"], rotary: Rotary) -> Float[Tensor, "B T N H"]:
    """Rotate the pairs (x_i, x_{i + H/2}) of each head by their angles.

    Source: Su et al. 2021, §3.4.2, https://arxiv.org/abs/2104.09864
    Differs: the paper pairs neighboring elements. Llama's weights, and all weights in Transformers' files, pair the
        first half with the second.
    """
    cosines, sines = rotary
    first, second = ops.split(x, 2, axis=-1)
    return x * cosines + ops.concatenate([-second, first], -1) * sines
