"""Equal and nearly equal documents, found by hashes that workers group."""

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Literal

import numpy as np

Deduplicate = Literal["none", "exact", "near"]
_BUCKETS = 256  # groups of hashes; each of them is in memory at once
_PERMUTATIONS = 128
_SHINGLE = 5  # words
_SEED = 1


class Fingerprint:
    """The hashes of documents; documents that share a hash are duplicates.

    Args:
        kind: "exact": a hash of the whole text. "near": MinHash bands of runs of 5 words.
        threshold: with "near", the Jaccard similarity of two sets of runs from which documents count as duplicates.
            Half of the pairs with this similarity are found, and nearly all with a similarity a little above.

    Source: Broder 1997, https://www.cs.princeton.edu/courses/archive/spring13/cos598C/broder97resemblance.pdf; for
        language models: Lee et al. 2022, §4.2, https://arxiv.org/abs/2107.06499
    Differs: pairs with a common band are not compared again.
    """

    def __init__(self, kind: Deduplicate, threshold: float = 0.8) -> None:
        self.kind, self.threshold = kind, threshold

    def __call__(self, text: str) -> np.ndarray:
        """(hashes,) uint64: one hash, or one for each band."""
        if self.kind == "exact":
            return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=8).digest(), "<u8")
        words = text.lower().split()
        runs = {" ".join(words[i : i + _SHINGLE]) for i in range(max(len(words) - _SHINGLE + 1, 1))}
        signature = _empty_signature().copy()
        signature.update_batch([run.encode() for run in runs])
        bands, rows = band_sizes(self.threshold)
        values = signature.hashvalues[: bands * rows].astype("<u8").reshape(bands, rows)
        digests = (
            hashlib.blake2b(bytes([i]) + band.tobytes(), digest_size=8).digest() for i, band in enumerate(values)
        )
        return np.frombuffer(b"".join(digests), "<u8")


@cache
def _empty_signature() -> Any:
    from datasketch import MinHash

    return MinHash(_PERMUTATIONS, _SEED, zlib.crc32)


@cache
def band_sizes(threshold: float) -> tuple[int, int]:
    """The number of bands, and of hashes in each, for which half of the pairs with this similarity share a band."""
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold, _PERMUTATIONS)
    return index.b, index.r


def in_buckets(part: int, hashes: np.ndarray, numbers: np.ndarray) -> Iterator[tuple[int, tuple]]:
    """The hashes of a part, grouped by their last byte.

    Args:
        part: number of the part.
        hashes: (any,) uint64.
        numbers: (any,) int64, the number of the document of each hash.

    Yields:
        The bucket, and (part, hashes, numbers).
    """
    buckets = (hashes % _BUCKETS).astype(int)
    order = np.argsort(buckets, kind="stable")
    borders = np.searchsorted(buckets[order], np.arange(_BUCKETS + 1))
    for bucket in range(_BUCKETS):
        chosen = order[borders[bucket] : borders[bucket + 1]]
        if len(chosen):
            yield bucket, (part, hashes[chosen], numbers[chosen])


def repeated(groups: Iterable[tuple[int, np.ndarray, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """The documents of a bucket whose hash an earlier document has. The order of `groups` is of no effect.

    Yields:
        The part, and the numbers of its repeated documents.
    """
    parts, hashes, numbers = [], [], []
    for owner, some, documents in groups:
        parts.append(np.full(len(some), owner))
        hashes.append(some)
        numbers.append(documents)
    part, value, number = map(np.concatenate, (parts, hashes, numbers))
    order = np.lexsort((number, part, value))
    part, value, number = part[order], value[order], number[order]
    same = np.concatenate([[False], value[1:] == value[:-1]])
    # a document is no duplicate of itself
    itself = np.concatenate([[False], (part[1:] == part[:-1]) & (number[1:] == number[:-1])])
    dropped = same & ~itself
    for one in np.unique(part[dropped]).tolist():
        yield one, np.unique(number[dropped & (part == one)])
