"""How tensors are typed: `Float[Tensor, "B T D"]` says floating point and the axes, by jaxtyping.

The letters used for axes in all annotations, docstrings and einsums:

    B batch             T query length     S key length      D width (hidden_dim)
    N heads             H width per head   F feed-forward    V vocabulary
    P masked positions  C classes          E width of the embedding matrix

`...` are any axes. A mask is 1 (or True) where a position is kept: `Shaped` allows both of its dtypes.
"""

from typing import Any

Tensor = Any  # of any Keras backend, symbolic or with values
