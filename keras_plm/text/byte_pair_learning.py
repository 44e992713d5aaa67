from collections import Counter
from collections.abc import Iterable
from itertools import islice

import tensorflow as tf
from rich.progress import track

from .byte_pair import BYTE_CHARACTERS, BytePairTokenizer
from .byte_pair_words import WordRule, split_words
from .pair_merging import merged_pairs
from .template import SpecialTokens, Template

END_OF_TEXT = "<|endoftext|>"


def learn_byte_pairs(
    texts: Iterable[str], size: int = 16_384, words: WordRule = "gpt2", min_frequency: int = 2, progress: bool = False
) -> BytePairTokenizer:
    """Learn a byte-level byte-pair tokenizer with at most `size` tokens, for a decoder.

    The vocabulary has the 256 bytes, the merges, most frequent first, and `<|endoftext|>`, which begins and ends texts.

    Args:
        texts: texts to learn from.
        size: maximum number of tokens.
        words: the rule that splits a text into words; no token crosses the end of a word.
        min_frequency: minimum number of occurrences of a merged pair.
        progress: show a progress bar.

    Raises:
        ValueError: `texts` has no word, or `size` is smaller than the 256 bytes and the end token.

    Example:
        >>> learn_byte_pairs(["low lower lowest"] * 3, size=261).merges
        ['l o', 'lo w', 'low e', 'Ġ lowe']

    Source: Radford et al. 2019, §2.2; Sennrich et al. 2016, §3.2, https://arxiv.org/abs/1508.07909
    """
    least = len(BYTE_CHARACTERS) + 1
    if size < least:
        raise ValueError(f"size={size}; the 256 bytes and {END_OF_TEXT} are {least} tokens")
    counts = count_byte_words(texts, words)
    if not counts:
        raise ValueError("the corpus is empty: no word to learn a vocabulary from")
    # in a fixed order, so that pairs with equal counts are merged in the same order everywhere
    ordered = sorted(counts)
    spelled = [[BYTE_CHARACTERS[byte] for byte in word] for word in ordered]
    found = merged_pairs(spelled, [counts[word] for word in ordered], min_frequency, lambda left, right: left + right)
    pairs: Iterable = islice(found, size - least)
    if progress:
        pairs = track(pairs, "learning the vocabulary", total=size - least)
    merges, tokens = [], list(BYTE_CHARACTERS)
    for (left, right), merged in pairs:
        merges.append(f"{left} {right}")
        tokens.append(merged)
    special = SpecialTokens(pad=None, unk=None, cls=None, sep=None, mask=None, bos=END_OF_TEXT, eos=END_OF_TEXT)
    return BytePairTokenizer([*tokens, END_OF_TEXT], merges, special, template=Template("A", None), words=words)


def count_byte_words(texts: Iterable[str], words: WordRule = "gpt2") -> Counter[bytes]:
    """How often each word of up to 100 bytes occurs, with the white space that belongs to it."""
    counts: Counter[bytes] = Counter()
    iterator = iter(texts)
    while batch := list(islice(iterator, 1_000)):
        counts.update(split_words(tf.constant(batch), words).flat_values.numpy().tolist())
    return Counter({word: count for word, count in counts.items() if len(word) <= 100})
