from typing import Any


def check_labels(labels: Any) -> None:
    """Raise ValueError unless labels are a list of names, or None."""
    if labels is None:
        return
    if isinstance(labels, int):
        raise ValueError(f'labels={labels}; give their names, such as ["negative", "positive"], not their number')
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"labels={labels!r:.60}; give a list of names")
