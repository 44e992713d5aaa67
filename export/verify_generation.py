"""Verify an artifact that generates text: it stays on disk only if it writes what the Keras model would write."""

from typing import Any

import numpy as np

from keras_plm.tasks.generating_model import TeacherForced

from .loaded_model import load_artifact
from .runtime import Artifact
from .verify import SAMPLE_TEXTS, ExportError, shift

_READ_TOKENS = 40  # of each sample text; more than one call of the shortest prefill function
_NEW_TOKENS = 32
_WRITTEN = 4  # texts


def verify_generation(model: Any, artifact: Artifact) -> None:
    """Run the artifact in its real runtime, and compare it with the Keras model in two ways.

    - Logits: see `verify_logits`.
    - Greedy texts: the artifact reads prompts and writes. Each token that it chooses must be one that the Keras model
      would choose after the same text: its logit is at most twice the largest error of the logits below the highest
      one. So two tokens with almost equal logits are not an error, but a wrong token is.

    Args:
        model: the `TextGenerator` or `Seq2Seq`, in float32.
        artifact: an opened artifact of it.

    Raises:
        ExportError: a value is not finite, the error or the shift is above the limit of the scheme, or a token is
            wrong.
    """
    error, rows = verify_logits(model, artifact)
    _verify_texts(model, artifact, rows[:_WRITTEN], allowed=2 * error)


def verify_logits(model: Any, artifact: Artifact) -> tuple[float, list[TeacherForced]]:
    """Compare the logits as `verify` does; both models read the same texts (teacher forcing).

    Returns:
        The largest error, and the texts.

    Raises:
        ExportError: a value is not finite, or the error or the shift is above the limit of the scheme.
    """
    scheme = artifact.signature.scheme
    rows = model.teacher_forced(SAMPLE_TEXTS, min(_READ_TOKENS, artifact.signature.max_length))
    batches = [model.row_inputs(row.token_ids, row.source) for row in rows]
    found = np.concatenate([artifact.outputs(batch)["logits"][0] for batch in batches])
    wanted = np.concatenate([_logits(model, batch) for batch in batches])
    if not np.isfinite(found).all():
        raise ExportError(f"the {scheme} artifact returns values that are not finite: weights were lost")
    error, scale = float(np.abs(found - wanted).max()), max(float(np.ptp(wanted)), 1e-3)
    for measure, value, allowed in (
        ("the largest error", error / scale, scheme.limits.error),
        ("the shift", shift(found, wanted, probabilities=False), scheme.limits.shift),
    ):
        if not value <= allowed:
            raise ExportError(
                f"the {scheme} artifact differs from the model: {measure} of the logits is {value:.2g} "
                f"(allowed {allowed:.2g}) on {len(rows)} texts"
            )
    return max(error, 1e-5 * scale), rows


def _verify_texts(model: Any, artifact: Artifact, rows: list[TeacherForced], allowed: float) -> None:
    prompts = [row.token_ids[: row.num_prompt] for row in rows]
    sources = [row.source for row in rows if row.source is not None] or None
    session = load_artifact(artifact).open_session(_NEW_TOKENS, sources)
    room = artifact.signature.max_length - max(map(len, prompts))
    logits, written = session.read(prompts), [list(prompt) for prompt in prompts]
    for _ in range(min(_NEW_TOKENS, room)):
        tokens = logits.argmax(-1).astype("int32")
        for text, token in zip(written, tokens.tolist(), strict=True):
            text.append(token)
        logits = session.step(tokens)
    for row, text in zip(rows, written, strict=True):
        logits = _logits(model, model.row_inputs(text, row.source))[row.num_prompt - 1 : -1]
        chosen = np.take_along_axis(logits, np.array(text[row.num_prompt :])[:, None], 1)[:, 0]
        below = logits.max(-1) - chosen
        if below.max() > allowed:
            at = int(below.argmax())
            raise ExportError(
                f"the {artifact.signature.scheme} artifact writes another text than the model: new token {at + 1} of a "
                f"prompt has a logit {below[at]:.2g} below the highest one (allowed {allowed:.2g})"
            )


def _logits(model: Any, batch: dict[str, np.ndarray]) -> np.ndarray:
    """(T, V) float32 logits of a Keras model for one row."""
    return np.asarray(model(batch, training=False), "float32")[0]
