"""Data augmentation: more texts of the same kind, to be labeled by a teacher."""

from collections.abc import Sequence

import numpy as np


def altered(texts: Sequence[str], copies: int, seed: int = 0) -> list[str]:
    """Altered copies of texts: parts of a text, texts with some words replaced, and joined parts of two texts.

    An altered text may have another label. These texts are for knowledge distillation, in which the teacher labels
    them.

    Args:
        texts: texts. Words are separated by spaces; in a text without spaces each character is a word.
        copies: number of copies of each text.
        seed: random seed.

    Returns:
        `copies · len(texts)` texts.

    Source: Tang et al. 2019, §3.2, https://arxiv.org/abs/1903.12136
    Differs: words are replaced by random words of the texts. The paper uses [MASK] or words with the same part of
        speech, which would need a tagger. Parts of two texts are joined.
    """
    random = np.random.default_rng(seed)
    split = [(text.split(), " ") if " " in text.strip() else (list(text.strip()), "") for text in texts]
    words = np.array([word for row, _ in split for word in row], dtype=object)

    def part(row: list[str], least: float) -> list[str]:
        length = max(int(len(row) * random.uniform(least, 1)), min(2, len(row)))
        start = random.integers(len(row) - length + 1)
        return row[start : start + length]

    def alter(row: list[str], way: int) -> list[str]:
        if way == 0:
            return part(row, 0.2)
        if way == 1:
            return [random.choice(words) if random.random() < 0.2 else word for word in row]
        return part(row, 0.3) + part(split[random.integers(len(split))][0], 0.3)

    return [space.join(alter(row, copy % 3)) for copy in range(copies) for row, space in split]
