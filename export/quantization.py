from collections.abc import Iterator
from typing import Any, Literal

import tensorflow as tf

from keras_plm.config import ModelConfig

from .extras import import_extra

Scheme = Literal["float32", "float16", "dynamic_int8", "static_int8", "int4", "int4_block32"]

# weights of how many neighbours share a scale: all that make up one output, or 32
_INT4 = {"int4": "CHANNELWISE", "int4_block32": "BLOCKWISE_32"}
_BLOCK = 32

# Largest difference of a probability that the proof allows. Rounding 8-bit weights moves the probabilities of a
# trained classifier by a few percent; lost weights or a collapsed softmax move them by far more. `compare` has the
# verdict.
TOLERANCE = {
    "float32": 1e-4, "float16": 2e-2, "dynamic_int8": 0.25, "static_int8": 0.5,
    # no bound, the shift alone decides: of 400 texts of sst2 MiniLM keeps 97 % of its labels and moves one by 0.94
    "int4": 1.0, "int4_block32": 1.0,
}  # fmt: skip

# Largest shift (see proof.prove); 1 is an artefact that answers the same to every text.
LARGEST_SHIFT = {
    "float32": 1e-2, "float16": 0.1, "dynamic_int8": 0.5, "static_int8": 0.5, "int4": 0.7, "int4_block32": 0.6
}  # fmt: skip

# In static int8 the scores of an attention share one scale: with -1e9 among them nothing else would be left. e⁻⁴⁰
# is still nothing beside the other keys.
_STATIC_MASKED_SCORE = -40.0

# Smaller than float32 by at least this factor, or the scheme did nothing.
LARGEST_SHARE = {
    "float32": 1.01, "float16": 0.6, "dynamic_int8": 0.35, "static_int8": 0.35, "int4": 0.18, "int4_block32": 0.2
}  # fmt: skip


def check_scheme(scheme: str, calibration: Any, config: ModelConfig) -> None:
    """Raise an error before the work and not after.

    Raises:
        ValueError: an unknown scheme, calibration rows missing or not wanted, or sizes that do not come in blocks.
        ImportError: the scheme needs a package that is not installed.
    """
    if scheme not in TOLERANCE:
        raise ValueError(f"quantization={scheme!r}; choose one of {list(TOLERANCE)}")
    if (scheme == "static_int8") != (calibration is not None):
        raise ValueError(
            "static_int8 needs calibration: some hundred texts like those it will see"
            if scheme == "static_int8"
            else f"{scheme} takes no calibration texts; only static_int8 does"
        )
    if scheme in _INT4:
        import_extra("litert_quantizer", "edge")
        width = config.table_rank or config.embedding_dim or config.hidden_dim
        if width % 2:  # two weights a byte, and LiteRT begins a row at a whole byte
            raise ValueError(f"{scheme} needs rows of the table of even length, not {width}")
    if scheme == "int4_block32" and (config.hidden_dim % _BLOCK or config.intermediate_dim % _BLOCK):
        raise ValueError(
            f"int4_block32 needs sizes that are multiples of {_BLOCK}, not hidden_dim={config.hidden_dim} and "
            f"intermediate_dim={config.intermediate_dim}; int4 takes any"
        )


def configure(converter: tf.lite.TFLiteConverter, scheme: Scheme, rows: list[dict[str, Any]]) -> None:
    """Set the converter's options for a scheme.

    Args:
        converter: of a function with named inputs.
        scheme: float32: as it is. float16: weights. dynamic_int8: weights, activations as they come at run time.
            static_int8: weights and activations, by ranges seen on `rows`; inputs and outputs stay as they are.
            int4, int4_block32: as float32; `finish` comes after it.
        rows: inputs of shape (1, T), for static_int8.
    """
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if scheme == "float32" or scheme in _INT4:
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme == "static_int8":

        def representative() -> Iterator[tuple[str, dict[str, Any]]]:
            for row in rows:
                yield "serving_default", row

        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]


def prepare(model: Any, scheme: str) -> None:
    """Change a copy of a model so that a scheme can do it good."""
    if scheme == "static_int8":
        for block in model.encoder.blocks:
            block.attention.masked_score = _STATIC_MASKED_SCORE
    if scheme in _INT4:
        model.encoder.embedding.look_up = _look_up


@tf.function(experimental_implements="embedding_matmul")
def _rows_of(table: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
    return tf.gather(table, token_ids)


def _look_up(table: Any, token_ids: tf.Tensor) -> tf.Tensor:
    """Rows of a table through EMBEDDING_LOOKUP: the quantizer leaves the weights of a GATHER as they are."""
    rows = _rows_of(tf.convert_to_tensor(table), tf.reshape(token_ids, [-1]))
    return tf.reshape(rows, (*token_ids.shape, table.shape[-1]))


def finish(content: bytes, scheme: Scheme) -> bytes:
    """The file of a scheme from what the converter wrote: 4-bit weights are made by LiteRT's own quantizer.

    The scale of each group is the one of least squared error (OCTAV): the outermost weights are clipped. With the
    largest weight as the scale, MiniLM on sst2 kept 91.8 % of its labels, so 97.5 %.

    Source: Sakr et al. 2022, §3, https://arxiv.org/abs/2206.06501
    """
    if scheme not in _INT4:
        return content
    quantizer, recipes, types = (
        import_extra(f"litert_quantizer.{name}", "edge") for name in ("quantizer", "recipe_manager", "qtyping")
    )
    recipe = recipes.RecipeManager()
    recipe.add_dynamic_config(
        regex=".*",
        operation_name=types.TFLOperationName.ALL_SUPPORTED,
        num_bits=4,
        granularity=types.QuantGranularity[_INT4[scheme]],
        algorithm_key="OCTAV",
    )
    made = quantizer.Quantizer(content, recipe.get_quantization_recipe())
    return bytes(made.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model)
