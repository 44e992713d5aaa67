"""Pre-trained language models in Keras 3, from raw text to a phone."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from .config import BASE, LARGE, MEDIUM, MINI, SIZES, SMALL, TINY, ModelConfig  # noqa: E402
from .layers import (  # noqa: E402
    ClassificationHead,
    DecoderBlock,
    EncoderBlock,
    FeedForward,
    MaskedTokenHead,
    MultiHeadAttention,
    NextSentenceHead,
    TokenEmbedding,
)
from .models import Classifier, Encoder, Pretrainer, load, save  # noqa: E402
from .text import Tokenizer  # noqa: E402

__all__ = [
    "BASE",
    "LARGE",
    "MEDIUM",
    "MINI",
    "SIZES",
    "SMALL",
    "TINY",
    "ClassificationHead",
    "Classifier",
    "DecoderBlock",
    "Encoder",
    "EncoderBlock",
    "FeedForward",
    "MaskedTokenHead",
    "ModelConfig",
    "MultiHeadAttention",
    "NextSentenceHead",
    "Pretrainer",
    "TokenEmbedding",
    "Tokenizer",
    "load",
    "save",
]
