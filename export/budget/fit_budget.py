from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.markup import escape
from rich.progress import Progress

from keras_plm.export.artifact_files import artifact_path, files_of, record_path
from keras_plm.export.evaluation_data import read_data
from keras_plm.export.signature import Signature
from keras_plm.export.tflite.schemes import Scheme
from keras_plm.models import check_free
from keras_plm.tasks import Columns, TaskModel, task_of
from keras_plm.text import Examples, list_of_texts

from .attempts import CHOSEN, GIVEN, Search, search_folder
from .pareto import Attempt, Bounds, Budget, BudgetError

_TRIMS = (None, 1, 2)  # minimum number of occurrences of a token
_SENSITIVITY_TEXTS = 100


def fit_budget(
    model: TaskModel,
    path: str | Path,
    data: str | Path | Examples,
    *,
    max_megabytes: float | None = None,
    max_latency_ms: float | None = None,
    max_loss: float | None = None,
    alternatives: Mapping[str, TaskModel] | None = None,
    texts: Sequence | None = None,
    schemes: Sequence[str] | None = None,
    metric: str | None = None,
    text_column: str = "text",
    second_column: str | None = None,
    label_column: str | tuple[str, ...] | None = "label",
    tag_column: int | str = -1,
    max_length: int | None = None,
    limit: int | None = None,
    num_threads: int = 1,
    overwrite: bool = False,
    progress: bool = False,
) -> Budget:
    """Try many ways to make a small and fast `.tflite`, and keep the best artifact within the limits.

    Every model is exported with every scheme, with its whole vocabulary and with the vocabulary trimmed to `texts`.
    Each artifact is evaluated on all rows in its own runtime. If none is within the limits, mixed precision is tried:
    parts of the four-bit artifacts get eight bits again, the most sensitive part first. If the search is killed, the
    same call resumes it.

    The file `model.tflite.budget.json` beside the artifact records how it was made, and all attempts.

    Args:
        model: a task model; `max_loss` is relative to its score in Keras.
        path: a file that ends in `.tflite`, or a folder for `model.tflite`.
        data: examples with answers: a table with the columns named below; for a tagger also CoNLL, for a question
            answerer SQuAD's JSON; or `Examples`. Use validation rows: test rows that select an artifact can no longer
            test it.
        max_megabytes: largest size of the file, in 10⁶ bytes.
        max_latency_ms: longest time of one row of full length in LiteRT.
        max_loss: largest loss of the metric in points (hundredths), relative to the model.
        alternatives: smaller models for the same task to try as well, by name: distilled, pruned or clustered models,
            models with a factorized embedding matrix, or models trained with `quantization_aware=True`.
        texts: texts or (first, second) pairs similar to the texts in production. They are used to trim the vocabulary
            and to calibrate static_int8 and four bits. None means neither.
        schemes: schemes of `to_tflite`; None means float16, dynamic_int8, int4, int4_block32, and, if there are texts,
            static_int8. A model trained with `quantization_aware=True` is exported only with static_int8.
        metric: a score of `evaluate`; None means the first one.
        text_column: column of the texts, or of the first texts of pairs.
        second_column: column of the second texts, if the model takes pairs.
        label_column: column of the labels or scores.
        tag_column: for a tagger: the column of the tags in CoNLL files (by default the last), or their key in JSONL.
        max_length: T of the artifact; None means the model's limit.
        limit: use at most this number of rows.
        num_threads: threads of the runtime.
        overwrite: replace an existing artifact.
        progress: show a progress bar.

    Returns:
        All attempts (print it), the winner and the path of its artifact.

    Raises:
        BudgetError: no artifact is within the limits. The error says which limit fails and by how much, and has all
            attempts.
        FileExistsError: the artifact exists and `overwrite` is False, or there is an unfinished search with other
            settings.
        ValueError: there is no limit, the rows have no answers, a metric or scheme is unknown, or an alternative has
            another task.

    Example:
        >>> budget = fit_budget(reviews, "phone", "dev.tsv", max_megabytes=4, texts=texts)  # doctest: +SKIP
        >>> print(budget), budget.plot("budget.png")  # doctest: +SKIP
    """
    path = artifact_path(path, ".tflite")
    bounds = Bounds(max_megabytes=max_megabytes, max_latency_ms=max_latency_ms, max_loss=max_loss)
    if bounds == Bounds():
        raise ValueError("a budget needs a bound: max_megabytes, max_latency_ms or max_loss")
    record = record_path(path)
    # if this search was killed while it wrote the winner, the files at `path` are its own
    overwrite = overwrite or (search_folder(path) / CHOSEN).exists()
    for file in (*files_of(model, path), record):
        check_free(file, overwrite)
    if num_threads < 1:
        raise ValueError(f"num_threads={num_threads}; it must be at least 1")
    known_texts = [] if texts is None else list_of_texts(texts, "texts")
    models = {GIVEN: model, **(alternatives or {})}
    _check_alternatives(models, alternatives or {})
    _check_schemes(models, schemes or (), bool(known_texts))
    Signature.of(model, max_length, fixed=True)
    rows, examples = read_data(model, data, Columns(text_column, second_column, label_column, tag_column), limit)
    if examples is None or not rows:
        raise ValueError("a budget needs examples with answers: a table with labels, tagged sentences or questions")
    settings = {"max_length": max_length, "num_threads": num_threads, "metric": metric}
    with Search(path, models, examples, known_texts, settings) as search:
        found = search.reference()
        with Progress(disable=not progress) as bar:
            variants = list(_variants(models, schemes, bool(known_texts)))
            task = bar.add_task("artifacts", total=len(variants))
            attempts = []
            for variant in variants:
                bar.update(task, description=escape(variant.name))
                attempts.append(search.attempt(variant))
                bar.advance(task)
            if bounds.best(attempts) is None:
                bar.update(task, description="mixed precision", total=None)
                for mixed in search.mixed(attempts, rows[:_SENSITIVITY_TEXTS], bounds):
                    attempts.append(mixed)
                    bar.update(task, description=f"after {escape(mixed.name)}")
                    if bounds.best(attempts) is not None:
                        break
        budget = Budget(search.metric, found, bounds, attempts, bounds.best(attempts))
        if budget.winner is None:
            raise BudgetError(budget, search.folder)
        budget = replace(budget, path=search.keep(budget.winner, path, overwrite))
        budget.write(record)
        search.finished = True
    return budget


