"""Verify an artifact that generates text: it stays on disk only if it writes what the Keras model would write."""

from typing import Any

import numpy as np

from .loaded_model import load_artifact
from .runtime import Artifact
from .verify import SAMPLE_TEXTS, ExportError, shift

_READ_TOKENS = 40  # of each sample text; more than one call of the shortest prefill function
_NEW_TOKENS = 32


def verify_generation(model: Any, artifact: Artifact) -> None:
    """Run the artifact in its real runtime, and compare it with the Keras model in two ways.

    - Logits: see `verify_logits`.
    - Greedy texts: the artifact reads a prompt with its prefill functions, and writes. Each token that it chooses must
      be one that the Keras model would choose after the same text: its logit is at most twice the largest error of the
      logits below the highest one. So two tokens with almost equal logits are not an error, but a wrong token is.

    Args:
        model: the `TextGenerator`, in float32.
        artifact: an opened artifact of it.

    Raises:
        ExportError: a value is not finite, the error or the shift is above the limit of the scheme, or a token is
            wrong.
    """
    error, rows = verify_logits(model, artifact)
    longest = artifact.signature.max_length
    _verify_texts(model, artifact, [ids[: longest // 2] for ids in rows[:4]], allowed=2 * error)


def verify_logits(model: Any, artifact: Artifact) -> tuple[float, list[list[int]]]:
    """Compare the logits as `verify` does; both models read the same texts (teacher forcing).

    Returns:
        The largest error, and the token ids of the texts.

    Raises:
        ExportError: a value is not finite, or the error or the shift is above the limit of the scheme.
    """
    scheme = artifact.signature.scheme
    texts = [text for text in SAMPLE_TEXTS if text]
    longest = artifact.signature.max_length
    rows = [ids[: min(_READ_TOKENS, longest)] for ids in model.texts_to_ids(texts)]
    found = np.concatenate([_logits(artifact, ids) for ids in rows])
    wanted = np.concatenate([_logits(model, ids) for ids in rows])
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


def _verify_texts(model: Any, artifact: Artifact, prompts: list[list[int]], allowed: float) -> None:
    session = load_artifact(artifact).open_session(_NEW_TOKENS)
    room = artifact.signature.max_length - max(map(len, prompts))
    logits, written = session.read(prompts), [list(prompt) for prompt in prompts]
    for _ in range(min(_NEW_TOKENS, room)):
        tokens = logits.argmax(-1).astype("int32")
        for row, token in zip(written, tokens.tolist(), strict=True):
            row.append(token)
        logits = session.step(tokens)
    for prompt, row in zip(prompts, written, strict=True):
        logits = _logits(model, row)[len(prompt) - 1 : -1]
        chosen = np.take_along_axis(logits, np.array(row[len(prompt) :])[:, None], 1)[:, 0]
        below = logits.max(-1) - chosen
        if below.max() > allowed:
            at = int(below.argmax())
            raise ExportError(
                f"the {artifact.signature.scheme} artifact writes another text than the model: new token {at + 1} of a "
                f"prompt has a logit {below[at]:.2g} below the highest one (allowed {allowed:.2g})"
            )


def _logits(model: Any, token_ids: list[int]) -> np.ndarray:
    """(T, V) float32 logits of a Keras model or artifact for a row of tokens."""
    ids = np.array([token_ids], "int32")
    batch = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    found = model.outputs(batch)["logits"] if isinstance(model, Artifact) else model(batch, training=False)
    return np.asarray(found, "float32")[0]
