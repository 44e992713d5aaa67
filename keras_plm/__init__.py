"""Pre-trained language models in Keras 3, from raw text to a phone."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from . import checkpoints  # noqa: E402
from .checkpoints import choose, load  # noqa: E402
from .compression import cluster, factorize_table, prune, shrink, trim_vocabulary  # noqa: E402
from .config import BASE, LARGE, MEDIUM, MINI, SIZES, SMALL, TINY, ModelConfig  # noqa: E402
from .evaluation import evaluate  # noqa: E402
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
from .models import (  # noqa: E402
    Classifier,
    Embedder,
    Encoder,
    Pretrainer,
    QuestionAnswerer,
    Tagger,
    merge_lora,
    save,
)
from .text import BytePairTokenizer, SentencePieceTokenizer, Tokenizer, WordPieceTokenizer  # noqa: E402

__all__ = [
    "BASE",
    "LARGE",
    "MEDIUM",
    "MINI",
    "SIZES",
    "SMALL",
    "TINY",
    "BytePairTokenizer",
    "ClassificationHead",
    "Classifier",
    "DecoderBlock",
    "Embedder",
    "Encoder",
    "EncoderBlock",
    "FeedForward",
    "MaskedTokenHead",
    "ModelConfig",
    "MultiHeadAttention",
    "NextSentenceHead",
    "Pretrainer",
    "QuestionAnswerer",
    "SentencePieceTokenizer",
    "Tagger",
    "TokenEmbedding",
    "Tokenizer",
    "WordPieceTokenizer",
    "checkpoints",
    "choose",
    "cluster",
    "evaluate",
    "factorize_table",
    "load",
    "merge_lora",
    "prune",
    "save",
    "shrink",
    "trim_vocabulary",
]
