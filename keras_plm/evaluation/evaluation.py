import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Evaluation:
    """The predictions of a model on labeled rows, and their scores.

    Attributes:
        scores: the scores by name; the main score of the task comes first.
        rows: for each row the inputs, `wanted` and `found`, as JSON types.
        wrong: indices of the rows that are not fully correct, the worst first.
        details: scores by label as (header, rows); None if there are none.
    """

    scores: dict[str, float]
    rows: list[dict[str, Any]]
    wrong: list[int]
    details: tuple[list[str], list[list[Any]]] | None = None

    @property
    def main(self) -> str:
        """Name of the main score."""
        return next(iter(self.scores))

    def predictions(self) -> str:
        """All rows as JSONL."""
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)

    def errors(self, limit: int = 200) -> str:
        """A Markdown page with the scores, the scores of each label, and the worst errors."""
        lines = ["# Errors", "", f"{len(self.wrong)} of {len(self.rows)} rows are not fully correct.", ""]
        lines += _table(["score", "value"], [[name, value] for name, value in self.scores.items()])
        if self.details is not None:
            lines += _table(*self.details)
        if self.wrong:
            shown = self.wrong[:limit]
            columns = list(self.rows[shown[0]])
            lines += [f"## The worst {len(shown)}", ""]
            lines += _table(["row", *columns], [[i + 1, *(self.rows[i][c] for c in columns)] for i in shown])
        return "\n".join(lines)


def _table(header: list[str], rows: list[list[Any]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return [*lines, ""]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("\r", " ")
