"""What `Model.fit` needs beside a model."""

from .callbacks import Checkpoint, HistoryLog, write_whole
from .distribution import Strategy, is_chief, make_strategy, repair_keras, worker_name
from .losses import CrossEntropy
from .metrics import Pearson
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
    "Pearson",
    "Precision",
    "Strategy",
    "choose_precision",
    "dtype_policy",
    "is_chief",
    "make_strategy",
    "repair_keras",
    "worker_name",
    "write_whole",
]
