from dataclasses import dataclass
from typing import Any, Literal, Self

from .typed_fields import TypedFields

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]


@dataclass(frozen=True, kw_only=True)
class BackboneConfig(TypedFields):
    """The shape of a Transformer: all settings that determine the names and sizes of its weights.

    Each family of backbones has its own config class, which adds the fields that only this family uses.

    Raises:
        ValueError: a size is below 1, a dropout is outside [0, 1), or `num_heads` does not divide `hidden_dim`.
    """

    vocabulary_size: int = 30_522  # number of tokens, including special tokens
    num_layers: int = 12  # number of blocks
    num_heads: int = 12  # attention heads per block
    hidden_dim: int = 768  # D, width of the residual stream
    intermediate_dim: int = 3_072  # F, width inside the feed-forward
    dropout: float = 0.1  # fraction dropped after embedding, attention and feed-forward
    attention_dropout: float = 0.1  # fraction of attention weights dropped
    max_sequence_length: int = 512  # longest input in tokens
    activation: Activation = "gelu_tanh"  # "gelu" is exact, with erf
    layer_norm_epsilon: float = 1e-12
    normalize_first: bool = False  # True: normalize before each sub-layer (pre-norm)

    def __post_init__(self) -> None:
        self.check_types()
        sizes = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim")
        self.check_at_least(1, *sizes, "max_sequence_length")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it is a fraction in [0, 1)")
        self._check_heads()

    def _check_heads(self) -> None:
        check_heads(self.num_heads, self.hidden_dim)

    @property
    def least_numbers(self) -> int:
        """A lower bound for the number of values that a model with this config has in memory."""
        raise NotImplementedError(f"{type(self).__name__} does not implement least_numbers")

    def to_dict(self) -> dict[str, Any]:
        """The name of the class and the fields, as JSON types."""
        return {"class": type(self).__name__, **super().to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`, for this class and its subclasses.

        Raises:
            ValueError: the class or a field is unknown, or a value has another type; the error names each of them.
        """
        values = dict(values)
        families = {family.__name__: family for family in (cls, *_inheriting(cls))}
        families.pop(BackboneConfig.__name__, None)  # no model has this class
        name = values.pop("class", None if cls is BackboneConfig else cls.__name__)
        if name is None:
            raise ValueError(f"the config has no class, such as {', '.join(families)}")
        if not isinstance(name, str) or name not in families:
            raise ValueError(f"unknown config class {name!r:.60}; choose one of {', '.join(families)}")
        return families[name]._made_of(values)


def _inheriting(kind: type[Any]) -> list[type[Any]]:
    return [family for child in kind.__subclasses__() for family in (child, *_inheriting(child))]


def check_heads(num_heads: int, hidden_dim: int) -> None:
    """Raise ValueError unless `num_heads` divides `hidden_dim`."""
    if num_heads < 1 or hidden_dim % num_heads:
        fitting = [n for n in range(1, 33) if hidden_dim % n == 0]
        raise ValueError(f"num_heads={num_heads} does not divide hidden_dim={hidden_dim}; choose one of {fitting}")
