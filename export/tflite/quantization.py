import io
import os
import warnings
from contextlib import redirect_stderr
from typing import Any

import tensorflow as tf

from keras_plm.config import Adaptation
from keras_plm.export.optional_imports import import_extra
from keras_plm.layers.export_hooks import GraphHooks
from keras_plm.layers.fake_quantization import rounded_weights
from keras_plm.tasks import TaskModel

from .schemes import EMBEDDING_MATRIX, Scheme

# Calibrated attention scores share one scale. A masked score of -1e9 would make that scale useless for all other
# scores. With -40, a masked key still has a negligible weight (e⁻⁴⁰).
_NARROW_MASKED_SCORE = -40.0

# The converter derives the name of an operator from the names of its layers.
_HEAD = r"/(head|pooler)(_\d+)?/"
_TIED_HEAD = r"^StatefulPartitionedCall"  # its product is an output of the function
_EMBEDDING = r"/embedding(_\d+)?/(projection|[Mm]at[Mm]ul|Tensordot|einsum)"
_PRODUCTS = r"(attention|feed_forward)(_adapter)?(_\d+)?/"
_BY_LARGEST = "min_max_uniform_quantize"  # the largest weight determines the scale


def check_scheme(scheme: Scheme, calibration: Any, model: TaskModel) -> None:
    """Check a scheme before the conversion starts.

    Raises:
        ValueError: calibration texts are missing or not allowed, sizes are not multiples of the block size, the model
            does not have the named parts, or the model was trained for another scheme.
        ImportError: the scheme needs a package that is not installed.
    """
    scheme.check(model.config, model.adaptation)
    aware = model.adaptation.quantization_aware
    missing = calibration is None or not len(calibration)
    if aware and calibration is not None:
        raise ValueError("the model has learned its ranges (quantization_aware); leave calibration out")
    if scheme.calibrated and missing and not aware:
        raise ValueError(f"{scheme} needs calibration: a few hundred texts similar to the texts in production")
    if calibration is not None and not getattr(model, "continues_prompts", True):
        raise ValueError("calibration texts are not supported for an encoder-decoder; leave calibration out")
    if not scheme.takes_texts and calibration is not None:
        raise ValueError(f"{scheme} takes no calibration texts; only static_int8, int8x16 and four-bit schemes do")
    if calibration is not None and not len(calibration):
        raise ValueError("calibration has no texts; leave it out")
    if scheme.by_litert:
        import_extra("litert_quantizer", "edge")


def configure(converter: tf.lite.TFLiteConverter, scheme: Scheme) -> None:
    """Set the converter's options for a scheme.

    Args:
        converter: the converter of a function with named inputs.
        scheme: float32: no option. float16: float16 weights. dynamic_int8: int8 weights; activations are quantized at
            run time. static_int8: int8 weights and activations in the matrix products, with the ranges of a
            quantization-aware model. int4, int4_block32, int8x16: like float32; `finish` quantizes afterwards.
    """
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if scheme.base == "float32" or scheme.by_litert:
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme.base == "float16":
        converter.target_spec.supported_types = [tf.float16]


def hooks_of(scheme: Scheme, adaptation: Adaptation) -> GraphHooks:
    """Changes of the layers in the graph for the converter, so that the scheme quantizes it well."""
    hooks: dict[str, Any] = {}
    if adaptation.quantization_aware:  # gather from the quantized matrix, so that it is stored in int8
        hooks["look_up"] = lambda matrix, ids: tf.gather(rounded_weights(tf.convert_to_tensor(matrix)), ids)
        hooks["attention_weights"] = _in_float
    elif scheme.calibrated:
        hooks["masked_score"] = _NARROW_MASKED_SCORE
    if scheme.by_litert:
        hooks["look_up"] = _look_up
    if scheme.four_bits or scheme.generates:
        hooks["normalized"] = _apart
    return GraphHooks(**hooks)


def _apart(normalized: tf.Tensor) -> tf.Tensor:
    """Add an operator after a normalization, so that the converter does not multiply gamma into the next kernels.

    Otherwise these kernels would no longer be the ones that were rounded to four bits, and a tied head would no longer
    have the embedding matrix as its kernel. The operator costs 1 % of time.
    """
    return tf.maximum(normalized, tf.float32.min)


