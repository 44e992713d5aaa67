from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.progress import track

from keras_plm.models import AnyModel, remake, weight_arrays
from keras_plm.text import list_of_texts

_BATCH = 1_024  # texts


def trim_vocabulary(model: AnyModel, texts: Sequence[str], min_count: int = 1, progress: bool = False) -> AnyModel:
    """The model with only those tokens in its vocabulary, and in its embedding matrix, that a corpus needs.

    Kept are the special tokens, the tokens that occur in the texts, and single characters (all those of the texts and
    of the keyboard), so that a word never seen is still spelled. On the texts themselves, with `min_count=1`, the model
    answers exactly as before. Of a small model most weights are in that matrix: of BERT-Mini's 11.2 M, 7.8 M.

    Args:
        model: an `Encoder` or a task model, with its tokenizer.
        texts: like those that it will see, and many of them; of pairs both parts. Where names count a training file may
            be too small: going by its 1,100 sentences cost a tagger of Wikipedia 14 points (docs/log).
        min_count: leave out rarer tokens; their words are cut into smaller ones.
        progress: show a progress bar.

    Returns:
        A model of the same kind with the smaller tokenizer.

    Raises:
        ValueError: no tokenizer, no texts, a single one or a table in place of a list, or `min_count` below 1.

    Example:
        >>> small = trim_vocabulary(reviews, texts)  # doctest: +SKIP

    Source: Abdaoui et al. 2020, §3, https://arxiv.org/abs/2010.05609
    Differs: characters are kept, and tokens go by their number, not by the share of texts they occur in.
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
        raise ValueError("there is no text to go by: every token would be left out")
    kept = tokenizer.needed(counts, min_count)

    there = weight_arrays(model)

    def weight_of(path: str) -> np.ndarray:
        # the axis of tokens is the first one, in the embedding matrix and in the bias of a head that predicts tokens
        return there[path][kept] if path in ("embedding/tokens", "masked_tokens/bias") else there[path]

    config = replace(model.config, vocabulary_size=len(kept))
    return remake(model, weight_of, config, tokenizer=tokenizer.subset(kept))
