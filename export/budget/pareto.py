"""The result of a budget search: the attempts, the Pareto-optimal ones, and the winner."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_plm.export.optional_imports import import_extra
from keras_plm.models import whole_file


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One way to make an artifact, and its results.

    Attributes:
        model: "given", or the name of an alternative.
        trim: minimum number of occurrences of a token in the texts; rarer tokens are removed from the vocabulary. None
            keeps the whole vocabulary.
        quantization: the scheme.
        megabytes: size of the file, in 10⁶ bytes.
        packed_megabytes: size of the gzipped file, similar to what app stores ship.
        latency_ms: median time of one row of full length in its runtime.
        score: the metric on the rows, in [0, 1] (correlations: [-1, 1]).
        loss: points (hundredths) of the metric lost relative to the given model in Keras.
        problem: the reason if there is no artifact; the numbers are then None.
    """

    model: str
    trim: int | None
    quantization: str
    megabytes: float | None = None
    packed_megabytes: float | None = None
    latency_ms: float | None = None
    score: float | None = None
    loss: float | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """A unique, readable name."""
        pieces = "" if self.trim is None else f", tokens from {self.trim}"
        return f"{self.model}{pieces}, {self.quantization}"

    @property
    def costs(self) -> tuple[float, float, float]:
        """Loss, megabytes and latency; lower is better for each."""
        assert self.loss is not None and self.megabytes is not None and self.latency_ms is not None
        return self.loss, self.megabytes, self.latency_ms


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Upper limits for an artifact; None means no limit.

    Attributes:
        max_megabytes: size of the file, in 10⁶ bytes.
        max_latency_ms: latency of one row of full length.
        max_loss: loss in points of the metric.
    """

    max_megabytes: float | None = None
    max_latency_ms: float | None = None
    max_loss: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_megabytes", "max_latency_ms"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name}={value}; it must be above 0")

    def excess(self, attempt: Attempt) -> dict[str, float]:
        """The limits that are exceeded, and by how much."""
        loss, megabytes, latency_ms = attempt.costs
        found = {"max_loss": loss, "max_megabytes": megabytes, "max_latency_ms": latency_ms}
        bounds = {name: bound for name in found if (bound := getattr(self, name)) is not None}
        return {name: found[name] - bound for name, bound in bounds.items() if found[name] > bound}

    def best(self, attempts: list[Attempt]) -> Attempt | None:
        """The attempt within the limits with the lowest loss; if the loss is limited but not the size, the smallest."""
        fitting = [attempt for attempt in attempts if attempt.problem is None and not self.excess(attempt)]
        smallest = self.max_loss is not None and self.max_megabytes is None
        order = (1, 2, 0) if smallest else (0, 1, 2)
        return min(fitting, key=lambda attempt: [attempt.costs[i] for i in order], default=None)

    def nearest(self, attempts: list[Attempt]) -> Attempt | None:
        """The attempt that exceeds its most exceeded limit by the smallest fraction."""

        def worst(attempt: Attempt) -> float:
            return max(
                (by / max(abs(getattr(self, name)), 1e-3) for name, by in self.excess(attempt).items()), default=0
            )

        return min((attempt for attempt in attempts if attempt.problem is None), key=worst, default=None)


@dataclass(frozen=True)
class Budget:
    """The outcome of `fit_budget`.

    Attributes:
        metric: name of the metric of the scores.
        reference: score of the given model in Keras.
        bounds: the limits.
        attempts: all attempts, in the order in which they were made.
        winner: the attempt whose artifact is at `path`; None if no attempt is within the limits.
        path: path of the artifact.
    """

    metric: str
    reference: float
    bounds: Bounds
    attempts: list[Attempt]
    winner: Attempt | None = None
    path: Path | None = None

    @property
    def pareto(self) -> list[Attempt]:
        """The Pareto-optimal attempts in loss, size and latency; the smallest first."""
        whole = [attempt for attempt in self.attempts if attempt.problem is None]
        kept = [one for one in whole if not any(_beats(other.costs, one.costs) for other in whole)]
        return sorted(kept, key=lambda attempt: (attempt.costs[1], attempt.costs))

    def __str__(self) -> str:
        table = Table(title=f"{self.metric} of the model {self.reference:.4f}")
        for i, column in enumerate(_COLUMNS):
            table.add_column(column, justify="right" if i else "left")
        for cells in self._rows():
            table.add_row(*map(escape, cells))
        console = Console(width=110, force_jupyter=False, force_terminal=False)
        with console.capture() as capture:
            console.print(table)
        legend = "★ the best attempt within the limits; · Pareto-optimal: no other attempt is better in everything"
        return f"{capture.get().rstrip()}\n{legend}"

    def to_markdown(self) -> str:
        """The table as Markdown."""
        rows = [list(_COLUMNS), ["---", *["---:"] * (len(_COLUMNS) - 1)], *self._rows()]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)

    def _rows(self) -> list[list[str]]:
        ordered = sorted(self.attempts, key=lambda attempt: (attempt.megabytes or 0.0, attempt.name))
        pareto, rows = self.pareto, []
        for one in ordered:
            mark = "★ " if one == self.winner else "· " if one in pareto else ""
            numbers = (one.megabytes, one.packed_megabytes, one.latency_ms, one.score, one.loss)
            if one.problem is None:
                cells = [f"{n:.{digits}f}" for n, digits in zip(numbers, (2, 2, 2, 4, 2), strict=True) if n is not None]
            else:
                cells = ["refused", *[""] * (len(numbers) - 1)]
            rows.append([mark + one.name, *cells])
        return rows

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON types; `winner` says how the artifact was made."""
        return {
            "metric": self.metric,
            "reference": self.reference,
            "bounds": asdict(self.bounds),
            "winner": None if self.winner is None else asdict(self.winner),
            "attempts": [asdict(attempt) for attempt in self.attempts],
        }

    def write(self, path: str | Path) -> None:
        """Write `to_json` to a file."""
        with whole_file(Path(path)) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", "utf-8")

    def plot(self, path: str | Path) -> None:
        """Plot loss over megabytes with the Pareto line and the limits. The suffix selects the file format.

        Raises:
            ImportError: matplotlib is not installed; it is the extra "plots".
            ValueError: matplotlib does not know the suffix.
        """
        check_plot(path)
        figure = import_extra("matplotlib.figure", "plots").Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.add_subplot()
        whole = [attempt for attempt in self.attempts if attempt.problem is None]
        for model in dict.fromkeys(attempt.model for attempt in whole):
            costs = [attempt.costs for attempt in whole if attempt.model == model]
            axes.scatter([c[1] for c in costs], [c[0] for c in costs], label=model, s=25)
        # two dimensions only: an attempt that is only faster is not on the line
        line = [a for a in self.pareto if not any(_beats(other.costs[:2], a.costs[:2]) for other in whole)]
        axes.plot([a.costs[1] for a in line], [a.costs[0] for a in line], color="gray", linewidth=1, zorder=0)
        for attempt in line:
            axes.annotate(attempt.quantization, (attempt.costs[1], attempt.costs[0]), fontsize=7)
        if self.bounds.max_megabytes is not None:
            axes.axvline(self.bounds.max_megabytes, linestyle=":", color="tab:red")
        if self.bounds.max_loss is not None:
            axes.axhline(self.bounds.max_loss, linestyle=":", color="tab:red")
        if self.winner is not None:
            axes.scatter(*self.winner.costs[1::-1], marker="*", s=160, color="tab:red", label="kept")
        axes.set(xscale="log", xlabel="megabytes", ylabel=f"points of {self.metric} lost")
        axes.legend()
        with whole_file(Path(path)) as temporary:
            figure.savefig(temporary, format=Path(path).suffix[1:] or "png")


