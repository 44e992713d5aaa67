"""Texts that continue a prompt."""

from .few_shot import FewShot
from .keras_model import TextGenerator
from .task import TEXT_GENERATION, TextGenerationTask
from .text_methods import TextGeneratorMethods, TextScore

__all__ = ["TEXT_GENERATION", "FewShot", "TextGenerationTask", "TextGenerator", "TextGeneratorMethods", "TextScore"]
