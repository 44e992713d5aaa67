"""Losses, optimizers, schedules, callbacks and metrics for `Model.fit`."""

from .callbacks import HistoryLog, write_whole
from .checkpoint import Checkpoint
from .cluster import is_chief, worker_name
from .distillation_losses import AttentionMaps, HiddenStates, SoftLabels, matched_layers
from .distribution import Strategy, make_strategy, repair_keras
from .divergence import Diverged, DivergenceGuard
from .lamb import Lamb
from .losses import ChainLoss, CrossEntropy
from .metrics import Pearson
from .mixed_precision import Precision, choose_precision, dtype_policy
from .optimizers import AdamW, MomentumDtype
from .plan import Plan, plan
from .resumed_fit import fit_from
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
    "Diverged",
    "DivergenceGuard",
    "HiddenStates",
    "HistoryLog",
    "Lamb",
    "LinearWarmupDecay",
    "MomentumDtype",
    "Pearson",
    "Plan",
    "Precision",
    "RankingLoss",
    "SoftLabels",
    "Strategy",
    "choose_precision",
    "dtype_policy",
    "fit_from",
    "freeze",
    "is_chief",
    "layer_rates",
    "make_strategy",
    "matched_layers",
    "parse_trainable",
    "plan",
    "repair_keras",
    "unfreezing_steps",
    "worker_name",
    "write_whole",
]
