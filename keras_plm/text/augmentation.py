"""More texts of the same kind, for a teacher to label."""

from collections.abc import Sequence

import numpy as np


def altered(texts: Sequence[str], copies: int, seed: int = 0) -> list[str]:
    """Altered copies of texts: parts of them, texts with words of others, and two halves of different texts.

    Their labels may have changed with them: they are for distillation, where the teacher says what they are.

    Args:
        texts: texts; words are what stands between spaces, or single characters where there is no space.
        copies: of each text.
        seed: of the choices.

    Returns:
        `copies · len(texts)` texts.

    Source: Tang et al. 2019, §3.2, https://arxiv.org/abs/1903.12136
    Differs: words are replaced by random words of the texts, not by [MASK] or by words of the same part of speech,
        which would need a tagger; halves of two texts are joined.
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
