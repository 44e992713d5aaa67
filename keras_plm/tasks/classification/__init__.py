"""The task classification."""

from .extraction import extract_summaries
from .keras_model import Classifier
from .task import CLASSIFICATION, ClassificationTask
from .text_methods import ClassifierMethods

__all__ = [
    "CLASSIFICATION",
    "Classifier",
    "ClassifierMethods",
    "ClassificationTask",
    "extract_summaries",
]
