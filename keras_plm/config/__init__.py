"""The settings of a model: the sizes of its backbone, by family, and the adaptation of its layers."""

from .adaptation import Adaptation
from .backbone import Activation, BackboneConfig, check_heads
from .decoder import DECODER_SIZES, GPT3_SIZES, GPT_MINI, AttentionBias, DecoderConfig, Norm
from .encoder import BASE, LARGE, MEDIUM, MINI, SIZES, SMALL, TINY, EncoderConfig, PoolerActivation, Positions
from .encoder_decoder import ENCODER_DECODER_SIZES, TRANSFORMER_BASE, TRANSFORMER_TINY, EncoderDecoderConfig

__all__ = [
    "BASE",
    "LARGE",
    "MEDIUM",
    "MINI",
    "SIZES",
    "SMALL",
    "TINY",
    "ENCODER_DECODER_SIZES",
    "TRANSFORMER_BASE",
    "TRANSFORMER_TINY",
    "Activation",
    "Adaptation",
    "AttentionBias",
    "BackboneConfig",
    "DECODER_SIZES",
    "DecoderConfig",
    "EncoderConfig",
    "EncoderDecoderConfig",
    "GPT3_SIZES",
    "GPT_MINI",
    "Norm",
    "PoolerActivation",
    "Positions",
    "check_heads",
]
