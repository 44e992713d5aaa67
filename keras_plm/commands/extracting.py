"""Select the important sentences of texts."""

import sys

import tyro

from keras_plm.tasks import extract_summaries

from .predicting import open_model


def extract(model: str, texts: tyro.conf.Positional[tuple[str, ...]] = (), num_sentences: int = 3) -> None:
    """Print the most important sentences of each text (an extractive summary), one line for each text.

    Args:
        model: a folder of the recipe summarize-extractive, or an artifact of it.
        texts: texts; without any, lines are read from standard input.
        num_sentences: maximum number of sentences of a summary.
    """
    for summary in extract_summaries(
        open_model(model), list(texts) or [line.rstrip("\n") for line in sys.stdin], num_sentences
    ):
        print(summary)
