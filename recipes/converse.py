"""A pre-trained decoder and a table of conversations → an assistant.

Input    JSONL files with a column of messages, as for OpenAI's fine-tuning; or of texts, in which speakers take turns
Output   a folder with a TextGenerator, its tokenizer and chat template, recipe, history, card, predictions and errors
Command  keras-plm converse --start-from saved_models/writer --train chats.jsonl --save-to saved_models/assistant
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from keras_plm.config import Adaptation, DecoderConfig
from keras_plm.evaluation import Evaluation
from keras_plm.evaluation.text_scores import distinct
from keras_plm.generation.chat import PLAIN_TEMPLATE
from keras_plm.tasks import TEXT_GENERATION, Columns, Task, TextGenerator
from keras_plm.text import Conversations
from keras_plm.text.readers.conversations import last_reply

from .checks import check_no_encoder_settings
from .console import print_samples
from .fine_tune import FineTune
from .starting_model import restarted

_WRITTEN = 32  # conversations whose last reply is written in an evaluation
_LONGEST_REPLY = 64  # tokens


@dataclass(frozen=True, kw_only=True)
class Converse(FineTune[TextGenerator]):
    """Fine-tune a decoder on conversations. The loss counts only the replies of the assistant.

    The conversations are rendered with the chat template of the model. A model without one gets a plain template:
    lines that begin with the role. Short conversations share a row, but do not see each other.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: there is no model at `start_from`, or a pattern matches no file.
        ImportError: the extra `chat` is not installed.
        ValueError: a column is missing, a conversation has no reply, the template cannot render it, or `start_from` is
            not a `TextGenerator`.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> assistant = Converse(  # doctest: +SKIP
        ...     start_from="saved_models/writer", train="chats.jsonl", save_to="saved_models/assistant"
        ... ).run()
        >>> assistant.chat([{"role": "user", "content": "Hello"}])  # doctest: +SKIP
        'Hello, how can I help you?'

    Source: Ouyang et al. 2022, §3.1, https://arxiv.org/abs/2203.02155
    """

    task: ClassVar[Task] = TEXT_GENERATION
    config_class: ClassVar[Any] = DecoderConfig

    messages_column: str = "messages"  # column of the conversations: lists of messages, or of texts in turns
    max_length: int = 512  # row length in tokens; longer conversations are truncated

    def __post_init__(self) -> None:
        super().__post_init__()
        check_no_encoder_settings(self)

    @property
    def columns(self) -> Columns:
        """The field `messages_column`."""
        return Columns(text=self.messages_column, label=None)

    def read(self, source: Any) -> Conversations:
        """Read the conversations of a table."""
        return Conversations.read(source, self.messages_column, on_bad_row=self.on_bad_row)

    def evaluate(self, model: TextGenerator, examples: Conversations) -> Evaluation:
        """Perplexity of the replies; and the variety of greedy last replies of the first conversations that fit."""
        found = super().evaluate(model, examples)
        contexts = [messages[: last_reply(messages)] for messages in examples.conversations[:_WRITTEN]]
        prompts = [model.chat_prompt(context) for context in contexts]
        room = min(_LONGEST_REPLY, model.longest_row // 2)
        lengths = map(len, model.texts_to_ids(prompts))
        # a reply that begins its conversation answers nothing
        fitting = [row for row, n in enumerate(lengths) if contexts[row] and n + room <= model.longest_row]
        if not fitting:
            return found
        written = model.generate([prompts[row] for row in fitting], max_new_tokens=room)
        rows = list(found.rows)
        for row, text in zip(fitting, written, strict=True):
            rows[row] = rows[row] | {"found": text}
        if self.verbose:
            print_samples([(contexts[n][-1]["content"], rows[n]["found"], rows[n]["wanted"]) for n in fitting])
        scores = {f"distinct_{size}": distinct(written, size) for size in (1, 2)}
        return replace(found, scores=found.scores | scores, rows=rows)

    def start(self, pretrained: Any, adaptation: Adaptation, examples: Any) -> TextGenerator:
        """The pre-trained text generator, with the dropout and the adaptation of this recipe."""
        model = restarted(self, pretrained, adaptation)
        if model.chat_template is None:
            model.chat_template = PLAIN_TEMPLATE
        return model
