"""Evaluation of a model or an artifact: standard metrics, predictions and errors."""

from .answers import answer_f1, answer_scores, exact_match, normalize_answer
from .correlation import ERRORS, correlations
from .entities import scores_by_label, tag_scores
from .evaluation import Evaluation
from .labels import confusion, label_scores, multi_label_scores

__all__ = [
    "ERRORS",
    "Evaluation",
    "answer_f1",
    "answer_scores",
    "confusion",
    "correlations",
    "exact_match",
    "label_scores",
    "multi_label_scores",
    "normalize_answer",
    "scores_by_label",
    "tag_scores",
]
