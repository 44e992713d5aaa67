"""Verify an artifact: it stays on disk only if it matches the Keras model."""

from typing import Any

import numpy as np

from keras_plm.tasks import TaskModel, task_of

from .signature import example_rows
from .tflite.schemes import Scheme

# Every verification uses these texts. Any text shows whether weights and operators survived the conversion. One text
# has special tokens written out, one has a NUL, one is longer than any row, and one is empty.
SAMPLE_TEXTS = (
    "A quiet, lovely film that says more in its silences than most do in two hours.",
    "no",
    "The committee met on Tuesday; it agreed on nothing, and will meet again in 2031 (perhaps).",
    "这家酒店的服务很好,房间也很干净。",
    "What, exactly, is the point of a [MASK] that does not [SEP]? [CLS] <s> </s> <mask>",
    "Über den\0 Wolken, naïve café — straße 12, #42! https://example.org/?q=1 \ufaf2",
    "€100 at 25°c 🙂👍🏽, これはペン; ²/₃ e\u0301",
    "it was longer than any row, " * 250,
    "",
)


class ExportError(RuntimeError):
    """The artifact does not match the model; it has been removed."""


def verify(model: TaskModel, artifact: Any, texts: Any = None, length: int | None = None) -> None:
    """Run the artifact in its real runtime, on single texts and on pairs, and compare its outputs with the model's.

    There are two measures, because each one misses some failures. The largest difference of a probability finds lost
    weights in a model with confident predictions. The shift is the root mean square (RMS) of the differences of the
    log-probabilities, divided by the RMS of their spread from text to text. An artifact that gives the same answer to
    every text has a shift of 1. An artifact with the weights of another model has a shift of about 1.4. This holds
    even if the probabilities change little from text to text.

    Args:
        model: the Keras model, in float32.
        artifact: an opened `runtime.Artifact`.
        texts: texts or pairs to run in addition to `SAMPLE_TEXTS`.
        length: T of the inputs if the artifact does not fix it; None means the model's limit.

    Raises:
        ExportError: a value is not finite, or the difference or the shift is above the limit of the scheme.
    """
    length = artifact.signature.length or length or model.longest_row
    pairs = list(zip(SAMPLE_TEXTS, reversed(SAMPLE_TEXTS), strict=True))
    if model.needs_tokenizer().template.pair is None:
        pairs = []
    rows = [row for group in (SAMPLE_TEXTS, pairs, texts or ()) for row in example_rows(model, list(group), length)]
    batch = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    found, wanted = artifact.outputs(batch), expected(model, batch)
    scheme = artifact.signature.quantization
    limits, per_token = Scheme.parse(scheme).limits, artifact.signature.spec.per_token
    for name in wanted:
        f, w = (by_row(side[name], batch["padding_mask"], per_token) for side in (found, wanted))
        if not np.isfinite(f).all():
            raise ExportError(f"the {scheme} artifact returns values that are not finite: weights were lost")
        is_probability = name == "probabilities"
        scale = 1.0 if is_probability else max(float(np.ptp(w)), 1e-3)
        for measure, value, allowed in (
            ("the largest error", float(np.abs(f - w).max()) / scale, limits.error),
            ("the shift", shift(f, w, is_probability), limits.shift),
        ):
            if not value <= allowed:
                raise ExportError(
                    f"the {scheme} artifact differs from the model: {measure} of {name} is {value:.2g} "
                    f"(allowed {allowed:.2g}) on {len(rows)} texts"
                )


def by_row(values: np.ndarray, padding_mask: np.ndarray, per_token: bool) -> np.ndarray:
    """(rows, any) values. With `per_token`, each token is a row, and padding is left out."""
    if not per_token:
        return values
    visible = padding_mask.astype(bool)
    return values[visible].reshape(visible.sum(), -1)


def shift(found: np.ndarray, wanted: np.ndarray, probabilities: bool) -> float:
    """The RMS difference, divided by the RMS spread from row to row. For probabilities, logarithms are compared."""
    if probabilities:
        found, wanted = (np.log(np.maximum(p, 1e-7)) for p in (found, wanted))
        found, wanted = (p - p.mean(-1, keepdims=True) for p in (found, wanted))
    spread = np.sqrt(np.mean((wanted - wanted.mean(0)) ** 2))
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / max(spread, 1e-3))


def expected(model: TaskModel, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of the Keras model, under the names of an artifact's outputs."""
    # not predict_on_batch: with several models that are compiled once each, TensorFlow warns about retracing
    task = task_of(model)
    outputs = task.to_outputs(task.settings(model), model(batch, training=False))
    return {name: np.asarray(value, "float32") for name, value in outputs.items()}
