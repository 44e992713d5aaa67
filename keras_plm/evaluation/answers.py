"""Scores of answers, computed as in SQuAD's official script."""

import re
import string
from collections import Counter
from collections.abc import Sequence


def answer_scores(wanted: Sequence[Sequence[str]], found: Sequence[str]) -> dict[str, float]:
    """Word F1 and exact match, averaged over questions, in [0, 1]. The best of several correct answers counts.

    If some questions have no answer, there are two more scores: `answerable_f1`, and `unanswerable`, the fraction of
    questions without an answer that got none.

    Args:
        wanted: the correct answers of each question; an empty list if it has no answer.
        found: the predicted answers; "" for no answer.

    Example:
        >>> answer_scores([["the Eiffel Tower"], []], ["Eiffel tower!", "Paris"])["exact_match"]
        0.5

    Source: Rajpurkar et al. 2018, evaluate-v2.0.py, https://rajpurkar.github.io/SQuAD-explorer/
    """
    exact = [_best(exact_match, right, given) for right, given in zip(wanted, found, strict=True)]
    overlap = [_best(answer_f1, right, given) for right, given in zip(wanted, found, strict=True)]
    scores = {"f1": _mean(overlap), "exact_match": _mean(exact)}
    none = [not right for right in wanted]
    if any(none):
        scores["answerable_f1"] = _mean([f for f, empty in zip(overlap, none, strict=True) if not empty])
        scores["unanswerable"] = _mean([e for e, empty in zip(exact, none, strict=True) if empty])
    return scores


def exact_match(wanted: str, found: str) -> float:
    """1 if both are equal, ignoring case, punctuation, articles and white space; otherwise 0."""
    return float(normalize_answer(wanted) == normalize_answer(found))


def answer_f1(wanted: str, found: str) -> float:
    """F1 of the words of two answers."""
    right, given = normalize_answer(wanted).split(), normalize_answer(found).split()
    if not right or not given:
        return float(right == given)
    common = sum((Counter(right) & Counter(given)).values())
    if not common:
        return 0.0
    precision, recall = common / len(given), common / len(right)
    return 2 * precision * recall / (precision + recall)


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, with single spaces."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def _best(measure: object, right: Sequence[str], given: str) -> float:
    # as in the script, correct answers that have only articles and punctuation are ignored
    answers = [answer for answer in right if normalize_answer(answer)] or [""]
    return max(measure(answer, given) for answer in answers)  # type: ignore[operator]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
