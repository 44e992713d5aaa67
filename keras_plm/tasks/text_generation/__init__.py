"""Texts that continue a prompt."""

from .keras_model import TextGenerator
from .text_methods import TextGeneratorMethods, TextScore

__all__ = ["TextGenerator", "TextGeneratorMethods", "TextScore"]
