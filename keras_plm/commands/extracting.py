"""Select the important sentences of texts."""

import sys

import tyro

from keras_plm.tasks import ClassifierMethods, extract_summaries

from .predicting import open_model


def extract(model: str, texts: tyro.conf.Positional[tuple[str, ...]] = (), num_sentences: int = 3) -> None:
    """Print the most important sentences of each text (an extractive summary), one line for each text.

    Args:
        model: a folder of the recipe summarize-extractive, or an artifact of it.
        texts: texts; without any, lines are read from standard input.
        num_sentences: maximum number of sentences of a summary.
    """
    opened = open_model(model)
    if not isinstance(opened, ClassifierMethods):
        raise ValueError(f"{model} is a {type(opened).__name__}; give a model of summarize-extractive")
    for summary in extract_summaries(opened, list(texts) or [line.rstrip("\n") for line in sys.stdin], num_sentences):
        print(summary)
