from dataclasses import dataclass
from typing import Literal

from .backbone import BackboneConfig

Positions = Literal["learned", "sinusoidal", "none"]
PoolerActivation = Literal["tanh", "gelu", "relu"]


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(BackboneConfig):
    """The shape of an `Encoder` of BERT's family.

    For a variation, use `dataclasses.replace(plm.MINI, vocabulary_size=8_000)`.

    Raises:
        ValueError: as in `BackboneConfig`, or `embedding_rank` is not below the width of the embedding matrix.

    Example:
        >>> from dataclasses import replace
        >>> replace(TINY, vocabulary_size=8_000).intermediate_dim
        512

    Source: Devlin et al. 2019, §3, https://arxiv.org/abs/1810.04805; the small sizes are from
        Turc et al. 2019, https://arxiv.org/abs/1908.08962
    """

    num_segments: int = 2  # number of segment types (sentences A and B); 0 for no segment embedding
    embedding_dim: int | None = None  # E, width of the embedding matrices, projected to D; None for D itself
    embedding_rank: int | None = None  # rank of the embedding matrix as a product of two; None for one matrix
    positions: Positions = "learned"
    shared_layers: bool = False  # True: all blocks share the same weights (ALBERT)
    has_pooler: bool = True  # a dense layer on the first token; False: the first token itself
    pooler_activation: PoolerActivation = "tanh"  # of the pooler, also of a pooler that a classifier adds

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(0, "num_segments")
        if self.embedding_dim is not None and self.embedding_dim < 1:
            raise ValueError(f"embedding_dim={self.embedding_dim}; it must be at least 1, or None")
        width = self.embedding_dim or self.hidden_dim
        if self.embedding_rank is not None and not 1 <= self.embedding_rank < width:
            raise ValueError(f"embedding_rank={self.embedding_rank}; it must be at least 1 and below the width {width}")

    @property
    def num_parameters(self) -> int:
        """The number of values in all weights of a `Pretrainer`, computed without creating a model."""
        width, wide, vocabulary = self.hidden_dim, self.intermediate_dim, self.vocabulary_size
        narrow, rank = self.embedding_dim or width, self.embedding_rank
        matrix = vocabulary * narrow if rank is None else rank * (vocabulary + narrow)
        rows = self.num_segments + (self.max_sequence_length if self.positions == "learned" else 0)
        projection = 0 if self.embedding_dim is None else narrow * width + width
        block = 4 * (width**2 + width) + 2 * width * wide + wide + width + 4 * width
        blocks = block * (1 if self.shared_layers else self.num_layers)
        pooler = (width**2 + width) * self.has_pooler
        heads = width * narrow + 3 * narrow + vocabulary + 2 * width + 2
        last_norm = 2 * width * self.normalize_first
        return matrix + (rows + 2) * narrow + projection + blocks + last_norm + pooler + heads

    @property
    def least_numbers(self) -> int:
        """A lower bound for the number of values in memory: the embedding matrices and the kernels of the blocks."""
        width, wide = self.embedding_dim or self.hidden_dim, self.hidden_dim * (self.intermediate_dim + self.hidden_dim)
        rank = self.embedding_rank
        matrix = self.vocabulary_size * width if rank is None else rank * (self.vocabulary_size + width)
        # sinusoids are not weights, but they use as much memory as learned positions
        rows = self.max_sequence_length if self.positions != "none" else 0
        blocks = 1 if self.shared_layers else self.num_layers
        return matrix + (rows + self.num_segments) * width + blocks * 2 * (wide + self.hidden_dim**2)


def _bert(num_layers: int, hidden_dim: int) -> EncoderConfig:
    """BERT's proportions: heads of width 64, and a feed-forward four times as wide as the model."""
    return EncoderConfig(
        num_layers=num_layers,
        num_heads=hidden_dim // 64,
        hidden_dim=hidden_dim,
        intermediate_dim=4 * hidden_dim,
    )


TINY = _bert(2, 128)  # 4.4 M weights
MINI = _bert(4, 256)  # 11.2 M
SMALL = _bert(4, 512)  # 28.8 M
MEDIUM = _bert(8, 512)  # 41.4 M
BASE = _bert(12, 768)  # 109.5 M
LARGE = _bert(24, 1024)  # 335.1 M

SIZES = {
    "tiny": TINY, "mini": MINI, "small": SMALL, "medium": MEDIUM, "base": BASE, "large": LARGE
}  # fmt: skip
