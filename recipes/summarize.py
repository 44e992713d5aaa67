"""A table of texts with their summaries → a summarizer, from a pre-trained encoder-decoder.

Input    TSV, CSV or JSONL files with a column of texts and a column of summaries
Output   a folder with a Seq2Seq, its tokenizer, recipe, history, card, predictions and errors
Command  keras-plm summarize --start-from hf:path/to/flan-t5-small --train train.tsv --save-to saved_models/summarizer
"""

from dataclasses import dataclass

from .text_to_text import TextToText


@dataclass(frozen=True, kw_only=True)
class Summarize(TextToText):
    """Train an encoder-decoder to write summaries (abstractive summarization).

    Texts above `max_length` lose their end. Their number is printed before the training.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: there is no model at `start_from`, or a pattern matches no file.
        ImportError: the extra `text-scores` is not installed.
        ValueError: a column is missing, a text is empty, or `start_from` is not a `Seq2Seq`.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> summarizer = Summarize(  # doctest: +SKIP
        ...     start_from="hf:path/to/flan-t5-small", train="train.jsonl", save_to="saved_models/summarizer",
        ... ).run()

    Source: Lewis et al. 2020, §4.2, https://arxiv.org/abs/1910.13461; Raffel et al. 2020, §2.4,
        https://arxiv.org/abs/1910.10683
    """

    source_column: str = "text"  # column of the texts
    target_column: str = "summary"  # column of the summaries
    learning_rate: float = 1e-4  # peak learning rate, after the warm-up; for a new model, try 2e-3
    batch_size: int = 16  # mean number of texts in a batch; batches have about the same number of tokens
    max_length: int = 512  # longest text and longest summary in tokens; longer ones are truncated and counted
