"""Scores of tagged words."""

from collections import Counter
from collections.abc import Sequence

from keras_plm.text.tags import tag_scheme, tag_spans

Sentences = Sequence[Sequence[str]]


def tag_scores(wanted: Sentences, found: Sentences, labels: Sequence[str] | None = None) -> dict[str, float]:
    """F1, precision and recall of whole entities, and the accuracy of tags; for plain tags, only the accuracy.

    An entity is correct if its label and both boundaries are correct. The scores equal seqeval's default mode and the
    CoNLL script.

    Args:
        wanted: the correct tags of each sentence.
        found: the predicted tags of each sentence.
        labels: the set of tags; None means the tags that occur.

    Raises:
        ValueError: the numbers of correct and predicted tags of a sentence differ.

    Example:
        >>> tag_scores([["B-PER", "I-PER", "O"]], [["B-PER", "O", "O"]])["f1"]
        0.0
    """
    for index, (right, given) in enumerate(zip(wanted, found, strict=True)):
        if len(right) != len(given):
            raise ValueError(f"sentence {index + 1} has {len(right)} tags, but {len(given)} were found")
    total = sum(map(len, wanted))
    same = sum(a == b for right, given in zip(wanted, found, strict=True) for a, b in zip(right, given, strict=True))
    accuracy = {"accuracy": same / total if total else 0.0}
    if tag_scheme(labels or {tag for tags in [*wanted, *found] for tag in tags}) == "plain":
        return accuracy
    correct, present, claimed = _count(wanted, found)
    return _f1(sum(correct.values()), sum(present.values()), sum(claimed.values())) | accuracy


def scores_by_label(wanted: Sentences, found: Sentences) -> dict[str, dict[str, float]]:
    """F1, precision, recall and the number of entities (`support`) for each label."""
    correct, present, claimed = _count(wanted, found)
    return {
        label: _f1(correct[label], present[label], claimed[label]) | {"support": present[label]}
        for label in sorted(present | claimed)
    }


def _count(wanted: Sentences, found: Sentences) -> tuple[Counter, Counter, Counter]:
    """The numbers of correctly found, present and predicted entities of each label."""
    correct: Counter[str] = Counter()
    present: Counter[str] = Counter()
    claimed: Counter[str] = Counter()
    for right, given in zip(wanted, found, strict=True):
        there, said = set(tag_spans(right)), set(tag_spans(given))
        present.update(label for label, _, _ in there)
        claimed.update(label for label, _, _ in said)
        correct.update(label for label, _, _ in there & said)
    return correct, present, claimed


def _f1(correct: int, present: int, claimed: int) -> dict[str, float]:
    precision = correct / claimed if claimed else 0.0
    recall = correct / present if present else 0.0
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return {"f1": f1, "precision": precision, "recall": recall}
