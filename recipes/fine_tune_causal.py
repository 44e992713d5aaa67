"""A pre-trained decoder and a table of prompts with completions, or of plain texts → a decoder that writes like them.

Input    TSV, CSV or JSONL files with a column of prompts and a column of completions; or with a column of texts
Output   a folder with a TextGenerator, its tokenizer, recipe, history, card, predictions and errors
Command  keras-plm fine-tune-causal --start-from saved_models/writer --train pairs.jsonl --save-to saved_models/chat
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from keras_plm.config import Adaptation, DecoderConfig
from keras_plm.tasks import TEXT_GENERATION, Columns, Task, TextGenerator

from .checks import check_no_encoder_settings
from .fine_tune import FineTune
from .starting_model import restarted


@dataclass(frozen=True, kw_only=True)
class FineTuneCausal(FineTune[TextGenerator]):
    r"""Fine-tune a decoder on prompts with completions (instruction tuning), or on plain texts.

    The loss counts only the completions. Each ends with the token that ends texts. Short examples share a row, but do
    not see each other.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: there is no model at `start_from`, or a pattern matches no file.
        ValueError: a column is missing, a text is empty, or `start_from` is not a `TextGenerator`.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> assistant = FineTuneCausal(  # doctest: +SKIP
        ...     start_from="saved_models/writer", train="pairs.jsonl", trainable="lora:8",
        ...     save_to="saved_models/assistant",
        ... ).run()
        >>> assistant.generate(["Question: What is the capital of France?\nAnswer:"])  # doctest: +SKIP
        [' Paris.']

    Source: Ouyang et al. 2022, §3.1, https://arxiv.org/abs/2203.02155; LoRA: Hu et al. 2022,
        https://arxiv.org/abs/2106.09685
    """

    task: ClassVar[Task] = TEXT_GENERATION
    config_class: ClassVar[Any] = DecoderConfig

    prompt_column: str | None = "prompt"  # column of the prompts; None if the texts have no prompts
    completion_column: str = "completion"  # column of the completions, or of plain texts
    max_length: int = 256  # row length in tokens; longer examples are truncated

    def __post_init__(self) -> None:
        super().__post_init__()
        check_no_encoder_settings(self)

    @property
    def columns(self) -> Columns:
        """The fields whose names end in `_column`."""
        if self.prompt_column is None:
            return Columns(text=self.completion_column, label=None)
        return Columns(text=self.prompt_column, label=self.completion_column)

    def start(self, pretrained: Any, adaptation: Adaptation, examples: Any) -> TextGenerator:
        """The pre-trained text generator, with the dropout and the adaptation of this recipe."""
        return restarted(self, pretrained, adaptation)
