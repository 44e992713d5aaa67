from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.progress import track

from keras_plm.models import AnyModel, remake, weight_arrays
from keras_plm.text import list_of_texts

_BATCH = 1_024  # texts


def trim_vocabulary(model: AnyModel, texts: Sequence[str], min_count: int = 1, progress: bool = False) -> AnyModel:
    """Reduce the vocabulary and the embedding matrix to the tokens that a corpus needs.

    Three kinds of tokens are kept: special tokens, tokens that occur in the texts, and single characters (of the texts
    and of a keyboard). With the characters, an unseen word can still be spelled. With `min_count=1`, the model's
    answers to the given texts do not change. In a small model, most weights are in the embedding matrix: 7.8 M of
    BERT-Mini's 11.2 M.

    Args:
        model: an `Encoder` or a task model, with its tokenizer.
        texts: many texts similar to the texts in production; for pairs, both parts. If names are important, a training
            file may be too small: 1,100 sentences cost a tagger of Wikipedia 14 points (docs/log).
        min_count: leave out rarer tokens; their words are split into smaller tokens.
        progress: show a progress bar.

    Returns:
        A model of the same kind with the smaller tokenizer.

    Raises:
        ValueError: there is no tokenizer or no text, `texts` is a single text or a table, or `min_count` is below 1.

    Example:
        >>> small = trim_vocabulary(reviews, texts)  # doctest: +SKIP

    Source: Abdaoui et al. 2020, §3, https://arxiv.org/abs/2010.05609
    Differs: characters are kept; tokens are chosen by their count, not by the fraction of texts in which they occur.
    """
    if model.tokenizer is None:
        raise ValueError("the model has no tokenizer, so its vocabulary cannot be trimmed")
    texts = list_of_texts(texts, "texts")
    if min_count < 1:
        raise ValueError(f"min_count={min_count}; it must be at least 1")
    tokenizer = model.tokenizer
    counts = np.zeros(len(tokenizer), np.int64)
    for start in track(range(0, len(texts), _BATCH), "counting tokens", disable=not progress):
        counts += np.bincount(tokenizer(texts[start : start + _BATCH]).flat_values, minlength=len(tokenizer))
    if not counts.any():
        raise ValueError("no text has a token, so every token would be left out")
    kept = tokenizer.needed(counts, min_count)

    there = weight_arrays(model)

    def weight_of(path: str) -> np.ndarray:
        # the first axis is tokens, in the embedding matrix and in the bias of the masked-token head
        return there[path][kept] if path in ("embedding/tokens", "masked_tokens/bias") else there[path]

    config = replace(model.config, vocabulary_size=len(kept))
    return remake(model, weight_of, config, tokenizer=tokenizer.subset(kept))
