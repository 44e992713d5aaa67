"""An encoder-decoder: a text becomes another text (translation, summarization)."""

from .keras_model import Seq2Seq
from .task import SEQ2SEQ
from .text_methods import Seq2SeqMethods

__all__ = ["SEQ2SEQ", "Seq2Seq", "Seq2SeqMethods"]
