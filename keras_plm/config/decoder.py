from dataclasses import dataclass
from typing import Literal

from .backbone import BackboneConfig

DecoderPositions = Literal["learned", "sinusoidal", "rotary", "none"]
Norm = Literal["layer", "rms"]
AttentionBias = Literal["all", "inputs", "none"]
Windowed = Literal["all", "odd"]


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(BackboneConfig):
    """The shape of a `Decoder`: GPT-2 by default; GPT-3, Llama, Mistral and Qwen2 with other values.

    Raises:
        ValueError: as in `BackboneConfig`; `num_key_value_heads` does not divide `num_heads`; `head_dim` is odd with
            rotary positions; `rotary_scaling` does not have four numbers, or the positions are not rotary; the window
            is below 1; RMS normalization without pre-norm.

    Example:
        >>> DecoderConfig(num_heads=9, num_key_value_heads=3, hidden_dim=576).width_per_head
        64

    Source: Radford et al. 2019 (GPT-2), https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf;
        Brown et al. 2020 (GPT-3), §2.1, https://arxiv.org/abs/2005.14165; Touvron et al. 2023 (Llama), §2.2,
        https://arxiv.org/abs/2302.13971
    """  # noqa: E501

    vocabulary_size: int = 50_257
    max_sequence_length: int = 1_024
    layer_norm_epsilon: float = 1e-5
    normalize_first: bool = True
    num_key_value_heads: int | None = None  # grouped-query attention: fewer heads for keys and values; None: num_heads
    head_dim: int | None = None  # H, width of a head; None: hidden_dim / num_heads
    positions: DecoderPositions = "learned"
    rotary_base: float = 10_000.0  # θ of rotary positions
    rotary_scaling: tuple[float, ...] = ()  # Llama 3.1's factor, low and high frequency factors, original length
    norm: Norm = "layer"  # "rms": RMS normalization
    gated: bool = False  # True: gated feed-forward (SwiGLU with silu, GEGLU with gelu)
    attention_bias: AttentionBias = "all"  # "inputs": only query, key and value have biases (Qwen2)
    feed_forward_bias: bool = True
    window: int | None = None  # sliding-window attention: a token sees this many, including itself; None: no window
    windowed_layers: Windowed = "all"  # "odd": only blocks 1, 3, 5, … have the window (GPT-3)
    tied: bool = True  # the head uses the embedding matrix; False: it has its own kernel

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim is not None:
            self.check_at_least(1, "head_dim")
        # one spelling for each shape: configs are compared
        if self.num_key_value_heads == self.num_heads:
            object.__setattr__(self, "num_key_value_heads", None)
        if self.head_dim is not None and self.head_dim * self.num_heads == self.hidden_dim:
            object.__setattr__(self, "head_dim", None)
        groups = self.num_key_value_heads
        if groups is not None and (groups < 1 or self.num_heads % groups):
            raise ValueError(f"num_key_value_heads={groups} does not divide num_heads={self.num_heads}")
        if self.positions == "rotary" and self.width_per_head % 2:
            raise ValueError(f"rotary positions need an even head width, not {self.width_per_head}")
        if self.rotary_scaling and (len(self.rotary_scaling) != 4 or self.positions != "rotary"):
            raise ValueError(
                f"rotary_scaling={self.rotary_scaling}; it must be four numbers, and needs rotary positions"
            )
        if self.window is not None:
            self.check_at_least(1, "window")
        if self.norm == "rms" and not self.normalize_first:
            raise ValueError(
                'norm="rms" needs normalize_first=True: no known model has RMS normalization and post-norm'
            )

    def _check_heads(self) -> None:
        if self.head_dim is None:
            super()._check_heads()

    @property
    def width_per_head(self) -> int:
        """H, the width of a head."""
        return self.head_dim or self.hidden_dim // self.num_heads

    def window_of(self, block: int) -> int | None:
        """The number of tokens that a token sees in this block, including itself; None if the block has no window."""
        return self.window if self.windowed_layers == "all" or block % 2 else None

    @property
    def num_parameters(self) -> int:
        """The number of values in all weights of a `TextGenerator`, computed without creating a model."""
        width, wide = self.hidden_dim, self.intermediate_dim
        queries = self.num_heads * self.width_per_head
        keys = (self.num_key_value_heads or self.num_heads) * self.width_per_head
        biases = {"all": queries + 2 * keys + width, "inputs": queries + 2 * keys, "none": 0}[self.attention_bias]
        norm = width if self.norm == "rms" else 2 * width
        attention = width * (2 * queries + 2 * keys) + biases
        kernels = 3 if self.gated else 2
        feed_forward = kernels * width * wide + ((kernels - 1) * wide + width) * self.feed_forward_bias
        rows = self.vocabulary_size * (1 if self.tied else 2)
        rows += self.max_sequence_length if self.positions == "learned" else 0
        blocks = self.num_layers * (attention + feed_forward + 2 * norm)
        return blocks + rows * width + norm  # the last norm: after the blocks, or after the embedding

    @property
    def least_numbers(self) -> int:
        """A lower bound for the number of values in memory: the weights, and sinusoids, which are not weights."""
        return self.num_parameters + self.hidden_dim * self.max_sequence_length * (self.positions == "sinusoidal")


GPT_MINI = DecoderConfig(
    vocabulary_size=8_192, num_layers=6, num_heads=6, hidden_dim=384, intermediate_dim=1_536, max_sequence_length=512
)  # 14.0 M weights


def _gpt3(num_layers: int, hidden_dim: int, num_heads: int, head_dim: int) -> DecoderConfig:
    """GPT-3's proportions: GPT-2's blocks, with locally banded attention in every second block."""
    return DecoderConfig(
        num_layers=num_layers,
        num_heads=num_heads,
        head_dim=head_dim,
        hidden_dim=hidden_dim,
        intermediate_dim=4 * hidden_dim,
        max_sequence_length=2_048,
        window=256,
        windowed_layers="odd",
    )


# Brown et al. 2020, Table 2.1. There, the 1.3 B model has 24 heads of width 128, which would be 1.5 B weights. With 16
# heads, it has the width and the number of weights of the table. The paper does not give the width of the bands; Child
# et al. 2019 use 256 for text.
GPT3_SIZES = {
    "gpt3-125m": _gpt3(12, 768, 12, 64),
    "gpt3-350m": _gpt3(24, 1_024, 16, 64),
    "gpt3-760m": _gpt3(24, 1_536, 16, 96),
    "gpt3-1.3b": _gpt3(24, 2_048, 16, 128),
    "gpt3-2.7b": _gpt3(32, 2_560, 32, 80),
    "gpt3-6.7b": _gpt3(32, 4_096, 32, 128),
    "gpt3-13b": _gpt3(40, 5_140, 40, 128),
    "gpt3-175b": _gpt3(96, 12_288, 96, 128),
}

DECODER_SIZES = {"gpt-mini": GPT_MINI, **GPT3_SIZES}
