"""Export a trained model: compress it, write an artifact, and verify that the artifact matches the model."""

from .budget.fit_budget import fit_budget
from .budget.pareto import Attempt, Bounds, Budget, BudgetError
from .compare import Comparison, compare
from .litert_lm import to_litert_lm
from .loaded_model import load_artifact
from .onnx import to_onnx
from .report import write_report
from .runtime import Artifact
from .saved_model.exporter import to_saved_model
from .sensitivity import sensitivity
from .tflite.converter import to_tflite
from .tokenizer_vectors import write_tokenizer_vectors
from .verify import ExportError

__all__ = [
    "Artifact",
    "Attempt",
    "Bounds",
    "Budget",
    "BudgetError",
    "Comparison",
    "ExportError",
    "compare",
    "fit_budget",
    "load_artifact",
    "sensitivity",
    "to_litert_lm",
    "to_onnx",
    "to_saved_model",
    "to_tflite",
    "write_report",
    "write_tokenizer_vectors",
]
