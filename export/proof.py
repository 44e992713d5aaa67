"""No artefact stays on disk that does not answer as the model does."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_plm.models import Classifier

from .signature import example_rows

# Sentences for when the caller gives none: any text will do to see whether weights and operators survived.
PROOF_TEXTS = (
    "A quiet, lovely film that says more in its silences than most do in two hours.",
    "no",
    "The committee met on Tuesday; it agreed on nothing, and will meet again in 2031 (perhaps).",
    "这家酒店的服务很好,房间也很干净。",
    "What, exactly, is the point of a train that does not stop?",
    "Über den Wolken, naïve café — straße 12, #42! https://example.org/?q=1",
    "it it it it it it it it it it it it it it it it it it it it it it it it it it it it it it it it",
    "",
)


class ExportError(RuntimeError):
    """An artefact that does not reproduce the model; it has been removed."""


def prove(model: Classifier, artifact: Any, tolerance: float, texts: Any = None, length: int = 128) -> None:
    """Run the artefact on texts in its real runtime and compare with the model.

    Args:
        model: the Keras model.
        artifact: an opened `runtime.Artifact`.
        tolerance: largest difference of a probability (of a score, relative to the spread of the scores).
        texts: what to run; None means `PROOF_TEXTS`.
        length: T of the inputs if the artefact leaves it free.

    Raises:
        ExportError: a value that is not finite, or a difference above the tolerance.
    """
    rows = example_rows(model, list(texts or PROOF_TEXTS), artifact.signature.length or length)
    batch = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    found = artifact(batch)
    wanted = expected(model, batch)
    if not np.isfinite(found).all():
        raise ExportError(f"{artifact.path} gives values that are not finite: weights were lost")
    scale = 1.0 if model.labels is not None else max(float(np.ptp(wanted)), 1e-3)
    error = float(np.abs(found - wanted).max()) / scale
    if error > tolerance:
        raise ExportError(
            f"{artifact.path} differs from the model by {error:.2g} (allowed {tolerance:.2g}) on {len(rows)} texts"
        )


def expected(model: Classifier, batch: dict[str, np.ndarray]) -> np.ndarray:
    """Keras' own answer: (rows, C) probabilities, or (rows, 1) scores."""
    logits = np.asarray(model.predict_on_batch(batch), "float32")
    if model.labels is None:
        return logits
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def artifact_path(path: str | Path, suffix: str) -> Path:
    """`path` itself if it ends in the suffix, else `model<suffix>` in that folder."""
    path = Path(path)
    return path if path.suffix == suffix else path / f"model{suffix}"
