"""Losses, optimizers, schedules, callbacks and metrics for `Model.fit`."""

from .callbacks import Checkpoint, HistoryLog, write_whole
from .distillation_losses import AttentionMaps, HiddenStates, SoftLabels, matched_layers
from .distribution import Strategy, is_chief, make_strategy, repair_keras, worker_name
from .losses import ChainLoss, CrossEntropy
from .metrics import Pearson
from .mixed_precision import Precision, choose_precision, dtype_policy
from .optimizers import AdamW, Lamb
from .schedules import LinearWarmupDecay
from .similarity_losses import ContrastiveLoss, CosineLoss, RankingLoss
from .trainable_weights import freeze, layer_rates, parse_trainable, unfreezing_steps

__all__ = [
    "AdamW",
    "AttentionMaps",
    "ChainLoss",
    "Checkpoint",
    "ContrastiveLoss",
    "CosineLoss",
    "CrossEntropy",
    "HiddenStates",
    "HistoryLog",
    "Lamb",
    "LinearWarmupDecay",
    "Pearson",
    "Precision",
    "RankingLoss",
    "SoftLabels",
    "Strategy",
    "choose_precision",
    "dtype_policy",
    "freeze",
    "is_chief",
    "layer_rates",
    "make_strategy",
    "matched_layers",
    "parse_trainable",
    "repair_keras",
    "unfreezing_steps",
    "worker_name",
    "write_whole",
]
