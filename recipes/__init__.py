"""Whole trainings on Keras `fit`, one file each."""

from .classify import Classify
from .pretrain import Pretrain
from .recipe import Recipe

__all__ = ["Classify", "Pretrain", "Recipe"]
