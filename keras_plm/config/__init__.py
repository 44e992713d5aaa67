"""The settings of a model: the sizes of its backbone, by family, and the adaptation of its layers."""

from .adaptation import Adaptation
from .backbone import Activation, BackboneConfig, check_heads
from .decoder import GPT3_SIZES, AttentionBias, DecoderConfig, Norm
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
    "AttentionBias",
    "BackboneConfig",
    "DecoderConfig",
    "EncoderConfig",
    "GPT3_SIZES",
    "Norm",
    "PoolerActivation",
    "Positions",
    "check_heads",
]
