"""Pre-trained language models in Keras 3, from raw text to a phone.

Everything here is imported on first use: `import keras_plm` alone does not import TensorFlow.
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
        generation,
        layers,
        models,
        tasks,
        text,
        training,
    )
    from .checkpoints import choose, load
    from .compression import cluster, factorize_embedding, prune, shrink, trim_vocabulary
    from .config import (
        BASE,
        GPT3_SIZES,
        LARGE,
        MEDIUM,
        MINI,
        SIZES,
        SMALL,
        TINY,
        Adaptation,
        DecoderConfig,
        EncoderConfig,
        EncoderDecoderConfig,
    )
    from .generation import GenerationSettings
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
    from .models import Decoder, Encoder, EncoderDecoder, merge_lora, save
    from .tasks import Classifier, Embedder, Pretrainer, QuestionAnswerer, Seq2Seq, Tagger, TextGenerator, evaluate
    from .text import BytePairTokenizer, SentencePieceTokenizer, Tokenizer, WordPieceTokenizer

_MODULES = (
    "checkpoints", "compression", "config", "evaluation", "generation", "layers", "models", "tasks", "text", "training",
)  # fmt: skip
_HOMES = {
    "checkpoints": ("choose", "load"),
    "compression": ("cluster", "factorize_embedding", "prune", "shrink", "trim_vocabulary"),
    "config": (
        "BASE", "GPT3_SIZES", "GPT_MINI", "LARGE", "MEDIUM", "MINI", "SIZES", "SMALL", "TINY", "TRANSFORMER_BASE",
        "TRANSFORMER_TINY", "Adaptation",
        "DecoderConfig", "EncoderConfig", "EncoderDecoderConfig",
    ),
    "generation": ("GenerationSettings",),
    "layers": (
        "ClassificationHead", "DecoderBlock", "EncoderBlock", "FeedForward", "MaskedTokenHead", "MultiHeadAttention",
        "NextSentenceHead", "TokenEmbedding",
    ),
    "models": ("Decoder", "Encoder", "EncoderDecoder", "merge_lora", "save"),
    "tasks": (
        "Classifier", "Embedder", "Pretrainer", "QuestionAnswerer", "Seq2Seq", "Tagger", "TextGenerator", "evaluate",
    ),
    "text": ("BytePairTokenizer", "SentencePieceTokenizer", "Tokenizer", "WordPieceTokenizer"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BASE",
    "GPT3_SIZES",
    "GPT_MINI",
    "LARGE",
    "MEDIUM",
    "MINI",
    "SIZES",
    "SMALL",
    "TINY",
    "TRANSFORMER_BASE",
    "TRANSFORMER_TINY",
    "Adaptation",
    "BytePairTokenizer",
    "ClassificationHead",
    "Classifier",
    "Decoder",
    "DecoderBlock",
    "DecoderConfig",
    "Embedder",
    "Encoder",
    "EncoderBlock",
    "EncoderConfig",
    "EncoderDecoder",
    "EncoderDecoderConfig",
    "FeedForward",
    "GenerationSettings",
    "MaskedTokenHead",
    "MultiHeadAttention",
    "NextSentenceHead",
    "Pretrainer",
    "QuestionAnswerer",
    "SentencePieceTokenizer",
    "Seq2Seq",
    "Tagger",
    "TextGenerator",
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