def _in_float(weights: tf.Tensor) -> tf.Tensor:
    """Add an operator after the softmax, so that the converter does not quantize attention weights to eight bits.

    In steps of 1/256, all attention weights of a long text would become zero. The training did not simulate this: on
    sst2 it cost 0.4 points.
    """
    return weights + 1e-20


@tf.function(experimental_implements="embedding_matmul")
def _rows_of(matrix: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
    return tf.gather(matrix, token_ids)


def _look_up(matrix: Any, token_ids: tf.Tensor) -> tf.Tensor:
    """Gather rows of a matrix with EMBEDDING_LOOKUP, because the quantizer does not quantize weights of a GATHER."""
    rows = _rows_of(tf.convert_to_tensor(matrix), tf.reshape(token_ids, [-1]))
    return tf.reshape(rows, (*token_ids.shape, matrix.shape[-1]))


def finish(content: bytes, scheme: Scheme, rounded: bool, rows: list[dict[str, Any]]) -> bytes:
    """The final file from the converter's output. For four bits and int8x16, LiteRT's quantizer makes it.

    With four bits, each group has the scale with the lowest squared error (OCTAV), which clips the largest weights.
    MiniLM on sst2 kept 97.5 % of its labels, but only 91.8 % with a scale from the largest weight.

    Args:
        content: the converter's output.
        scheme: the scheme.
        rounded: the kernels have been rounded to four bits (`gptq.rounded_for`); their scale comes from the largest
            weight.
        rows: inputs for the ranges of activations.

    Source: Sakr et al. 2022, §3, https://arxiv.org/abs/2206.06501
    """
    if not scheme.by_litert:
        return content
    rules = _rules(scheme, rounded)
    made = import_extra("litert_quantizer.quantizer", "edge").Quantizer(content, rules)
    with warnings.catch_warnings():
        # for calibration, the quantizer keeps all tensors of an interpreter, which warns about it
        warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors", UserWarning)
        texts = {"serving_default": rows}
        ranges = made.calibrate(texts, num_threads=os.cpu_count() or 1) if scheme.calibrated else None
        with redirect_stderr(io.StringIO()):  # one of its progress bars cannot be turned off
            result = made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _rules(scheme: Scheme, rounded: bool) -> Any:
    """Rules for LiteRT's quantizer, by operator. Later rules override earlier ones."""
    recipes, types = (import_extra(f"litert_quantizer.{name}", "edge") for name in ("recipe_manager", "qtyping"))
    recipe, operators, granularity = recipes.RecipeManager(), types.TFLOperationName, types.QuantGranularity

    def weights(regex: str, operator: Any, bits: int, shared: str = "CHANNELWISE", how: str = _BY_LARGEST) -> None:
        recipe.add_dynamic_config(regex, operator, bits, granularity[shared], how)

    if scheme.base == "int8x16":
        recipe.add_static_config(".*", operators.ALL_SUPPORTED, 16, 8)
        weights(".*", operators.EMBEDDING_LOOKUP, 8)
        recipe.add_quantization_config(".*", operators.OUTPUT, algorithm_key="no_quantize")  # stays in float32
    elif scheme.base == "dynamic_int8":
        weights(".*", operators.ALL_SUPPORTED, 8)
    else:
        weights(".*", operators.ALL_SUPPORTED, 4, scheme.granularity, "OCTAV")
        if rounded:
            weights(".*", operators.FULLY_CONNECTED, 4, scheme.granularity)
            if scheme.generates:
                weights(".*", operators.EMBEDDING_LOOKUP, 4, scheme.granularity)
    for part in scheme.eight_bits:
        regex = {"embedding": _EMBEDDING, "head": _HEAD}.get(part, rf"/{part}(_\d+)?/{_PRODUCTS}")
        weights(regex, operators.FULLY_CONNECTED, 8)
        if part == EMBEDDING_MATRIX:
            weights(".*", operators.EMBEDDING_LOOKUP, 8)
        if part == EMBEDDING_MATRIX and scheme.generates:  # a tied head has the same matrix, which is stored once
            weights(_TIED_HEAD, operators.FULLY_CONNECTED, 8)
    return recipe.get_quantization_recipe()
