"""The files of SentencePiece: a Unigram language model, or byte pairs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .template import SpecialTokens
from .tokenizer import AddedToken

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)  # types of tokens in the files
_BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class Unigram:
    """A Unigram language model of tokens.

    Attributes:
        pieces: the tokens; the index is the id. A token at the beginning of a word starts with ▁.
        scores: log-probability of each token.
        charsmap: SentencePiece's compiled table of character replacements (such as NFKC); may be empty.
    """

    pieces: list[str]
    scores: list[float]
    charsmap: bytes

    @classmethod
    def from_bytes(cls, content: bytes, source: str) -> "Unigram":
        """Parse a SentencePiece model file with a Unigram model.

        Raises:
            ValueError: it is something else.
        """
        found = read_model(content, source)
        if isinstance(found, BytePairs):
            raise ValueError(f"{source} is a SentencePiece model, but not a Unigram model")
        return found

    def to_bytes(self, special: SpecialTokens, added: Sequence[AddedToken] = ()) -> bytes:
        """The content of a SentencePiece model file with these ids."""
        proto = _proto()
        literals = {*special.by_role.values(), *(token.text for token in added)}
        for piece, score in zip(self.pieces, self.scores, strict=True):
            proto.pieces.add(piece=piece, score=score, type=self._kind(piece, special, literals))
        proto.trainer_spec.model_type = proto.trainer_spec.UNIGRAM
        proto.trainer_spec.unk_id = self.pieces.index(special.by_role["unk"])
        # -1: the model adds no such tokens; `pack` does
        proto.trainer_spec.pad_id = proto.trainer_spec.bos_id = proto.trainer_spec.eos_id = -1
        proto.normalizer_spec.precompiled_charsmap = self.charsmap
        self._complete(proto)
        return proto.SerializeToString()

    def _kind(self, piece: str, special: SpecialTokens, literals: set[str]) -> int:
        return _UNKNOWN if piece == special.unk else _CONTROL if piece in literals else _NORMAL

    def _complete(self, proto: Any) -> None:
        """Set what differs from a Unigram model."""


@dataclass(frozen=True)
class BytePairs(Unigram):
    """Byte pairs: the pair whose token has the highest score is merged first. Each byte has a token, such as <0x0A>.

    White space is kept as it is, with one space more before a text.

    Attributes:
        controls: tokens that never result from merges.

    Raises:
        ValueError: a byte has no token.

    Source: Sennrich et al. 2016, §3.2, https://arxiv.org/abs/1508.07909; Touvron et al. 2023 (Llama), §2.1,
        https://arxiv.org/abs/2302.13971
    """

    controls: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        missing = {f"<0x{byte:02X}>" for byte in range(256)} - set(self.pieces)
        if missing:
            raise ValueError(f"the byte pairs have no token for {len(missing)} of 256 bytes")

    def bytes_of(self, piece: str) -> bytes:
        """The bytes that a token adds to a text."""
        byte = _BYTE_PIECE.fullmatch(piece)
        return bytes.fromhex(byte.group(1)) if byte else piece.replace("▁", " ").encode()

    def _kind(self, piece: str, special: SpecialTokens, literals: set[str]) -> int:
        return _BYTE if _BYTE_PIECE.fullmatch(piece) else super()._kind(piece, special, literals | self.controls)

    def _complete(self, proto: Any) -> None:
        proto.trainer_spec.model_type = proto.trainer_spec.BPE
        proto.trainer_spec.byte_fallback = True
        proto.normalizer_spec.remove_extra_whitespaces = False


def read_model(content: bytes, source: str) -> Unigram:
    """Parse a SentencePiece model file (`spiece.model`, `sentencepiece.bpe.model`, `tokenizer.model`).

    Args:
        content: content of the file.
        source: name of the file, for error messages.

    Raises:
        ValueError: it is not a SentencePiece model, or neither a Unigram model nor byte pairs with a token for each
            byte; or its normalization of white space is not supported.
    """
    from google.protobuf.message import DecodeError

    proto = _proto()
    try:
        proto.ParseFromString(content)
    except DecodeError:
        raise ValueError(f"{source} is not a SentencePiece model") from None
    if not proto.pieces:
        raise ValueError(f"{source} is not a SentencePiece model: it has no token")
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    pairs = trainer.model_type == trainer.BPE and trainer.byte_fallback
    if not pairs and trainer.model_type != trainer.UNIGRAM:
        raise ValueError(f"{source} is a SentencePiece model, but not a Unigram model")
    if not normalizer.add_dummy_prefix or normalizer.remove_extra_whitespaces == pairs:
        raise ValueError(f"{source} does not normalize white space as expected, which is not supported")
    pieces, scores = [piece.piece for piece in proto.pieces], [piece.score for piece in proto.pieces]
    if not pairs:
        return Unigram(pieces, scores, normalizer.precompiled_charsmap)
    own = [piece.piece for piece in proto.pieces if piece.type == _USER_DEFINED]
    if own:
        raise ValueError(
            f"{source} has the user-defined token {own[0]!r}; such tokens are read from tokenizer.json only"
        )
    controls = frozenset(piece.piece for piece in proto.pieces if piece.type in (_CONTROL, _UNUSED))
    try:
        return BytePairs(pieces, scores, normalizer.precompiled_charsmap, controls)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _proto() -> Any:
    from sentencepiece import sentencepiece_model_pb2 as messages

    return messages.ModelProto()  # type: ignore[attr-defined]
