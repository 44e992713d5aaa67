import math

from jaxtyping import Float
from keras import ops

from keras_plm.tensor_types import Tensor


def activate(x: Float[Tensor, "..."], activation: str) -> Float[Tensor, "..."]:
    """Apply the activation function with this name, elementwise.

    Args:
        x: float tensor of any shape.
        activation: "gelu" (exact, with erf), "gelu_tanh" (the approximation in BERT's own code), "relu", "silu" or
            "tanh".

    Raises:
        ValueError: the name is unknown.

    Source: Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415
    Differs: exact GELU uses erf. Keras uses erfc, which tf2onnx cannot convert.
    """
    if activation == "gelu":
        return 0.5 * x * (1.0 + ops.erf(x / math.sqrt(2.0)))
    if activation == "gelu_tanh":
        return ops.gelu(x, approximate=True)
    if activation == "relu":
        return ops.relu(x)
    if activation == "silu":
        return ops.silu(x)
    if activation == "tanh":
        return ops.tanh(x)
    raise ValueError(f"activation={activation!r}; choose 'gelu', 'gelu_tanh', 'relu', 'silu' or 'tanh'")
