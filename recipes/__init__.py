"""Whole trainings on Keras `fit`, one file each."""

from .pretrain import Pretrain
from .recipe import Recipe

__all__ = ["Pretrain", "Recipe"]
