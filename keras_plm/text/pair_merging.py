"""Learn tokens by merging frequent pairs: the algorithm that WordPiece and byte-pair vocabularies share."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise


class _PairCounts:
    """How often each pair of neighboring tokens occurs, and in which words."""

    def __init__(self, words: list[list[str]], weights: list[int]) -> None:
        self.words, self.weights = words, weights
        self.counts: Counter[tuple[str, str]] = Counter()
        self.places: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        for index, word in enumerate(words):
            self._add(index, word)

    def _add(self, index: int, word: list[str]) -> None:
        for pair in pairwise(word):
            self.counts[pair] += self.weights[index]
            self.places[pair].add(index)

    def merge(self, pair: tuple[str, str], merged: str) -> set[tuple[str, str]]:
        """Merge the pair in every word; return the pairs whose count changed."""
        changed: set[tuple[str, str]] = set()
        for index in self.places.pop(pair):
            old = self.words[index]
            new = self.words[index] = _merge(old, pair, merged)
            if len(new) < len(old):
                for neighbors in pairwise(old):
                    self.counts[neighbors] -= self.weights[index]
                self._add(index, new)
                changed.update(pairwise(old), pairwise(new))
        return changed


def merged_pairs(
    words: list[list[str]], weights: list[int], min_frequency: int, join: Callable[[str, str], str]
) -> Iterator[tuple[tuple[str, str], str]]:
    """Repeatedly merge the most frequent pair of neighboring tokens; yield each pair with its new token.

    Args:
        words: the tokens of each word; they are changed.
        weights: how often each word occurs.
        min_frequency: minimum number of occurrences of a merged pair.
        join: the new token of a pair. Of several pairs with the same new token, only the first is yielded.

    Source: Sennrich et al. 2016, §3.2, https://arxiv.org/abs/1508.07909
    """
    pairs = _PairCounts(words, weights)
    counts = pairs.counts
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    made: set[str] = set()
    while heap:
        negative, pair = heapq.heappop(heap)
        if -negative != counts[pair]:  # an outdated entry
            continue
        if -negative < min_frequency:
            return
        merged = join(*pair)
        for neighbors in pairs.merge(pair, merged):
            if counts[neighbors] > 0:
                heapq.heappush(heap, (-counts[neighbors], neighbors))
        if merged not in made:
            made.add(merged)
            yield pair, merged


def _merge(word: list[str], pair: tuple[str, str], merged: str) -> list[str]:
    result, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and word[i] == pair[0] and word[i + 1] == pair[1]:
            result.append(merged)
            i += 2
        else:
            result.append(word[i])
            i += 1
    return result
