"""Scores of answers: the arithmetic of SQuAD's official script."""

import re
import string
from collections import Counter
from collections.abc import Sequence


def answer_scores(wanted: Sequence[Sequence[str]], found: Sequence[str]) -> dict[str, float]:
    """F1 of words and exact match, averaged over questions, in [0, 1]; the best of several right answers counts.

    With questions that have no answer also `answerable_f1` and `unanswerable`, how many of these were left
    unanswered.

    Args:
        wanted: the right answers of each question; none if it cannot be answered.
        found: the answers; "" for none.

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
    """1 if both are the same but for case, punctuation, articles and white space."""
    return float(normalize_answer(wanted) == normalize_answer(found))


def answer_f1(wanted: str, found: str) -> float:
    """F1 of the words of both."""
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
    # as the script does: an answer of articles and punctuation alone is no answer to compare with
    answers = [answer for answer in right if normalize_answer(answer)] or [""]
    return max(measure(answer, given) for answer in answers)  # type: ignore[operator]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
