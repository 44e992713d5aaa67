from collections.abc import Sequence
from typing import Any

import keras
from jaxtyping import Int
from keras import ops

from keras_plm.tensor_types import Tensor

from .masks import in_window, text_positions, visible_tokens
from .rotary import rotary_angles, rotary_frequencies

Context = dict[str, Tensor]


@keras.saving.register_keras_serializable("keras_plm")
class CausalContext(keras.layers.Layer):
    """Masks and position ids for the tokens of a decoder, computed once for all blocks.

    Args:
        window: number of positions that a token sees in blocks with sliding-window attention, including its own; None
            if there are no such blocks.
        rotary_dim: H, width of the rotated heads; None without rotary positions.
        rotary_base: θ, see `rotary_frequencies`.
        rotary_scaling: see `rotary_frequencies`.

    Call args:
        padding_mask: (B, S) int32, 0 for padding. If a row has several texts, the mask is 1 for the first text, 2 for
            the second, and so on; no text sees another. Padding may be anywhere between texts.
        first_position: int scalar, the position in the row of the first of the T tokens (when decoding with a cache).
        num_queries: T; None means S.

    Returns:
        dict: `visible` (B, T, S) int32; with a window also `in_window` (B, T, S) int32; `position_ids` (B, T) int32,
        counted from the first token of each text; with rotary positions also `cosines` and `sines`, (B, T, 1, H).

    Example:
        >>> mask = keras.ops.convert_to_tensor([[0, 1, 1, 2]])
        >>> keras.ops.convert_to_numpy(CausalContext()(mask)["position_ids"]).tolist()
        [[0, 0, 1, 0]]
    """

    def __init__(
        self,
        window: int | None = None,
        rotary_dim: int | None = None,
        rotary_base: float = 10_000.0,
        rotary_scaling: Sequence[float] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=2)
        self.window = window
        self.rotary_dim = rotary_dim
        self.rotary_base = rotary_base
        self.rotary_scaling = list(rotary_scaling)
        self.built = True

    def call(
        self,
        padding_mask: Int[Tensor, "B S"],
        first_position: Int[Tensor, ""] | int = 0,
        num_queries: int | None = None,
    ) -> Context:
        """See the class."""
        visible = visible_tokens(ops.cast(padding_mask, "int32"), first_position, num_queries)
        return self.of(visible, text_positions(visible), first_position)

    def of(
        self,
        visible: Int[Tensor, "B T S"],
        position_ids: Int[Tensor, "B T"],
        first_position: Int[Tensor, ""] | int = 0,
    ) -> Context:
        """The same dict as of a call, from masks and position ids that are known already."""
        context = {"visible": visible, "position_ids": position_ids}
        if self.window is not None:
            context["in_window"] = in_window(visible, self.window, first_position)
        if self.rotary_dim is not None:
            frequencies = rotary_frequencies(self.rotary_dim, self.rotary_base, self.rotary_scaling)
            angles = rotary_angles(context["position_ids"], frequencies, self.compute_dtype)
            context["cosines"], context["sines"] = angles
        return context
