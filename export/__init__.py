"""Trained model → compressed → artefact → proof that it still works."""

from .compare import Comparison, compare
from .onnx import to_onnx
from .proof import ExportError
from .runtime import Artifact
from .saved_model import to_saved_model
from .tflite import to_tflite

__all__ = [
    "Artifact",
    "Comparison",
    "ExportError",
    "compare",
    "to_onnx",
    "to_saved_model",
    "to_tflite",
]
