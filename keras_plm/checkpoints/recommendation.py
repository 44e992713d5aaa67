import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

Task = Literal["classification", "pairs", "tagging", "question_answering", "similarity", "pretraining"]
Size = Literal["float32", "dynamic_int8"]
TASKS = ("classification", "pairs", "tagging", "question_answering", "similarity", "pretraining")
# Bytes per weight in the exported file.
_BYTES = {"float32": 4.0, "dynamic_int8": 1.03}
# Benchmarks for comparing checkpoints, by the beginning of their names. The first benchmark that a checkpoint has is
# used. Nearly all checkpoints have published scores on the sentence pairs of MNLI or XNLI.
_MEASURES = {
    "similarity": ("STS-B Spearman test (as it is", "STS-B Spearman"),
    "zh": ("XNLI Chinese accuracy test",),
    "en": ("MNLI-m accuracy",),
    "several": ("XNLI average test", "XNLI English accuracy test"),
}


@dataclass(frozen=True)
class KnownCheckpoint:
    """One row of the table of known checkpoints.

    Attributes:
        name: repository id, for `plm.load("hf:" + name)`.
        architecture: its model_type.
        parameters: number of the encoder's weights.
        languages: ISO 639-1 codes, or ("multilingual",) for about a hundred.
        cased: whether it distinguishes upper and lower case.
        license: license on the checkpoint's page; None if it could not be verified.
        tasks: tasks for which it is a good starting point.
        ready: the task that it can do without fine-tuning; None if it needs fine-tuning.
        scores: benchmark → (value, source).
        latency_ms: quantization → milliseconds for a row of 128 tokens in TFLite on one thread. Measured with random
            weights on the machine in docs/log.
        notes: important facts before using it.
    """

    name: str
    architecture: str
    parameters: int
    languages: tuple[str, ...]
    cased: bool
    license: str | None
    tasks: tuple[str, ...]
    ready: str | None
    scores: dict[str, tuple[float, str]]
    latency_ms: dict[str, float]
    notes: str

    def megabytes(self, quantization: Size = "dynamic_int8") -> float:
        """Size of the exported file, in 10⁶ bytes."""
        return self.parameters * _BYTES[quantization] / 1e6

    def speaks(self, languages: Sequence[str]) -> bool:
        """Whether the checkpoint was trained on all of these languages."""
        return self.languages == ("multilingual",) or set(languages) <= set(self.languages)

    def score(self, measures: Sequence[str]) -> tuple[int, float, str, str] | None:
        """(rank of the benchmark, value, name, source) of the first of these benchmarks that the checkpoint has."""
        for rank, measure in enumerate(measures):
            for benchmark, (value, source) in self.scores.items():
                if benchmark.startswith(measure):
                    return rank, value, benchmark, source
        return None


@dataclass(frozen=True)
class Choice:
    """A recommendation.

    Attributes:
        name: argument for `plm.load`: "hf:…".
        reason: the reason for this choice, in a sentence or two.
        quantization: quantization of the exported file; sizes and times refer to it.
        checkpoint: its row of the table.
        others: other checkpoints that fit, the best first.
    """

    name: str
    reason: str
    quantization: Size
    checkpoint: KnownCheckpoint
    others: tuple[KnownCheckpoint, ...]

    def __str__(self) -> str:
        table = Table(
            title=f"plm.load({self.name!r}), as {self.quantization}", caption=self.reason, caption_justify="left"
        )
        for column in ("checkpoint", "MB", "ms", "license", "published"):
            table.add_column(column, justify="right" if len(column) == 2 else "left", overflow="fold")
        for row in (self.checkpoint, *self.others):
            scores = "; ".join(f"{benchmark} {value:g}" for benchmark, (value, _) in list(row.scores.items())[:2])
            megabytes, ms = f"{row.megabytes(self.quantization):.0f}", f"{row.latency_ms[self.quantization]:.1f}"
            table.add_row(row.name, megabytes, ms, row.license or "see its page", scores)
        console = Console(width=120, force_jupyter=False, force_terminal=False)
        with console.capture() as capture:
            console.print(table)
        return capture.get().rstrip()


