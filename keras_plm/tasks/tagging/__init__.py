"""The task tagging."""

from .keras_model import Tagger
from .task import TAGGING, TaggingTask
from .text_methods import TaggedSpan, TaggerMethods

__all__ = ["TAGGING", "TaggedSpan", "Tagger", "TaggerMethods", "TaggingTask"]
