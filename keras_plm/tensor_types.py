"""Type annotations of tensors with jaxtyping: `Float[Tensor, "B T D"]` is a floating-point tensor with these axes.

The letters used for axes in all annotations, docstrings and einsums:

    B batch             T query length     S key length      D width (hidden_dim)
    N heads             H width per head   F feed-forward    V vocabulary
    P masked positions  C classes          E width of the embedding matrix

`...` means any axes. A mask is 1 (or True) at positions that are kept; `Shaped` allows both dtypes.
"""

from typing import Any

Tensor = Any  # a tensor of any Keras backend, symbolic or eager
