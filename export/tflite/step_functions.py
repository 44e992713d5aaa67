"""The functions of a text generator's `.tflite`: `prefill_<n>` reads n tokens of a prompt, `decode` one more token.

Names, shapes and dtypes are those of LiteRT-LM.
"""

from typing import Any

import tensorflow as tf

from keras_plm.export.signature import Signature
from keras_plm.layers.export_hooks import tracing_with
from keras_plm.models import Caches

from .quantization import hooks_of

# A long and a short one: reading a prompt in parts costs little, reading padding costs as much as reading tokens. Each
# further length needs its own copy of the packed weights in memory.
_PREFILL_LENGTHS = (16, 128)
_HIDDEN_BELOW = -0.5  # the mask is 0 for visible keys, and a large negative number for hidden ones


def step_functions(model: Any, signature: Signature) -> tuple[tf.Module, dict[str, Any]]:
    """Concrete functions by name, and a module that holds their variables.

    Each function takes `tokens` (1, n) int32, `input_pos` (n,) int32 of consecutive positions, `mask` (1, 1, n, S)
    float32 and the caches `kv_cache_k_<block>` and `kv_cache_v_<block>`, (1, K, S, H) float32 each. It returns the
    caches with these tokens; `decode` also returns `logits`, (1, 1, V) float32.

    Args:
        model: a `TextGenerator` in float32.
        signature: its length is S, the length of the caches.
    """
    length = signature.length
    assert length is not None
    module = tf.Module()
    # the bare variables: from a Keras model, TFLite's converter would silently drop the weights
    module.weights = [variable.value for variable in model.variables]
    hooks = hooks_of(signature.scheme, model.adaptation)
    lengths = {f"prefill_{n}": n for n in prefill_lengths(length)} | {"decode": 1}
    functions = {}
    for name, count in lengths.items():

        def run(tokens: Any, input_pos: Any, mask: Any, decodes: bool = name == "decode", **caches: Any) -> Any:
            with tracing_with(hooks):
                return _run(model, tokens, input_pos, mask, caches, decodes)

        function = tf.function(run, autograph=False)
        setattr(module, name, function)
        functions[name] = function.get_concrete_function(**_specs(model, count, length))
    return module, functions


def prefill_lengths(cache_length: int) -> list[int]:
    """The numbers of tokens that the prefill functions of an artifact read, for caches of this length."""
    return [n for n in _PREFILL_LENGTHS if n <= cache_length]


def cache_names(num_layers: int) -> list[str]:
    """The names of the caches, in the order of `tf.nest.flatten`."""
    return [f"kv_cache_{kind}_{block}" for block in range(num_layers) for kind in "kv"]


def _run(model: Any, tokens: Any, input_pos: Any, mask: Any, caches: dict[str, Any], decodes: bool) -> dict[str, Any]:
    decoder, names = model.decoder, cache_names(len(model.decoder.blocks))
    structure: Caches = [{"self": {"key": 0, "value": 0}} for _ in decoder.blocks]
    first = input_pos[0]  # LiteRT-LM pads with position 0: only the first position can be trusted
    visible = tf.cast(mask[:, 0] > _HIDDEN_BELOW, tf.int32)
    seen = decoder.context.of(visible, input_pos[None], first)
    packed = tf.nest.pack_sequence_as(structure, [caches[name] for name in names])
    hidden, new = decoder.step_in_context(tokens, seen, packed, first)
    outputs = dict(zip(names, tf.nest.flatten(new), strict=True))
    return outputs | {"logits": model.logits(hidden)} if decodes else outputs


def _specs(model: Any, count: int, length: int) -> dict[str, tf.TensorSpec]:
    caches = tf.nest.flatten(model.decoder.make_caches(1, length))
    specs = {
        "tokens": tf.TensorSpec((1, count), tf.int32, "tokens"),
        "input_pos": tf.TensorSpec((count,), tf.int32, "input_pos"),
        "mask": tf.TensorSpec((1, 1, count, length), tf.float32, "mask"),
    }
    names = cache_names(len(model.decoder.blocks))
    return specs | {n: tf.TensorSpec(c.shape, c.dtype, n) for n, c in zip(names, caches, strict=True)}
