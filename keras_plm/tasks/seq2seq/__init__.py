"""An encoder-decoder: a text becomes another text (translation, summarization)."""

from .keras_model import Seq2Seq
from .text_methods import Seq2SeqMethods

__all__ = ["Seq2Seq", "Seq2SeqMethods"]
