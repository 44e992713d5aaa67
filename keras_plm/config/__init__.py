"""What a model is made from: its sizes, by family, and what is added to its layers."""

from .adaptation import Adaptation
from .backbone import Activation, BackboneConfig, check_heads
from .encoder import BASE, LARGE, MEDIUM, MINI, SIZES, SMALL, TINY, EncoderConfig, PoolerActivation, Positions

__all__ = [
    "BASE",
    "LARGE",
    "MEDIUM",
    "MINI",
    "SIZES",
    "SMALL",
    "TINY",
    "Activation",
    "Adaptation",
    "BackboneConfig",
    "EncoderConfig",
    "PoolerActivation",
    "Positions",
    "check_heads",
]
