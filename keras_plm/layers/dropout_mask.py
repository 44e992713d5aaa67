"""Dropout whose mask is a hash of a seed and the position of an element, so that it can be computed again."""

import functools
import operator

from jaxtyping import Float, Shaped, UInt
from keras import ops

from keras_plm.tensor_types import Tensor


def drop_elements(x: Float[Tensor, "..."], seed: Shaped[Tensor, " 2"], rate: float) -> Float[Tensor, "..."]:
    """Set elements to 0 with probability `rate`; divide the others by `1 - rate`.

    Args:
        x: float tensor with fewer than 2³¹ elements.
        seed: (2,) integer.
        rate: in [0, 1).
    """
    if not rate:
        return x
    shape = ops.shape(x)  # unknown sizes are tensors
    count = functools.reduce(operator.mul, shape)
    position = ops.cast(ops.reshape(ops.arange(count, dtype="int32"), shape), "uint32")
    # mix the seed before adding the position: seeds that differ by one must not give similar masks
    key = _mix(_mix(ops.cast(seed[0], "uint32")) + ops.cast(seed[1], "uint32"))
    bits = _mix(position + key)
    return ops.where(bits >= _word(int(rate * 2**32)), x / (1.0 - rate), 0.0)


def _mix(bits: UInt[Tensor, "..."]) -> UInt[Tensor, "..."]:
    """A bijection of uint32: each bit of the input changes about half of the output's bits.

    Source: the constants are Ellis' lowbias32, https://github.com/skeeto/hash-prospector
    """
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, _word(16))) * _word(0x7FEB352D)
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, _word(15))) * _word(0x846CA68B)
    return ops.bitwise_xor(bits, ops.right_shift(bits, _word(16)))


def _word(value: int) -> UInt[Tensor, ""]:
    return ops.convert_to_tensor(value, dtype="uint32")