def check_plot(path: str | Path) -> None:
    """Raise an error if a plot cannot be written to a file with this name, see `Budget.plot`."""
    known = import_extra("matplotlib.backend_bases", "plots").FigureCanvasBase.filetypes
    suffix = Path(path).suffix[1:]
    if suffix not in ("", *known):
        raise ValueError(f"{path}: a plot cannot be a .{suffix}; choose .png, .svg or .pdf")


_COLUMNS = ("attempt", "MB", "gzipped", "ms", "score", "points lost")


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


class BudgetError(RuntimeError):
    """No attempt is within the limits; `budget` has all attempts."""

    def __init__(self, budget: Budget, kept: Path) -> None:
        self.budget = budget
        bounds, nearest = budget.bounds, budget.bounds.nearest(budget.attempts)
        if nearest is None:
            problem = budget.attempts[0].problem if budget.attempts else "nothing to try"
            super().__init__(f"every attempt was refused, the first one with: {problem}")
            return
        loss, megabytes, latency_ms = nearest.costs
        failing = " and ".join(
            f"{name}={getattr(bounds, name):g} fails by {by:.2f}{_UNITS[name]}"
            for name, by in bounds.excess(nearest).items()
        )
        super().__init__(
            f"no attempt meets the budget; the nearest is {nearest.name} ({megabytes:.2f} MB, {latency_ms:.2f} ms, "
            f"{loss:.2f} points lost): {failing}. The {len(budget.attempts)} attempts are kept in {kept} and are "
            f"reused if you try again with other limits"
        )


_UNITS = {"max_loss": " points", "max_megabytes": " MB", "max_latency_ms": " ms"}
