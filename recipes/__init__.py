"""Whole trainings on Keras `fit`, one file each."""

from .answer import Answer
from .classify import Classify
from .distill import Distill
from .embed import Embed
from .fine_tune import FineTune
from .pretrain import Pretrain
from .recipe import Recipe
from .tag import Tag

__all__ = ["Answer", "Classify", "Distill", "Embed", "FineTune", "Pretrain", "Recipe", "Tag"]
