"""The task question answering."""

from .keras_model import QuestionAnswerer
from .task import QUESTION_ANSWERING, QuestionAnsweringTask
from .text_methods import Answer, QuestionAnswererMethods

__all__ = ["QUESTION_ANSWERING", "Answer", "QuestionAnswerer", "QuestionAnswererMethods", "QuestionAnsweringTask"]
