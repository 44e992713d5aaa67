"""No artifact stays on disk that does not answer as the model does."""

from typing import Any

import numpy as np

from keras_plm.tasks import TaskModel, task_of

from .signature import example_rows
from .tflite.schemes import Scheme

# For when the caller gives none: any text will do to see whether weights and operators survived. Among them one with
# special tokens written out, one with a NUL, a longer one than any row, and none at all.
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
    """An artifact that does not reproduce the model; it has been removed."""


def verify(model: TaskModel, artifact: Any, texts: Any = None, length: int | None = None) -> None:
    """Run the artifact in its real runtime, on single texts and on pairs, and compare with the model.

    Two measures, because one is blind where the other sees. The largest difference of a probability finds lost weights
    in a model that is sure of itself. The shift is the root mean square of the difference of the log-probabilities,
    over that of their spread from text to text: an artifact that answers the same to everything has a shift of 1, one
    with the weights of another model about 1.4, however little the probabilities move.

    Args:
        model: the Keras model, in float32.
        artifact: an opened `runtime.Artifact`.
        texts: what to run beside `SAMPLE_TEXTS`: texts, or pairs.
        length: T of the inputs where the artifact leaves it free; None means the model's limit.

    Raises:
        ExportError: a value that is not finite, or a difference or a shift above what the scheme allows.
    """
    length = artifact.signature.length or length or model.longest_row
    pairs = list(zip(SAMPLE_TEXTS, reversed(SAMPLE_TEXTS), strict=True))
    rows = [row for group in (SAMPLE_TEXTS, pairs, texts or ()) for row in example_rows(model, list(group), length)]
    batch = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    found, wanted = artifact.outputs(batch), expected(model, batch)
    scheme = artifact.signature.quantization
    limits, per_token = Scheme.parse(scheme).limits, artifact.signature.spec.per_token
    for name in wanted:
        f, w = (by_row(side[name], batch["padding_mask"], per_token) for side in (found, wanted))
        if not np.isfinite(f).all():
            raise ExportError(f"the {scheme} artifact gives values that are not finite: weights were lost")
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
    """(rows, any) values; with a value `per_token` a row is a token, and padding is left out."""
    if not per_token:
        return values
    visible = padding_mask.astype(bool)
    return values[visible].reshape(visible.sum(), -1)


def shift(found: np.ndarray, wanted: np.ndarray, probabilities: bool) -> float:
    """The root mean square of a difference over that of the spread from row to row; of probabilities, of their logs."""
    if probabilities:
        found, wanted = (np.log(np.maximum(p, 1e-7)) for p in (found, wanted))
        found, wanted = (p - p.mean(-1, keepdims=True) for p in (found, wanted))
    spread = np.sqrt(np.mean((wanted - wanted.mean(0)) ** 2))
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / max(spread, 1e-3))


def expected(model: TaskModel, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keras' own answer, under the names of an artifact's outputs."""
    # not predict_on_batch: TensorFlow warns of retracing where several models are compiled once each
    task = task_of(model)
    outputs = task.to_outputs(task.settings(model), model(batch, training=False))
    return {name: np.asarray(value, "float32") for name, value in outputs.items()}
