"""Trained model → compressed → artefact → proof that it still works."""

from .compare import Comparison, compare
from .exported import load_artifact
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
    "load_artifact",
    "to_onnx",
    "to_saved_model",
    "to_tflite",
]
