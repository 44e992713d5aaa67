from collections.abc import Iterator
from typing import Any, Literal

import tensorflow as tf

Scheme = Literal["float32", "float16", "dynamic_int8", "static_int8"]

# Largest difference of a probability that the proof allows. Rounding 8-bit weights moves the probabilities of a
# trained classifier by a few percent; lost weights or a collapsed softmax move them by far more. `compare` has the
# verdict.
TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "dynamic_int8": 0.25, "static_int8": 0.5}

# Largest shift (see proof.prove); 1 is an artefact that answers the same to every text.
LARGEST_SHIFT = {"float32": 1e-2, "float16": 0.1, "dynamic_int8": 0.5, "static_int8": 0.5}

# Smaller than float32 by at least this factor, or the scheme did nothing.
LARGEST_SHARE = {"float32": 1.01, "float16": 0.6, "dynamic_int8": 0.35, "static_int8": 0.35}


def check_scheme(scheme: str, calibration: Any) -> None:
    """Raise ValueError for an unknown scheme, and for calibration rows missing or not wanted."""
    if scheme not in TOLERANCE:
        raise ValueError(f"quantization={scheme!r}; choose one of {list(TOLERANCE)}")
    if (scheme == "static_int8") != (calibration is not None):
        raise ValueError(
            "static_int8 needs calibration: some hundred texts like those it will see"
            if scheme == "static_int8"
            else f"{scheme} takes no calibration texts; only static_int8 does"
        )


def configure(converter: tf.lite.TFLiteConverter, scheme: Scheme, rows: list[dict[str, Any]]) -> None:
    """Set the converter's options for a scheme.

    Args:
        converter: of a function with named inputs.
        scheme: float32: as it is. float16: weights. dynamic_int8: weights, activations as they come at run time.
            static_int8: weights and activations, by ranges seen on `rows`; inputs and outputs stay as they are.
        rows: inputs of shape (1, T), for static_int8.
    """
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if scheme == "float32":
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
