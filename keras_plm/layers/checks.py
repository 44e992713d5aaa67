"""Checks of the arguments and inputs of layers, with clear error messages."""

from jaxtyping import Shaped

from keras_plm.tensor_types import Tensor


def check_fractions(**values: float) -> None:
    """Raise ValueError unless each value is a fraction in [0, 1)."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ValueError(f"{name}={value!r}; it is a fraction in [0, 1)")


def check_counts(**values: int) -> None:
    """Raise ValueError unless each value is a whole number of at least 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r}; it must be a whole number, at least 1")


def check_mask(mask: Shaped[Tensor, "..."] | None, name: str, length: int | None) -> None:
    """Raise ValueError unless a mask is int32 or bool, of rank 2 or 3, and as long as the keys.

    Args:
        mask: (B, S) or (B, T, S).
        name: name of the argument.
        length: S, if it is known.
    """
    if mask is None:
        return
    shape = tuple(mask.shape)
    if len(shape) == 3 and "float" in str(mask.dtype):  # other attention layers take keys as the third tensor
        raise ValueError(
            f"{name} has shape {shape} and a float dtype; a mask is int32 or bool, 1 where a key is visible"
        )
    if len(shape) not in (2, 3):
        raise ValueError(f"{name} has shape {shape}; expected (B, S) or (B, T, S)")
    if isinstance(shape[-1], int) and isinstance(length, int) and shape[-1] not in (1, length):
        raise ValueError(f"{name} has shape {shape}, but there are {length} keys")
