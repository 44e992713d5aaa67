"""The settings and steps that `Translate` and `Summarize` share."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from keras_plm.config import ENCODER_DECODER_SIZES, TRANSFORMER_TINY, Adaptation, EncoderDecoderConfig
from keras_plm.evaluation import Evaluation
from keras_plm.evaluation.text_scores import needs_text_scores
from keras_plm.tasks import SEQ2SEQ, Columns, Seq2Seq, Task
from keras_plm.text import Completions, learn_sentence_pieces

from .checks import check_no_encoder_settings
from .console import print_samples
from .fine_tune import FineTune
from .recipe import named_size
from .starting_model import restarted


@dataclass(frozen=True, kw_only=True)
class TextToText(FineTune[Seq2Seq]):
    """Train an encoder-decoder on sources and targets: from scratch, or from a pre-trained one."""

    task: ClassVar[Task] = SEQ2SEQ
    config_class: ClassVar[Any] = EncoderDecoderConfig

    # model to start from: a folder, or "hf:" and a Hugging Face folder or repository; None trains from scratch
    start_from: str | None = None  # type: ignore[assignment]
    source_column: str = "source"  # column of the texts that the model reads
    target_column: str = "target"  # column of the texts that the model writes
    # sizes of a new model, such as plm.TRANSFORMER_TINY; on the command line a name, or a JSON file of fields
    config: Annotated[EncoderDecoderConfig, named_size(ENCODER_DECODER_SIZES)] = TRANSFORMER_TINY
    vocabulary_size: int | None = None  # number of SentencePiece tokens to learn; None takes it from the config
    label_smoothing: float = 0.1  # probability that the loss distributes over all tokens

    def __post_init__(self) -> None:
        super().__post_init__()
        check_no_encoder_settings(self)
        needs_text_scores()  # before the training, not after it
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing}; it must be in [0, 1)")
        if self.source_column == self.target_column:
            raise ValueError(f"source_column and target_column are both {self.source_column!r}")
        if self.layer_decay != 1 or self.gradual_unfreezing or self.trainable.startswith(("last", "head")):
            raise ValueError(
                "layer_decay, gradual_unfreezing, trainable='head' and 'last:K' are for models with one stack of blocks"
            )
        if self.start_from is None and self.trainable != "all":
            raise ValueError(f"trainable={self.trainable!r} needs a model of start_from")
        if self.start_from is not None and (self.vocabulary_size is not None or self.config != TRANSFORMER_TINY):
            raise ValueError(
                "the model of start_from has its own sizes and vocabulary: leave out config and vocabulary_size"
            )

    @property
    def columns(self) -> Columns:
        """The fields whose names end in `_column`."""
        return Columns(text=self.source_column, label=self.target_column)

    def begin(self, examples: Completions) -> Seq2Seq:
        """The model of `start_from`, or a new one with tokens that are learned from sources and targets."""
        if self.start_from is not None:
            return super().begin(examples)
        texts = [*(examples.prompts or []), *examples.completions]
        tokenizer = learn_sentence_pieces(texts, self.vocabulary_size or self.config.vocabulary_size)
        config = dataclasses.replace(
            self.config,
            vocabulary_size=len(tokenizer),
            dropout=self.dropout,
            attention_dropout=self.dropout,
            max_sequence_length=self.max_length,
        )
        return Seq2Seq(config, tokenizer)

    def start(self, pretrained: Any, adaptation: Adaptation, examples: Completions) -> Seq2Seq:
        """The pre-trained model, with the dropout and the adaptation of this recipe."""
        return restarted(self, pretrained, adaptation)

    def evaluate(self, model: Seq2Seq, examples: Completions) -> Evaluation:
        """Score the greedy texts, and print the first ones."""
        found = super().evaluate(model, examples)
        if self.verbose:
            print_samples([(row["source"], row["found"], row["wanted"]) for row in found.rows])
        return found

    def loss(self, model: Seq2Seq) -> Any:
        """Cross-entropy with label smoothing."""
        return SEQ2SEQ.loss(model, self.label_smoothing)
