"""The functions of a `.tflite` that generates text, as TensorFlow functions.

- `decode` reads one token, and returns the logits of the next one.
- `prefill_<n>` reads n tokens of a prompt (decoders).
- `encode` reads the text of an encoder-decoder.

Names, shapes and dtypes of decoders are those of LiteRT-LM.
"""

from typing import Any

import tensorflow as tf

from keras_plm.export.artifact_files import traced
from keras_plm.export.signature import Signature
from keras_plm.layers.export_hooks import tracing_with
from keras_plm.models import OWN_CACHES, Caches

from .quantization import hooks_of

# A long and a short one: reading a prompt in parts costs little, reading padding costs as much as reading tokens. Each
# further length needs its own copy of the packed weights in memory.
_PREFILL_LENGTHS = (16, 128)
_HIDDEN_BELOW = -0.5  # the mask is 0 for visible keys, and a large negative number for hidden ones


def step_functions(model: Any, signature: Signature) -> tuple[tf.Module, dict[str, Any]]:
    """Concrete functions by name, and a module that holds their variables.

    `decode` and `prefill_<n>` take `tokens` (1, n) int32, `input_pos` (n,) int32 of consecutive positions, `mask`
    (1, 1, n, S) float32 and the caches `kv_cache_k_<block>` and `kv_cache_v_<block>`, (1, K, S, H) float32 each. They
    return the caches with these tokens; `decode` also returns `logits`, (1, 1, V) float32.

    `encode` takes `token_ids` and `padding_mask`, (1, S) int32 each. It returns `encoder_k_<block>` and
    `encoder_v_<block>`, (1, K, S, H) float32 each, which `decode` then takes with `encoder_padding_mask` (1, S) int32.

    Args:
        model: a `TextGenerator` or a `Seq2Seq` in float32.
        signature: its length is S, the length of the caches.
    """
    length = signature.length
    assert length is not None
    module = tf.Module()
    # the bare variables: from a Keras model, TFLite's converter would silently drop the weights
    module.weights = [variable.value for variable in model.variables]
    hooks = hooks_of(signature.scheme, model.adaptation)
    reads = not model.continues_prompts  # an encoder reads the prompt
    lengths = {} if reads else {f"prefill_{n}": n for n in prefill_lengths(length)}
    specs = {name: _step_specs(model, count, length) for name, count in (lengths | {"decode": 1}).items()}
    if reads:
        specs["encode"] = {name: tf.TensorSpec((1, length), tf.int32, name) for name in ("token_ids", "padding_mask")}
    functions = {}
    for name, inputs in specs.items():

        def run(name: str = name, **arguments: Any) -> Any:
            with tracing_with(hooks):
                return _encode(model, length, **arguments) if name == "encode" else _step(model, name, **arguments)

        functions[name] = traced(run, inputs)
    return module, functions


def prefill_lengths(cache_length: int) -> list[int]:
    """The numbers of tokens that the prefill functions of an artifact read, for caches of this length."""
    return [n for n in _PREFILL_LENGTHS if n <= cache_length]


def _step(model: Any, name: str, tokens: Any, input_pos: Any, mask: Any, **caches: Any) -> dict[str, Any]:
    backbone = model.backbone
    first = input_pos[0]  # LiteRT-LM pads with position 0: only the first position can be trusted
    visible = tf.cast(mask[:, 0] > _HIDDEN_BELOW, tf.int32)
    seen = backbone.context.of(visible, input_pos[None], first)
    packed = tf.nest.map_structure(caches.get, backbone.cache_names)
    hidden, new = backbone.step_in_context(tokens, seen, packed, first)
    outputs = {name: cache for name, cache in _named(model, new).items() if name.startswith(OWN_CACHES)}
    return outputs | {"logits": model.logits(hidden)} if name == "decode" else outputs


def _encode(model: Any, length: int, token_ids: Any, padding_mask: Any) -> dict[str, Any]:
    caches = _named(model, model.backbone.make_caches(token_ids, padding_mask, length))
    del caches["encoder_padding_mask"]  # the caller has it
    return {name: cache for name, cache in caches.items() if not name.startswith(OWN_CACHES)}


def _named(model: Any, caches: Caches) -> dict[str, Any]:
    return dict(zip(tf.nest.flatten(model.backbone.cache_names), tf.nest.flatten(caches), strict=True))


def _step_specs(model: Any, count: int, length: int) -> dict[str, tf.TensorSpec]:
    backbone = model.backbone
    text = [tf.ones((1, length), tf.int32)] * 2
    caches = backbone.make_caches(*text, length) if not model.continues_prompts else backbone.make_caches(1, length)
    specs = {
        "tokens": tf.TensorSpec((1, count), tf.int32, "tokens"),
        "input_pos": tf.TensorSpec((count,), tf.int32, "input_pos"),
        "mask": tf.TensorSpec((1, 1, count, length), tf.float32, "mask"),
    }
    return specs | {name: tf.TensorSpec(c.shape, c.dtype, name) for name, c in _named(model, caches).items()}
