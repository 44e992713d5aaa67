"""The task embedding."""

from .keras_model import Embedder
from .task import EMBEDDING, EmbeddingTask
from .text_methods import EmbedderMethods

__all__ = ["EMBEDDING", "Embedder", "EmbedderMethods", "EmbeddingTask"]
