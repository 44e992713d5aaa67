"""Pre-trained language models in Keras 3, from raw text to a phone.

What is here is imported when it is asked for: `import keras_plm` alone does not import TensorFlow.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

if TYPE_CHECKING:
    from . import (  # noqa: F401
        checkpoints,
        compression,
        config,
        evaluation,
        layers,
        models,
        tasks,
        text,
        training,
    )
    from .checkpoints import choose, load
    from .compression import cluster, factorize_embedding, prune, shrink, trim_vocabulary
    from .config import BASE, LARGE, MEDIUM, MINI, SIZES, SMALL, TINY, Adaptation, EncoderConfig
    from .layers import (
        ClassificationHead,
        DecoderBlock,
        EncoderBlock,
        FeedForward,
        MaskedTokenHead,
        MultiHeadAttention,
        NextSentenceHead,
        TokenEmbedding,
    )
    from .models import Encoder, merge_lora, save
    from .tasks import Classifier, Embedder, Pretrainer, QuestionAnswerer, Tagger, evaluate
    from .text import BytePairTokenizer, SentencePieceTokenizer, Tokenizer, WordPieceTokenizer

_MODULES = ("checkpoints", "compression", "config", "evaluation", "layers", "models", "tasks", "text", "training")
_HOMES = {
    "checkpoints": ("choose", "load"),
    "compression": ("cluster", "factorize_embedding", "prune", "shrink", "trim_vocabulary"),
    "config": ("BASE", "LARGE", "MEDIUM", "MINI", "SIZES", "SMALL", "TINY", "Adaptation", "EncoderConfig"),
    "layers": (
        "ClassificationHead", "DecoderBlock", "EncoderBlock", "FeedForward", "MaskedTokenHead", "MultiHeadAttention",
        "NextSentenceHead", "TokenEmbedding",
    ),
    "models": ("Encoder", "merge_lora", "save"),
    "tasks": ("Classifier", "Embedder", "Pretrainer", "QuestionAnswerer", "Tagger", "evaluate"),
    "text": ("BytePairTokenizer", "SentencePieceTokenizer", "Tokenizer", "WordPieceTokenizer"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BASE",
    "LARGE",
    "MEDIUM",
    "MINI",
    "SIZES",
    "SMALL",
    "TINY",
    "Adaptation",
    "BytePairTokenizer",
    "ClassificationHead",
    "Classifier",
    "DecoderBlock",
    "Embedder",
    "Encoder",
    "EncoderBlock",
    "EncoderConfig",
    "FeedForward",
    "MaskedTokenHead",
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
    "factorize_embedding",
    "load",
    "merge_lora",
    "prune",
    "save",
    "shrink",
    "trim_vocabulary",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _HOME_OF:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
