"""How the weights of a TFLite file are held: one grammar, and what each scheme is allowed to cost."""

from dataclasses import dataclass

from keras_plm.config import Adaptation, EncoderConfig


@dataclass(frozen=True)
class Limits:
    """What a scheme may cost, and what it must save.

    Attributes:
        error: largest difference of a probability that the proof allows; 1 for no bound. `compare` has the verdict.
        shift: largest shift (see `verify.verify`); 1 is an artifact that answers the same to every text.
        share: of the bytes in float32; above it the scheme did nothing.
    """

    error: float
    shift: float
    share: float


_LIMITS = {
    "float32": Limits(1e-4, 1e-2, 1.01),
    "float16": Limits(2e-2, 0.1, 0.6),
    # no bound of the error from here on: the shift decides. A tagger with 2:4 zeros moves 16 of 501 tokens by more
    # than 0.25 in dynamic_int8, one by 0.42 (shift 0.13), and tags as well as in Keras. In four bits MiniLM keeps 97 %
    # of the labels of 400 texts and moves one by 0.94. A tagger trained for static_int8 moves one of 501 words by 0.67
    # (shift 0.25) and tags as well as before; with all activations in int8, as the converter calibrates, it had 1.8 and
    # lost 22 points
    "dynamic_int8": Limits(1.0, 0.5, 0.35),
    "static_int8": Limits(1.0, 0.5, 0.35),
    "int8x16": Limits(1.0, 0.5, 0.35),
    "int4": Limits(1.0, 0.7, 0.18),
    "int4_block32": Limits(1.0, 0.6, 0.2),
}
SCHEMES = tuple(_LIMITS)

# weights of how many neighbors share a scale: all that make up one output, or 32
_INT4 = {"int4": "CHANNELWISE", "int4_block32": "BLOCKWISE_32"}
EMBEDDING_MATRIX = "embedding"  # the part that is the embedding matrix
_BLOCK = 32
_MIXED = "+int8:"


@dataclass(frozen=True)
class Scheme:
    """A scheme by its name: "dynamic_int8", or "int4+int8:embedding,block_0", which keeps some parts in 8 bits.

    Attributes:
        base: one of `SCHEMES`.
        eight_bits: of a scheme of four bits: parts with eight, of `parts_of`.

    Example:
        >>> Scheme.parse("int4+int8:embedding,block_0")
        Scheme(base='int4', eight_bits=('embedding', 'block_0'))
    """

    base: str
    eight_bits: tuple[str, ...] = ()

    @classmethod
    def parse(cls, name: str) -> "Scheme":
        """The scheme of that name.

        Raises:
            ValueError: an unknown name, or parts in 8 bits beside a base that is not of four bits.
        """
        base, mixed, parts = name.partition(_MIXED)
        if base not in _LIMITS:
            raise ValueError(f"quantization={name!r}; choose one of {list(SCHEMES)}")
        if mixed and (base not in _INT4 or not all(parts.split(","))):
            raise ValueError(f"quantization={name!r}; parts in 8 bits are named as in 'int4+int8:embedding,block_0'")
        return cls(base, tuple(parts.split(",")) if mixed else ())

    def __str__(self) -> str:
        return self.base + (_MIXED + ",".join(self.eight_bits) if self.eight_bits else "")

    @property
    def limits(self) -> Limits:
        """What it may cost; with parts in 8 bits it saves less."""
        limits = _LIMITS[self.base]
        return Limits(limits.error, limits.shift, _LIMITS["dynamic_int8"].share) if self.eight_bits else limits

    @property
    def four_bits(self) -> bool:
        """Whether its weights have four bits."""
        return self.base in _INT4

    @property
    def calibrated(self) -> bool:
        """Whether the ranges of its activations come from texts."""
        return self.base in ("static_int8", "int8x16")

    @property
    def takes_texts(self) -> bool:
        """Whether calibration texts make it better: activation ranges or rounding come from them."""
        return self.calibrated or self.four_bits

    @property
    def by_litert(self) -> bool:
        """Whether LiteRT's own quantizer makes it from a file in float32."""
        return self.four_bits or self.base == "int8x16"

    @property
    def block(self) -> int | None:
        """How many weights of an output share a scale; None means all."""
        return _BLOCK if self.base == "int4_block32" else None

    @property
    def granularity(self) -> str:
        """What that quantizer calls the weights of four bits that share a scale."""
        return _INT4[self.base]

    def check(self, config: EncoderConfig, adaptation: Adaptation) -> None:
        """Raise ValueError if a model of this shape, with that added to its layers, cannot have it."""
        if adaptation.quantization_aware and self.base != "static_int8":
            raise ValueError(f"the model was trained for static_int8 (quantization_aware), not for {self}")
        width = config.embedding_rank or config.embedding_dim or config.hidden_dim
        if self.four_bits and width % 2:  # two weights a byte, and LiteRT begins a row at a whole byte
            raise ValueError(f"{self} needs an embedding matrix of even width, not {width}")
        names = ["hidden_dim", "intermediate_dim"]
        names += [] if EMBEDDING_MATRIX in self.eight_bits else ["embedding_dim", "embedding_rank"]
        sizes = {name: getattr(config, name) or 0 for name in names} | {"adapter_dim": adaptation.adapter_dim}
        odd = [f"{name}={size}" for name, size in sizes.items() if size % _BLOCK]
        if self.base == "int4_block32" and odd:
            raise ValueError(
                f"{self} needs sizes that are multiples of {_BLOCK}, not {' and '.join(odd)}; int4 takes any"
            )
        unknown = sorted(set(self.eight_bits) - set(parts_of(config)))
        if unknown:
            raise ValueError(f"quantization={str(self)!r}: the model has no {unknown}; its parts: {parts_of(config)}")


def parts_of(config: EncoderConfig) -> list[str]:
    """The parts whose bits can be chosen: the embedding matrix with what widens it, each block, what comes after."""
    blocks = 1 if config.shared_layers else config.num_layers
    return [EMBEDDING_MATRIX, *(f"block_{i}" for i in range(blocks)), "head"]
