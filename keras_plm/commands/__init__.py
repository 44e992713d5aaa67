"""The commands that are no recipe: one function each, whose arguments are the flags."""

from .answering import embed, evaluate_model, predict
from .compressing import shrink_model, trim
from .exporting import (
    budget,
    compare_artifact,
    export_onnx,
    export_saved_model,
    export_tflite,
    export_tokenizer_vectors,
)
from .preparing import choose_checkpoint, cross_validation, learning_rate, vocabulary

__all__ = [
    "budget",
    "choose_checkpoint",
    "compare_artifact",
    "cross_validation",
    "embed",
    "evaluate_model",
    "export_onnx",
    "export_saved_model",
    "export_tflite",
    "export_tokenizer_vectors",
    "learning_rate",
    "predict",
    "shrink_model",
    "trim",
    "vocabulary",
]
