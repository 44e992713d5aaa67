"""Labels → ids."""

from collections.abc import Sequence


def distinct_labels(values: Sequence[str]) -> list[str]:
    """The distinct labels, sorted. Whole numbers are sorted by value, so that label 10 does not come before 2.

    Example:
        >>> distinct_labels(["10", "9", "9"]), distinct_labels(["b", "a"])
        (['9', '10'], ['a', 'b'])
    """
    labels = sorted(set(values))
    numbers = [label for label in labels if label.removeprefix("-").isdecimal() and str(int(label)) == label]
    return sorted(labels, key=int) if len(numbers) == len(labels) else labels


def label_ids(values: Sequence[str], labels: Sequence[str], source: str) -> list[int]:
    """Index of each value among the labels.

    Raises:
        ValueError: a value is not a label; the message has the number of such rows and names the first.
    """
    return [ids[0] for ids in label_rows([[value] for value in values], labels, source)]


def label_rows(rows: Sequence[Sequence[str]], labels: Sequence[str], source: str, unit: str = "row") -> list[list[int]]:
    """Indices of the values of each row among the labels.

    Args:
        rows: the values of each row.
        labels: the labels that the model knows.
        source: name of the source, for messages.
        unit: name of a row, for messages.

    Raises:
        ValueError: a value is not a label; the message has the number of such rows and names the first.
    """
    index = {label: i for i, label in enumerate(labels)}
    unknown = [(number, value) for number, row in enumerate(rows, 1) for value in row if value not in index]
    if unknown:
        number, value = unknown[0]
        raise ValueError(
            f"{source}, {unit} {number}: unknown label {value!r} "
            f"({len({number for number, _ in unknown})} such {unit}s); the model knows {list(labels)}; "
            f"on_bad_row='skip' (--on-bad-row skip) leaves them out"
        )
    return [[index[value] for value in row] for row in rows]
