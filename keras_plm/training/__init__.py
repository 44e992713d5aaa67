"""What `Model.fit` needs beside a model."""

from .callbacks import Checkpoint, HistoryLog
from .distribution import Strategy, is_chief, make_strategy, repair_keras
from .losses import CrossEntropy
from .optimizers import AdamW, Lamb
from .precision import Precision, choose_precision, dtype_policy
from .schedules import LinearWarmupDecay

__all__ = [
    "AdamW",
    "Checkpoint",
    "CrossEntropy",
    "HistoryLog",
    "Lamb",
    "LinearWarmupDecay",
    "Precision",
    "Strategy",
    "choose_precision",
    "dtype_policy",
    "is_chief",
    "make_strategy",
    "repair_keras",
]
