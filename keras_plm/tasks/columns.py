from dataclasses import dataclass


@dataclass(frozen=True)
class Columns:
    """Which column of a file holds what; a task looks at those that it needs.

    Attributes:
        text: the (first) text.
        second: the second text of a pair; None for single texts.
        label: the label, the labels or the score; the names of several columns of 0 and 1; None where there is none.
        tag: of CoNLL the column of the tag, counted from 0, the last by default; of JSONL its key.
    """

    text: str = "text"
    second: str | None = None
    label: str | tuple[str, ...] | None = "label"
    tag: int | str = -1
