"""The task classification."""

from .keras_model import Classifier
from .task import CLASSIFICATION, ClassificationTask
from .text_methods import ClassifierMethods

__all__ = ["CLASSIFICATION", "Classifier", "ClassifierMethods", "ClassificationTask"]
