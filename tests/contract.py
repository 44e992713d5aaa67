"""The one contract that every layer passes."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from beartype import beartype
from jaxtyping import jaxtyped


def check_layer(
    make: Callable[..., keras.layers.Layer],
    *inputs: Any,
    dropout: bool = False,
    own_dtype: str = "bfloat16",
    **options: Any,
) -> None:
    """Assert what holds for any layer, on the given call arguments.

    Symbolic shape equals eager shape, and both are what the annotations of `call` say; a `tf.function` gives the eager
    result; the config and a saved model give the layer back; one gradient step reaches every weight; training differs
    from inference exactly if there is dropout; bfloat16 computes in bfloat16 (but for parts of `own_dtype`), and comes
    near.
    """
    layer = make()
    eager = layer(*inputs, **options)
    symbols = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in inputs]
    assert layer(*symbols, **options).shape == eager.shape

    # `call` once more, with the axes and kinds of its annotations checked
    jaxtyped(typechecker=beartype)(type(layer).call)(layer, *inputs, **options)

    compiled = tf.function(lambda *x: layer(*x, **options))(*inputs)
    np.testing.assert_allclose(compiled, eager, atol=1e-6)

    copy = type(layer).from_config(layer.get_config())
    copy(*inputs, **options)
    copy.set_weights(layer.get_weights())
    np.testing.assert_allclose(copy(*inputs, **options), eager, atol=1e-6)
    assert copy.get_config() == layer.get_config()

    with tf.GradientTape() as tape:
        trained = layer(*inputs, training=True, **options)
        loss = tf.reduce_sum(trained * tf.random.stateless_normal(trained.shape, (1, 2)))
    # from Variables, so that a weight nobody uses would show as None
    gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.path
    assert np.allclose(trained, eager, atol=1e-5) != dropout

    mixed = make(dtype="mixed_bfloat16")
    halved = mixed(*inputs, **options)
    mixed.set_weights(layer.get_weights())
    assert "bfloat16" in (found := {part.compute_dtype for part in mixed._flatten_layers()})
    assert found <= {"bfloat16", own_dtype}, found
    halved = np.asarray(tf.cast(mixed(*inputs, **options), tf.float32))
    assert mixed.trainable_variables[0].dtype == "float32"
    np.testing.assert_allclose(halved, eager, atol=0.1, rtol=0.05)
