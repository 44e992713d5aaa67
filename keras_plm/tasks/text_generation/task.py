"""Text generation: a decoder continues texts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_plm.evaluation import Evaluation
from keras_plm.models import Decoder
from keras_plm.tasks.columns import Columns
from keras_plm.tasks.generating_task import TOKENS_AT_ONCE, GeneratingTask, TokenScores
from keras_plm.tasks.generation_graph import ARGUMENTS
from keras_plm.tasks.registry import register
from keras_plm.tasks.task import Serve
from keras_plm.text import Completions, Conversations, OnBadRow, PackedRows
from keras_plm.training import CrossEntropy

from .keras_model import TextGenerator
from .string_graph import generate_function
from .text_methods import TextGeneratorMethods


class TextGenerationTask(GeneratingTask[TextGeneratorMethods, TextGenerator]):
    """See `GeneratingTask`."""

    name = "text_generation"
    model, methods = TextGenerator, TextGeneratorMethods
    examples = Completions | Conversations
    columns = Columns(text="prompt", label="completion")
    labels_optional = True
    prompt_argument = "prompt"
    setting_types = {"end_tokens": list, "chat_template": str | None}
    peft_type = "CAUSAL_LM"

    def read(  # type: ignore[override]
        self,
        source: Any,
        columns: Columns,
        on_bad_row: OnBadRow = "error",
        limit: int | None = None,
        model: TextGeneratorMethods | None = None,
    ) -> Completions | Conversations:
        """Read prompts and completions; without a label column, plain texts or conversations."""
        if columns.label is None and Conversations.has(source, columns.text):
            return Conversations.read(source, columns.text, limit, on_bad_row)
        if isinstance(columns.label, str):
            return Completions.read(source, columns.text, columns.label, limit, on_bad_row)
        return Completions.read(source, None, columns.text, limit, on_bad_row)

    def build(
        self, encoder: Decoder, examples: Completions | Conversations, end_tokens: Sequence[str] = ()
    ) -> TextGenerator:  # type: ignore[override]
        """A text generator with this decoder."""
        return TextGenerator(encoder.config, encoder.tokenizer, encoder, end_tokens)

    def rows(self, model: TextGenerator, examples: Completions | Conversations, max_length: int) -> PackedRows:  # type: ignore[override]
        """Prompts with their completions, or plain texts, several per row. Only completions count in the loss.

        Args:
            model: the model; its tokenizer is used.
            examples: prompts and completions, or plain texts.
            max_length: length of a row in tokens; longer examples are truncated.
        """
        token_ids, counted = _tokens(model, examples)
        return PackedRows(token_ids, counted, max_length)

    def loss(self, model: TextGenerator) -> Any:
        """Cross-entropy of the next token."""
        return CrossEntropy()

    def recorded_columns(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of prompts and completions, or of plain texts."""
        if "messages_column" in record:
            return {"text": record["messages_column"], "label": None}
        if "completion_column" not in record:  # a pre-training on plain texts
            return {"text": record["text_column"], "label": None} if record.get("text_column") else {}
        prompts, completions = record.get("prompt_column"), record["completion_column"]
        return {"text": prompts or completions, "label": completions if prompts else None}

    def evaluate(
        self, model: TextGeneratorMethods, examples: Completions | Conversations, batch_size: int = 32
    ) -> Evaluation:
        """Accuracy and perplexity of the tokens of the completions, given the tokens before them.

        Examples that are longer than the model can read are truncated.
        """
        token_ids, counted = _tokens(model, examples)
        token_ids = [ids[: model.longest_row] for ids in token_ids]
        if not sum(map(sum, (row[1 : len(ids)] for row, ids in zip(counted, token_ids, strict=True)))):
            raise ValueError(f"{examples.source}: no completion has a token that the model can read")
        scores = _scores(model, token_ids, counted, batch_size)
        if isinstance(examples, Conversations):
            return scores.evaluation([{"wanted": text} for text in examples.last_replies])
        rows: list[dict[str, Any]] = [{"wanted": text} for text in examples.completions]
        if examples.prompts is not None:
            rows = [{"prompt": prompt} | row for prompt, row in zip(examples.prompts, rows, strict=True)]
        return scores.evaluation(rows)

    def lines(
        self, model: TextGeneratorMethods, first: list[str], second: list[str] | None, question: str | None = None
    ) -> Iterator[str]:
        """Each prompt with its greedy continuation, on one line."""
        for prompt, text in zip(first, model.generate(first), strict=True):
            yield f"{prompt}{text}".replace("\n", "\\n")

    def example_command(self, folder: str) -> str:
        """A command that continues a text."""
        return f'keras-plm generate --model {folder} "The"'

    def string_function(
        self, model: TextGenerator, serve: Serve, max_length: int, pairs: bool
    ) -> tuple[Callable, list[str]]:
        """`prompt`, `max_new_tokens`, `temperature` (0 for greedy decoding), `top_p`, `seed` → text, finish reason."""
        return generate_function(model, max_length), [self.prompt_argument, *ARGUMENTS]

    def fits(self, model: TextGenerator, prompt: str, max_new_tokens: int, max_length: int) -> bool:
        """Whether an artifact with this longest row reads a prompt whole and has room for the new tokens."""
        (token_ids,) = model.texts_to_ids([prompt])
        return len(token_ids) + max_new_tokens <= max_length


def _tokens(
    model: TextGeneratorMethods, examples: Completions | Conversations
) -> tuple[list[list[int]], list[list[bool]]]:
    """The token ids of each example, and whether each of them belongs to its completion, or to a reply."""
    if isinstance(examples, Conversations):
        found = [model.conversation_ids(messages) for messages in examples.conversations]
        return [ids for ids, _ in found], [counted for _, counted in found]
    end = [model.end_ids[0]] if model.end_ids else []
    if not all(examples.completions):
        raise ValueError(f"{examples.source}: row {examples.completions.index('') + 1} is an empty text")
    if examples.prompts is None:
        token_ids = model.texts_to_ids(examples.completions, ends=True)
        return token_ids, [[True] * len(ids) for ids in token_ids]
    prompts = model.texts_to_ids(examples.prompts)
    # tokenized apart from its prompt, as `generate` reads the prompt
    completions = [ids + end for ids in model.continuation_ids(examples.completions)]
    token_ids = [before + after for before, after in zip(prompts, completions, strict=True)]
    counted = [[False] * len(b) + [True] * len(a) for b, a in zip(prompts, completions, strict=True)]
    return token_ids, counted


def _scores(model: Any, token_ids: list[list[int]], counted: list[list[bool]], batch_size: int) -> TokenScores:
    """The scores of the counted tokens of each row."""
    scores = TokenScores(len(token_ids))
    order = sorted(range(len(token_ids)), key=lambda row: -len(token_ids[row]))  # the longest rows first
    while order:
        longest = max(len(token_ids[order[0]]), 1)
        count = max(1, min(batch_size, TOKENS_AT_ONCE // longest))
        index, order = order[:count], order[count:]
        ids, mask = (np.zeros((len(index), longest), "int32") for _ in range(2))
        for i, row in enumerate(index):
            ids[i, : len(token_ids[row])], mask[i, : len(token_ids[row])] = token_ids[row], 1
        logits = np.asarray(model.predict_on_batch({"token_ids": ids, "padding_mask": mask}), "float32")
        for i, row in enumerate(index):
            size = len(token_ids[row])
            chosen = np.flatnonzero(counted[row][1:size])
            scores.add(row, logits[i, : size - 1][chosen], ids[i, 1:size][chosen])
    return scores


TEXT_GENERATION = TextGenerationTask()
register(TEXT_GENERATION)
