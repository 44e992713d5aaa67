"""A table of sentences with their translations → a translator, from scratch or from a pre-trained encoder-decoder.

Input    TSV, CSV or JSONL files with a column of sentences and a column of translations
Output   a folder with a Seq2Seq, its tokenizer, recipe, history, card, predictions and errors
Command  keras-plm translate --train train.tsv --source-column en --target-column de --save-to saved_models/en_de
"""

from dataclasses import dataclass

from .text_to_text import TextToText


@dataclass(frozen=True, kw_only=True)
class Translate(TextToText):
    """Train a translator: the Transformer of Vaswani et al. from scratch, or T5, BART or Marian.

    Without `start_from`, one SentencePiece vocabulary is learned from both languages. The scores on held-out data are
    those of greedy translations; `num_beams=4` is often one BLEU point better.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: there is no model at `start_from`, or a pattern matches no file.
        ImportError: the extra `text-scores` is not installed.
        ValueError: a column is missing, a text is empty, or `start_from` is not a `Seq2Seq`.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> translator = Translate(  # doctest: +SKIP
        ...     train="train.tsv", validation="dev.tsv", source_column="en", target_column="de", epochs=30,
        ...     save_to="saved_models/en_de",
        ... ).run()
        >>> translator.generate(["A man rides a bike."], num_beams=4)  # doctest: +SKIP
        ['Ein Mann fährt Fahrrad.']

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
    Differs: normalization before each sublayer, a linear decay of the learning rate, and an exponential moving average
        of the weights (`ema_momentum`) instead of the average of the last checkpoints.
    """

    learning_rate: float = 2e-3  # peak learning rate, after the warm-up; for a pre-trained model, try 1e-4
    epochs: int = 30  # passes over the training examples
    batch_size: int = 128  # mean number of pairs in a batch; batches have about the same number of tokens
