"""The commands that are not recipes. Each is a function whose arguments are the flags; it is imported when it runs."""

from importlib import import_module
from typing import Any

_HOMES = {
    "predicting": ("evaluate_model", "predict"),
    "compressing": ("shrink_model", "trim"),
    "exporting": (
        "budget", "compare_artifact", "export_litert_lm", "export_onnx", "export_saved_model", "export_tflite",
        "export_tokenizer_vectors",
    ),
    "extracting": ("extract",),
    "generating": ("complete", "generate"),
    "serving": ("serve",),
    "preparing": ("choose_checkpoint", "cross_validation", "learning_rate", "plan_training", "vocabulary"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
