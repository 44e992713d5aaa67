from dataclasses import dataclass
from typing import Literal

from .backbone import BackboneConfig
from .decoder import AttentionBias, Norm

EncoderDecoderPositions = Literal["learned", "sinusoidal", "sinusoidal_halves", "relative", "none"]


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(BackboneConfig):
    """The shape of an `EncoderDecoder`: the original Transformer by default; T5, BART and Marian with other values.

    Both stacks have the same width, heads and kind of blocks.

    Raises:
        ValueError: as in `BackboneConfig`; `num_decoder_layers`, `target_vocabulary_size` or `head_dim` is below 1;
            `relative_buckets` is below 4, or `relative_distance` not above half of it; RMS normalization without
            pre-norm.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; T5: Raffel et al. 2020, §2.1,
        https://arxiv.org/abs/1910.10683; BART: Lewis et al. 2020, §2.1, https://arxiv.org/abs/1910.13461
    """

    num_layers: int = 6  # blocks of the encoder
    num_decoder_layers: int | None = None  # blocks of the decoder; None: as many
    num_heads: int = 8
    hidden_dim: int = 512
    intermediate_dim: int = 2_048
    layer_norm_epsilon: float = 1e-5
    activation: Literal["gelu", "gelu_tanh", "relu", "silu"] = "relu"
    target_vocabulary_size: int | None = None  # own embedding matrix of the decoder; None: both share one
    head_dim: int | None = None  # H, width of a head; None: hidden_dim / num_heads
    positions: EncoderDecoderPositions = "sinusoidal"  # "relative": T5's relative position bias
    relative_buckets: int = 32  # number of distances with their own bias
    relative_distance: int = 128  # all larger distances share one bias
    scaled_embedding: bool = True  # multiply embeddings by √hidden_dim
    normalized_embedding: bool = False  # normalize the embeddings (BART)
    norm: Norm = "layer"
    gated: bool = False
    attention_bias: AttentionBias = "all"
    feed_forward_bias: bool = True
    scaled_attention: bool = True  # False: scores are not divided by √H (T5)
    tied: bool = True  # the head uses the embedding matrix of the decoder
    scaled_head: bool = False  # a tied head divides hidden states by √hidden_dim (T5 1.0)
    head_bias: bool = False  # the head has a bias (BART, Marian)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(4, "relative_buckets")
        if self.relative_distance <= self.relative_buckets // 2:
            raise ValueError(f"relative_distance={self.relative_distance}; it must be above relative_buckets / 2")
        for name in ("num_decoder_layers", "target_vocabulary_size", "head_dim"):
            if getattr(self, name) is not None:
                self.check_at_least(1, name)
        # one spelling for each shape: configs are compared
        if self.num_decoder_layers == self.num_layers:
            object.__setattr__(self, "num_decoder_layers", None)
        if self.head_dim is not None and self.head_dim * self.num_heads == self.hidden_dim:
            object.__setattr__(self, "head_dim", None)
        if self.norm == "rms" and not self.normalize_first:
            raise ValueError('norm="rms" needs normalize_first=True')

    def _check_heads(self) -> None:
        if self.head_dim is None:
            super()._check_heads()

    @property
    def width_per_head(self) -> int:
        """H, the width of a head."""
        return self.head_dim or self.hidden_dim // self.num_heads

    @property
    def decoder_layers(self) -> int:
        """The number of blocks of the decoder."""
        return self.num_decoder_layers or self.num_layers

    @property
    def output_size(self) -> int:
        """The number of tokens that the decoder can write."""
        return self.target_vocabulary_size or self.vocabulary_size

    @property
    def least_numbers(self) -> int:
        """A lower bound for the number of values in memory: embedding matrices and kernels, and sinusoids."""
        width, inner = self.hidden_dim, self.num_heads * self.width_per_head
        attention, kernels = 4 * width * inner, 3 if self.gated else 2
        feed_forward = kernels * width * self.intermediate_dim
        blocks = self.num_layers * (attention + feed_forward) + self.decoder_layers * (2 * attention + feed_forward)
        rows = self.vocabulary_size + (self.target_vocabulary_size or 0) + (0 if self.tied else self.output_size)
        rows += self.max_sequence_length * (self.positions in ("learned", "sinusoidal", "sinusoidal_halves"))
        biases = 2 * self.relative_buckets * self.num_heads * (self.positions == "relative")
        return blocks + rows * width + biases


# the sizes of Vaswani et al. 2017, table 3, and a small one for some ten thousand sentences; with pre-norm
TRANSFORMER_BASE = EncoderDecoderConfig(vocabulary_size=32_000, normalize_first=True)  # 60.5 M weights
TRANSFORMER_TINY = EncoderDecoderConfig(
    vocabulary_size=8_000, num_layers=4, num_heads=4, hidden_dim=128, intermediate_dim=256, normalize_first=True
)  # 2.4 M weights
ENCODER_DECODER_SIZES = {"transformer-tiny": TRANSFORMER_TINY, "transformer-base": TRANSFORMER_BASE}
