from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self, get_args, get_origin

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]
Positions = Literal["learned", "sinusoidal", "none"]
LORA_TARGETS = ("query", "key", "value", "output", "expand", "contract")
PoolerActivation = Literal["tanh", "gelu", "relu"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a Transformer: everything that decides the names and sizes of its weights.

    Variation is `dataclasses.replace(plm.MINI, vocabulary_size=8_000)`.

    Raises:
        ValueError: a size below 1, a dropout outside [0, 1), or `num_heads` that does not divide
            `hidden_dim`.

    Example:
        >>> from dataclasses import replace
        >>> replace(TINY, vocabulary_size=8_000).intermediate_dim
        512

    Source: Devlin et al. 2019, §3, https://arxiv.org/abs/1810.04805; the small sizes are from
        Turc et al. 2019, https://arxiv.org/abs/1908.08962
    """

    vocabulary_size: int = 30_522  # tokens, special tokens included
    num_layers: int = 12  # blocks
    num_heads: int = 12  # attention heads a block
    hidden_dim: int = 768  # D, width of the residual stream
    intermediate_dim: int = 3_072  # F, width inside the feed-forward
    dropout: float = 0.1  # fraction dropped after embedding, attention and feed-forward
    attention_dropout: float = 0.1  # fraction of attention weights dropped
    max_sequence_length: int = 512  # longest input in tokens
    num_segments: int = 2  # kinds of segment, sentence A and sentence B; 0 for no segment embedding
    embedding_dim: int | None = None  # E, width of the embedding tables, projected to D; None for D itself
    embedding_rank: int | None = None  # of the embedding matrix as a product of two narrow ones; None for one table
    activation: Activation = "gelu_tanh"  # "gelu" is the exact one, through erf
    positions: Positions = "learned"
    layer_norm_epsilon: float = 1e-12
    normalize_first: bool = False  # True: normalize before each sub-layer (pre-norm)
    shared_layers: bool = False  # True: all blocks have the weights of one (ALBERT)
    has_pooler: bool = True  # a dense layer on the first token; False: the first token itself
    pooler_activation: PoolerActivation = "tanh"  # of that layer, also of one that a classifier adds
    lora_rank: int = 0  # rank of the updates beside kernels; 0 for none
    lora_alpha: float = 16.0  # they are scaled by lora_alpha / lora_rank
    lora_targets: tuple[str, ...] = ("query", "value")  # of query, key, value, output, expand, contract
    adapter_dim: int = 0  # width of the bottleneck adapters in each block; 0 for none
    quantization_aware: bool = False  # True: products with weights are rounded as int8 will, in ranges that are learned

    def __post_init__(self) -> None:
        self._check_types()
        sizes = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim")
        for name in (*sizes, "max_sequence_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1")
        if self.num_segments < 0:
            raise ValueError(f"num_segments={self.num_segments}; it must be at least 0")
        self._check_tables()
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it is a fraction in [0, 1)")
        check_heads(self.num_heads, self.hidden_dim)
        for name in ("lora_rank", "adapter_dim"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 0")
        object.__setattr__(self, "lora_targets", tuple(self.lora_targets))  # JSON has lists
        unknown = sorted(set(self.lora_targets) - set(LORA_TARGETS))
        if unknown or (self.lora_rank and not self.lora_targets):
            raise ValueError(f"lora_targets={self.lora_targets} match no layer; choose of {', '.join(LORA_TARGETS)}")
        if self.quantization_aware and self.lora_rank:
            raise ValueError("LoRA updates would have to be rounded with their kernels: merge_lora first")

    def _check_types(self) -> None:
        """Raise ValueError for a field of another type, as a file may have it."""
        for f in fields(self):
            value, kinds = getattr(self, f.name), get_args(f.type) or (f.type,)
            if get_origin(f.type) is Literal:
                fits = isinstance(value, str) and value in kinds
            elif f.name == "lora_targets":
                fits = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
            else:
                fits = type(value) in (*kinds, int) if float in kinds else type(value) in kinds
            if not fits:
                wanted = " or ".join(getattr(kind, "__name__", repr(kind)) for kind in kinds)
                raise ValueError(f"{f.name}={value!r:.60}; it must be {wanted}")

    def _check_tables(self) -> None:
        if self.embedding_dim is not None and self.embedding_dim < 1:
            raise ValueError(f"embedding_dim={self.embedding_dim}; it must be at least 1, or None")
        width = self.embedding_dim or self.hidden_dim
        if self.embedding_rank is not None and not 1 <= self.embedding_rank < width:
            raise ValueError(f"embedding_rank={self.embedding_rank}; it must be at least 1 and below the width {width}")

    @property
    def least_weights(self) -> int:
        """A lower bound of the number of weights: the embedding matrices and the kernels of the blocks."""
        width, wide = self.embedding_dim or self.hidden_dim, self.hidden_dim * (self.intermediate_dim + self.hidden_dim)
        rank = self.embedding_rank
        table = self.vocabulary_size * width if rank is None else rank * (self.vocabulary_size + width)
        rows = self.max_sequence_length if self.positions == "learned" else 0
        blocks = 1 if self.shared_layers else self.num_layers
        return table + (rows + self.num_segments) * width + blocks * 2 * (wide + self.hidden_dim**2)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self) | {"lora_targets": list(self.lora_targets)}

    def without_lora(self) -> "ModelConfig":
        """The same without LoRA updates."""
        targets = ModelConfig.lora_targets
        return replace(self, lora_rank=0, lora_alpha=ModelConfig.lora_alpha, lora_targets=targets)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; an unknown field is an error that names it."""
        unknown = sorted(set(fields) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"unknown model config fields {unknown}; was it written by a later version?")
        return cls(**fields)


def check_heads(num_heads: int, hidden_dim: int) -> None:
    """Raise ValueError unless `num_heads` divides `hidden_dim`."""
    if num_heads < 1 or hidden_dim % num_heads:
        fitting = [n for n in range(1, 33) if hidden_dim % n == 0]
        raise ValueError(f"num_heads={num_heads} does not divide hidden_dim={hidden_dim}; choose one of {fitting}")


def _bert(num_layers: int, hidden_dim: int) -> ModelConfig:
    """BERT's proportions: heads of 64, a feed-forward four times as wide."""
    return ModelConfig(
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
