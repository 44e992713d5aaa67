"""Layers, written with `keras.ops` only, so that they run on every Keras backend.

`keras_plm/tensor_types.py` explains the letters of the axes.
"""

from .activations import activate
from .adapter import Adapter
from .attention import MultiHeadAttention
from .causal_context import CausalContext
from .conditional_random_field import ConditionalRandomField
from .decoder_block import DecoderBlock
from .embedding import TokenEmbedding
from .encoder_block import EncoderBlock
from .fake_quantization import FakeQuantization
from .feed_forward import FeedForward
from .heads import ClassificationHead, MaskedTokenHead, NextSentenceHead, NextTokenHead
from .initialization import uninitialized
from .normalization import Dropout, ResidualNorm, RMSNorm
from .projection import Projection
from .relative_positions import RelativePositionBias
from .rematerialization import rematerialize
from .rotary import rotary_angles, rotary_frequencies

__all__ = [
    "Adapter",
    "CausalContext",
    "ClassificationHead",
    "ConditionalRandomField",
    "DecoderBlock",
    "Dropout",
    "EncoderBlock",
    "FakeQuantization",
    "FeedForward",
    "MaskedTokenHead",
    "MultiHeadAttention",
    "NextSentenceHead",
    "NextTokenHead",
    "Projection",
    "RMSNorm",
    "RelativePositionBias",
    "ResidualNorm",
    "TokenEmbedding",
    "activate",
    "rotary_angles",
    "rotary_frequencies",
    "uninitialized",
    "rematerialize",
]