def _check_alternatives(models: Mapping[str, TaskModel], alternatives: Mapping[str, TaskModel]) -> None:
    if GIVEN in alternatives:
        raise ValueError(f"{GIVEN!r} is the name of the model itself; call the alternative something else")
    facts = {name: (task_of(model), task_of(model).settings(model)) for name, model in models.items()}
    task, settings = facts[GIVEN]
    for name, (its_task, its) in facts.items():
        if its_task is not task or any(its[one] != settings[one] for one in task.shared_settings):
            raise ValueError(f"alternative {name!r} is for another task, or has other labels")


def _check_schemes(models: Mapping[str, TaskModel], schemes: Sequence[str], has_texts: bool) -> None:
    """Raise ValueError if no model can be exported with a scheme. Quantization-aware models have a fixed scheme."""
    bare = {name: model for name, model in models.items() if not model.adaptation.quantization_aware}
    for scheme in map(Scheme.parse, schemes):
        if scheme.calibrated and bare and not has_texts:
            raise ValueError(f"{scheme} needs texts to calibrate {list(bare)} on")
        problems = []
        for model in bare.values():
            try:
                scheme.check(model.config, model.adaptation)
            except ValueError as error:
                problems.append(error)
        if problems and len(problems) == len(bare):
            raise problems[0]


def _variants(models: Mapping[str, TaskModel], schemes: Sequence[str] | None, has_texts: bool) -> Iterator[Attempt]:
    everything = ["float16", "dynamic_int8", *(["static_int8"] if has_texts else []), "int4_block32", "int4"]
    for name, model in models.items():
        own = ["static_int8"] if model.adaptation.quantization_aware else list(schemes or everything)
        for trim in _TRIMS if has_texts else _TRIMS[:1]:
            for scheme in own:
                yield Attempt(model=name, trim=trim, quantization=scheme)
