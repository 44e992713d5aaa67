"""Quantization schemes of TFLite files: the grammar of their names, and the error limits of each scheme."""

from dataclasses import dataclass, field

from keras_plm.config import Adaptation, BackboneConfig


@dataclass(frozen=True)
class Limits:
    """The largest allowed error of a scheme, and its largest allowed size.

    Attributes:
        error: largest difference of a probability that `verify` allows; 1 for no limit. Use `compare` for scores.
        shift: largest allowed shift (see `verify.verify`); an artifact with the same answer to every text has 1.
        share: largest allowed size as a fraction of the float32 bytes; a larger file was not quantized.
    """

    error: float
    shift: float
    share: float


_LIMITS = {
    "float32": Limits(1e-4, 1e-2, 1.01),
    "float16": Limits(2e-2, 0.1, 0.6),
    # From here on the error has no limit, only the shift. Measurements:
    # - dynamic_int8, a tagger with 2:4 sparsity: 16 of 501 tokens change by more than 0.25, one by 0.42 (shift 0.13).
    #   It tags as well as the Keras model.
    # - four bits, MiniLM: 97 % of the labels of 400 texts stay the same; one probability changes by 0.94.
    # - static_int8, a tagger trained for it: one of 501 words changes by 0.67 (shift 0.25). It tags as well as before.
    #   With the converter's own calibration (all activations in int8), the shift was 1.8 and the loss 22 points.
    "dynamic_int8": Limits(1.0, 0.5, 0.35),
    "static_int8": Limits(1.0, 0.5, 0.35),
    "int8x16": Limits(1.0, 0.5, 0.35),
    "int4": Limits(1.0, 0.7, 0.18),
    "int4_block32": Limits(1.0, 0.6, 0.2),
}
SCHEMES = tuple(_LIMITS)

# the weights that share a scale: all weights of an output, or 32 neighbors
_INT4 = {"int4": "CHANNELWISE", "int4_block32": "BLOCKWISE_32"}
EMBEDDING_MATRIX = "embedding"  # the part that is the embedding matrix
_BLOCK = 32
_MIXED = "+int8:"


@dataclass(frozen=True)
class Scheme:
    """A scheme by its name: "dynamic_int8", or "int4+int8:embedding,block_0", which keeps some parts in 8 bits.

    Attributes:
        base: one of `SCHEMES`.
        eight_bits: with a four-bit base: the parts (see `parts_of`) that have eight bits.
        generates: whether the model is a text generator. Its embedding matrix is stored once, for the look-up and for
            the head, if LiteRT's quantizer also makes "dynamic_int8".

    Example:
        >>> Scheme.parse("int4+int8:embedding,block_0")
        Scheme(base='int4', eight_bits=('embedding', 'block_0'))
    """

    base: str
    eight_bits: tuple[str, ...] = ()
    generates: bool = field(default=False, repr=False)

    @classmethod
    def parse(cls, name: str, generates: bool = False) -> "Scheme":
        """Parse the name of a scheme.

        Raises:
            ValueError: the name is unknown, or it names 8-bit parts with a base that does not have four bits.
        """
        base, mixed, parts = name.partition(_MIXED)
        if base not in _LIMITS:
            raise ValueError(f"quantization={name!r}; choose one of {list(SCHEMES)}")
        if mixed and (base not in _INT4 or not all(parts.split(","))):
            raise ValueError(f"quantization={name!r}; write 8-bit parts as in 'int4+int8:embedding,block_0'")
        return cls(base, tuple(parts.split(",")) if mixed else (), generates)

    def __str__(self) -> str:
        return self.base + (_MIXED + ",".join(self.eight_bits) if self.eight_bits else "")

    @property
    def limits(self) -> Limits:
        """The limits of the scheme. With 8-bit parts, the allowed size is larger."""
        limits = _LIMITS[self.base]
        return Limits(limits.error, limits.shift, _LIMITS["dynamic_int8"].share) if self.eight_bits else limits

    @property
    def four_bits(self) -> bool:
        """Whether the weights have four bits."""
        return self.base in _INT4

    @property
    def calibrated(self) -> bool:
        """Whether the activation ranges come from calibration texts."""
        return self.base in ("static_int8", "int8x16")

    @property
    def takes_texts(self) -> bool:
        """Whether the scheme uses calibration texts, for activation ranges or for rounding."""
        return self.calibrated or self.four_bits

    @property
    def by_litert(self) -> bool:
        """Whether LiteRT's own quantizer makes the file from a float32 file."""
        return self.four_bits or self.base == "int8x16" or (self.generates and self.base == "dynamic_int8")

    @property
    def block(self) -> int | None:
        """Number of weights of an output that share a scale; None means all."""
        return _BLOCK if self.base == "int4_block32" else None

    @property
    def granularity(self) -> str:
        """The quantizer's name for the granularity of four-bit scales."""
        return _INT4[self.base]

    def check(self, config: BackboneConfig, adaptation: Adaptation) -> None:
        """Raise ValueError if a model with this config and adaptation cannot have this scheme."""
        if adaptation.quantization_aware and self.base != "static_int8":
            raise ValueError(f"the model was trained for static_int8 (quantization_aware), not for {self}")
        if self.generates and self.calibrated:
            raise ValueError(f"{self} is not for text generators; choose dynamic_int8, int4 or a float scheme")
        width = getattr(config, "embedding_rank", None) or getattr(config, "embedding_dim", None) or config.hidden_dim
        if self.four_bits and width % 2:  # a byte holds two weights, and in LiteRT each row starts at a new byte
            raise ValueError(f"{self} needs an embedding matrix of even width, not {width}")
        names = ["hidden_dim", "intermediate_dim"]
        names += [] if EMBEDDING_MATRIX in self.eight_bits else ["embedding_dim", "embedding_rank"]
        sizes = {name: getattr(config, name, None) or 0 for name in names} | {"adapter_dim": adaptation.adapter_dim}
        odd = [f"{name}={size}" for name, size in sizes.items() if size % _BLOCK]
        if self.base == "int4_block32" and odd:
            raise ValueError(
                f"{self} needs sizes that are multiples of {_BLOCK}, not {' and '.join(odd)}; int4 takes any"
            )
        unknown = sorted(set(self.eight_bits) - set(parts_of(config)))
        if unknown:
            raise ValueError(f"quantization={str(self)!r}: the model has no {unknown}; its parts: {parts_of(config)}")


def parts_of(config: BackboneConfig) -> list[str]:
    """The parts whose bits can be chosen: the embedding matrix with its projection, each block, and the head."""
    blocks = 1 if getattr(config, "shared_layers", False) else config.num_layers
    names = [f"block_{i}" for i in range(blocks)]
    if (decoder_blocks := getattr(config, "decoder_layers", None)) is not None:
        names = [f"encoder_{name}" for name in names] + [f"decoder_block_{i}" for i in range(decoder_blocks)]
    return [EMBEDDING_MATRIX, *names, "head"]
