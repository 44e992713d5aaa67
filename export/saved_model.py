from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.models import whole_folder
from keras_plm.text import AnswerWindows, split_words

from .proof import PROOF_TEXTS, ExportError, expected, prove
from .runtime import Artifact
from .serving import write_warm_up
from .signature import Signature, example_rows, float32_copy, float32_function, least_length
from .tasks import TaskModel
from .text_signature import text_function


def to_saved_model(
    model: TaskModel,
    folder: str | Path,
    max_length: int | None = None,
    pairs: bool | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a SavedModel for TF Serving that takes raw text, and prove that it answers as the model does.

    Two signatures. `token_ids` takes `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32, and gives the outputs
    that `Artifact` describes. `serving_default` takes strings, (B,) each:

    | model | takes | gives |
    |---|---|---|
    | classifier | `text`, or `first` and `second` | `probabilities` (B, C), `label` (B,); `score` (B, 1) |
    | tagger | `text` | `words`, `tags`, `starts`, `ends`, `scores`, (B, W) each, "" or 0 after the last word |
    | question answerer | `question`, `context` | `answer`, `start`, `end`, `score`, `null_score`, (B,) each |
    | embedder | `text` | `vectors` (B, D) |

    Whoever loads it needs TensorFlow and TensorFlow Text (`import tensorflow_text` before `tf.saved_model.load`), not
    this package. TF Serving finds requests in `assets.extra` to warm up with. A classifier with several labels a text
    gives no `label`. Texts longer than a row lose their end; for taggers and question answerers the methods of
    `export.load_artifact` read on in windows. A question answerer's tokenizer must be WordPiece.

    Args:
        model: a task model with its tokenizer.
        folder: where to; TF Serving wants a version number as its last part, e.g. `models/reviews/1`.
        max_length: longest row in tokens; None means the model's limit.
        pairs: a classifier takes pairs of texts; None means what it was trained on, if it knows.
        overwrite: replace a folder that is there.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False.
        TypeError: a question answerer whose tokenizer is not WordPiece.
        ValueError: `pairs` for another model than a classifier.
        ExportError: it does not answer as the model does; nothing is left on disk.
    """
    folder = Path(folder)
    signature = Signature.of(model, None)
    if pairs is None:
        pairs = bool(getattr(model, "pairs", False))
    if pairs and signature.task != "Classifier":
        raise ValueError(f"pairs=True is for a classifier of pairs, not for a {signature.task}")
    max_length = Signature.of(model, max_length, fixed=True).max_length
    model = float32_copy(model)
    module, serve = float32_function(model, signature)
    tokenizer = model.needs_tokenizer()
    module.tokenizer = tokenizer.resources()  # its tables are resources that must be saved along
    respond, strings = text_function(model, signature, serve, max_length, pairs)
    module.token_ids = tf.function(serve, autograph=False)
    module.text = tf.function(respond, autograph=False)
    signatures = {
        "serving_default": module.text.get_concrete_function(**strings),
        "token_ids": module.token_ids.get_concrete_function(**signature.input_specs()),
    }
    with whole_folder(folder, overwrite) as temporary:
        tf.saved_model.save(module, str(temporary), signatures=signatures)
        signature.write(Signature.path(temporary))
        artifact = Artifact(temporary)
        for name, content in tokenizer.files().items():
            artifact.beside(name).parent.mkdir(exist_ok=True)
            artifact.beside(name).write_bytes(content)
        for length in (max_length, max(max_length // 2, least_length(model))):
            prove(model, artifact, length=length)
        _prove_text(model, temporary, max_length, pairs)
        write_warm_up(temporary, "serving_default", _warm_up(list(strings)))
    return folder


def _warm_up(names: list[str]) -> list[dict[str, list[str]]]:
    """One text alone, and a batch: two shapes of work."""
    return [{name: list(PROOF_TEXTS[:rows]) for name in names} for rows in (1, len(PROOF_TEXTS))]


def _prove_text(model: Any, folder: Path, max_length: int, pairs: bool) -> None:
    """Raise ExportError unless strings get the answers that the model gives to their tokens."""
    loaded = tf.saved_model.load(str(folder))  # a signature dies with the object it came from
    task, prompt = Signature.read(Signature.path(folder)).task, getattr(model, "prompt", "")
    second = tuple(reversed(PROOF_TEXTS))
    strings: dict[str, Any]
    if task == "QuestionAnswerer":
        strings = _questions()
    else:
        strings = {"first": PROOF_TEXTS, "second": second} if pairs else {"text": PROOF_TEXTS}
    given = {name: tf.constant(value) for name, value in strings.items()}
    found = {name: value.numpy() for name, value in loaded.signatures["serving_default"](**given).items()}
    if task == "Tagger":
        _same_tags(model, found, max_length)
    elif task == "QuestionAnswerer":
        _same_answers(model, found, strings, max_length)
    else:
        _same_numbers(
            model,
            found,
            list(zip(PROOF_TEXTS, second, strict=True)) if pairs else [prompt + text for text in PROOF_TEXTS],
            max_length,
        )


def _questions() -> dict[str, list[str]]:
    """Every text asked of every other, and a question and a context that are both too long."""
    texts = [text for text in PROOF_TEXTS if text]
    pairs = [(question, context) for question in texts[:4] for context in texts] + [(" ".join(texts), " ".join(texts))]
    return {"question": [question for question, _ in pairs], "context": [context for _, context in pairs]}


def _same_numbers(model: Any, found: dict[str, np.ndarray], texts: list, max_length: int) -> None:
    rows = example_rows(model, texts, max_length)
    wanted = expected(model, {name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
    for name, values in wanted.items():
        error = float(np.abs(found[name] - values).max())
        if not error <= 1e-4 * max(1.0, float(np.abs(values).max())):
            raise ExportError(f"the SavedModel answers other than the model to strings: {name} by {error:.2g}")
    if "label" in found:
        named = [model.labels[i] for i in found["probabilities"].argmax(-1)]
        if [label.decode() for label in found["label"]] != named:
            raise ExportError("the SavedModel gives labels that are not those of its probabilities")


def _same_tags(model: Any, found: dict[str, np.ndarray], max_length: int) -> None:
    whole = 0
    for row, wanted in enumerate(model.words_of(PROOF_TEXTS)):
        words = [word.decode() for word in found["words"][row] if word]
        count = len(words)
        whole += count == len(wanted.words) > 0
        (tags,) = model.predict_tags([words], max_length=max_length)
        for name, value in (("words", wanted.words), ("starts", wanted.starts), ("ends", wanted.ends), ("tags", tags)):
            given = [item.decode() if isinstance(item, bytes) else item for item in found[name][row][:count].tolist()]
            if given != value[:count]:
                raise ExportError(
                    f"the SavedModel answers other than the model to strings: {name} {given}, not {value[:count]}"
                )
    if not whole:
        raise ExportError(
            f"the SavedModel answers no string with a whole sentence; max_length={max_length} is too short"
        )


def _same_answers(model: Any, found: dict[str, np.ndarray], strings: dict[str, Any], max_length: int) -> None:
    """The best span of whole words among all, computed from the logits of the first window."""
    questions, contexts = strings["question"], strings["context"]
    windows = AnswerWindows.from_questions(model.needs_tokenizer(), questions, contexts, None, max_length, 0)
    words = split_words(contexts, model.tokenizer.words_alone)
    rows = {int(q): i for i, q in reversed(list(enumerate(windows.question)))}  # the first window of each question
    outputs = {
        int(i): (s, e)
        for index, o in model.batch_outputs(windows.rows, 8)
        for i, s, e in zip(index, *o.values(), strict=True)
    }
    for question, context in enumerate(contexts):
        start, end = outputs[rows[question]]
        offset, tokens = int(windows.offset[rows[question]]), windows.contexts[question]
        count = int(windows.rows.second.lengths[rows[question]])  # type: ignore[union-attr]
        split = words[question]
        word = np.searchsorted(split.ends, tokens.starts, side="right")  # of each token
        begins, finishes = (np.diff(word, **side) != 0 for side in ({"prepend": -1}, {"append": -1}))
        spans = {
            (split.starts[word[i]], split.ends[word[j]]): float(start[offset + i] + end[offset + j])
            for i in range(count)
            if begins[i]
            for j in range(i, min(i + model.max_answer, count))
            if finishes[j]
        }
        best, score = max(spans.items(), key=lambda item: item[1]) if spans else ((0, 0), -2e9)
        null = float(start[0] + end[0])
        silent = not spans or (model.null_threshold is not None and null - score > model.null_threshold)
        begin, finish = (0, 0) if silent else best
        wanted = {"answer": context[begin:finish], "start": begin, "end": finish}
        given = {"answer": found["answer"][question].decode(), **{n: int(found[n][question]) for n in ("start", "end")}}
        near = all(
            abs(float(found[name][question]) - value) <= 1e-3 * max(1.0, abs(value))
            for name, value in (("score", score), ("null_score", null))
        )
        if given != wanted or not near:
            raise ExportError(f"the SavedModel answers other than the model to strings: {given}, not {wanted}")