def choose(
    task: Task = "classification",
    max_megabytes: float | None = None,
    max_latency_ms: float | None = None,
    languages: Sequence[str] = ("en",),
    quantization: Size = "dynamic_int8",
) -> Choice:
    """Recommend a known checkpoint to start from. Nothing is downloaded.

    A checkpoint fits if it suits the task, was trained on the languages, and is within the limits. The recommendation
    is the fitting checkpoint with the best published score. If no scores can be compared, it is the largest.

    Args:
        task: "classification", "pairs", "tagging", "question_answering", "similarity" or "pretraining".
        max_megabytes: largest exported file, in 10⁶ bytes.
        max_latency_ms: longest time of a row of 128 tokens in TFLite on one thread, on the machine of the table. Your
            machine differs, so measure the artifact with `export.compare`.
        languages: ISO 639-1 codes; the checkpoint must know all of them.
        quantization: quantization of the exported file, for both limits.

    Raises:
        ValueError: the task is unknown, or no checkpoint fits; the message names the smallest and the fastest one.

    Example:
        >>> choose("similarity", max_megabytes=30).name
        'hf:sentence-transformers/all-MiniLM-L6-v2'
    """
    if task not in TASKS:
        raise ValueError(f"task={task!r}; choose one of {', '.join(TASKS)}")
    if quantization not in _BYTES:
        raise ValueError(f"quantization={quantization!r}; choose one of {', '.join(_BYTES)}")
    if isinstance(languages, str) or not languages:
        raise ValueError(f"languages={languages!r}; pass a list of codes such as ['en', 'de']")
    able = [c for c in known_checkpoints() if task in c.tasks and c.speaks(languages)]
    if not able:
        raise ValueError(f"no known checkpoint is a starting point for {task} in {', '.join(languages)}")
    fitting = [
        c
        for c in able
        if (max_megabytes is None or c.megabytes(quantization) <= max_megabytes)
        and (max_latency_ms is None or c.latency_ms[quantization] <= max_latency_ms)
    ]
    if not fitting:
        smallest = min(able, key=lambda c: c.megabytes(quantization))
        fastest = min(able, key=lambda c: c.latency_ms[quantization])
        raise ValueError(
            f"no known checkpoint for {task} in {', '.join(languages)} fits: the smallest, {smallest.name}, has "
            f"{smallest.megabytes(quantization):.1f} MB as {quantization}; the fastest, {fastest.name}, takes "
            f"{fastest.latency_ms[quantization]:.1f} ms"
        )
    by_language = _MEASURES.get(languages[0] if len(languages) == 1 else "several", _MEASURES["several"])
    measures = _MEASURES.get(task, by_language)

    def merit(c: KnownCheckpoint) -> tuple:
        score = c.score(measures)
        return (-score[0], score[1], c.parameters) if score else (-len(measures), 0.0, c.parameters)

    best, *others = sorted(fitting, key=merit, reverse=True)
    return Choice(
        f"hf:{best.name}", _reason(best, measures, fitting, able, quantization), quantization, best, tuple(others)
    )


def _reason(
    best: KnownCheckpoint,
    measures: Sequence[str],
    fitting: list[KnownCheckpoint],
    able: list[KnownCheckpoint],
    quantization: Size,
) -> str:
    score = best.score(measures)
    why = f"{best.name}: of the {len(fitting)} that fit ({len(able)} do the task in these languages), "
    if score is None:
        why += "the largest; no published score compares them"
    else:
        rank, value, benchmark, source = score
        rivals = [c for c in fitting if (c.score(measures) or (None,))[0] == rank]
        why += f"the best of the {len(rivals)} with a published {benchmark}: {value:g} ({source})"
    why += (
        f". {best.megabytes(quantization):.0f} MB and {best.latency_ms[quantization]:.1f} ms as {quantization}, "
        f"license: {best.license or 'see its page'}."
    )
    return f"{why} {best.notes}".rstrip()


def known_checkpoints() -> list[KnownCheckpoint]:
    """The table of known checkpoints: published scores with their sources, and latencies that we measured."""
    rows = json.loads(Path(__file__).with_name("known.json").read_text("utf-8"))["checkpoints"]
    return [_row(row) for row in rows]


def _row(row: dict[str, Any]) -> KnownCheckpoint:
    return KnownCheckpoint(
        name=row["name"],
        architecture=row["architecture"],
        parameters=row["parameters"],
        languages=tuple(row["languages"]),
        cased=row["cased"],
        license=row["license"],
        tasks=tuple(row["tasks"]),
        ready=row["ready"],
        scores={s["benchmark"]: (s["value"], s["source"]) for s in row["scores"]},
        latency_ms=row["latency_ms"],
        notes=row.get("notes", ""),
    )
