"""Text generation: a decoder continues texts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.evaluation import Evaluation
from keras_plm.models import Decoder
from keras_plm.tasks.columns import Columns
from keras_plm.tasks.registry import register
from keras_plm.tasks.task import Serve, Settings, Task
from keras_plm.text import Completions, OnBadRow, PackedRows
from keras_plm.training import CrossEntropy

from .keras_model import TextGenerator
from .string_graph import generate_function
from .text_methods import TextGeneratorMethods, log_softmax


class TextGenerationTask(Task[TextGeneratorMethods, TextGenerator, Completions]):
    """See `Task`; the examples are `Completions`."""

    name = "text_generation"
    model, methods, examples = TextGenerator, TextGeneratorMethods, Completions
    columns = Columns(text="prompt", label="completion")
    labels_optional = True
    per_token = True
    generates = True
    setting_types = {"end_tokens": list, "chat_template": str | None}
    peft_type = "CAUSAL_LM"

    def read(
        self,
        source: Any,
        columns: Columns,
        on_bad_row: OnBadRow = "error",
        limit: int | None = None,
        model: TextGeneratorMethods | None = None,
    ) -> Completions:
        """Read prompts and completions; without a label column, plain texts."""
        if isinstance(columns.label, str):
            return Completions.read(source, columns.text, columns.label, limit, on_bad_row)
        return Completions.read(source, None, columns.text, limit, on_bad_row)

    def build(self, encoder: Decoder, examples: Completions, end_tokens: Sequence[str] = ()) -> TextGenerator:  # type: ignore[override]
        """A text generator with this decoder."""
        return TextGenerator(encoder.config, encoder.tokenizer, encoder, end_tokens)

    def rows(self, model: TextGenerator, examples: Completions, max_length: int) -> PackedRows:  # type: ignore[override]
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
        if "completion_column" not in record:  # a pre-training on plain texts
            return {"text": record["text_column"], "label": None} if record.get("text_column") else {}
        prompts, completions = record.get("prompt_column"), record["completion_column"]
        return {"text": prompts or completions, "label": completions if prompts else None}

    def evaluate(self, model: TextGeneratorMethods, examples: Completions, batch_size: int = 32) -> Evaluation:
        """Accuracy and perplexity of the tokens of the completions, given the tokens before them.

        Examples that are longer than the model can read are truncated.
        """
        token_ids, counted = _tokens(model, examples)
        token_ids = [ids[: model.longest_row] for ids in token_ids]
        losses, hits = _read(model, token_ids, counted, batch_size)
        total = sum(map(len, losses))
        if not total:
            raise ValueError(f"{examples.source}: no completion has a token that the model can read")
        perplexities = [float(np.exp(row.mean())) if len(row) else 1.0 for row in losses]
        rows: list[dict[str, Any]] = [
            {"wanted": text, "perplexity": round(p, 3)}
            for text, p in zip(examples.completions, perplexities, strict=True)
        ]
        if examples.prompts is not None:
            rows = [{"prompt": prompt} | row for prompt, row in zip(examples.prompts, rows, strict=True)]
        scores = {
            "token_accuracy": float(np.concatenate(hits).mean()),
            "perplexity": float(np.exp(np.concatenate(losses).mean())),
        }
        worst = np.argsort([-p for p in perplexities], kind="stable").tolist()
        return Evaluation(scores, rows, [row for row in worst if not hits[row].all()])

    def lines(
        self, model: TextGeneratorMethods, first: list[str], second: list[str] | None, question: str | None = None
    ) -> Iterator[str]:
        """Each prompt with its greedy continuation, on one line."""
        for prompt, text in zip(first, model.generate(first), strict=True):
            yield f"{prompt}{text}".replace("\n", "\\n")

    def example_command(self, folder: str) -> str:
        """A command that continues a text."""
        return f'keras-plm generate --model {folder} "The"'

    def settings(self, model: Any) -> dict[str, Any]:
        """The end tokens and the chat template."""
        return {"end_tokens": list(model.end_tokens), "chat_template": model.chat_template}

    def output_names(self, settings: Settings) -> list[str]:
        """`logits` (B, T, V)."""
        return ["logits"]

    def to_outputs(self, settings: Settings, outputs: Any) -> dict[str, tf.Tensor]:
        """The logits in float32."""
        return {"logits": tf.cast(outputs, tf.float32)}

    def from_outputs(self, settings: Settings, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """The logits."""
        return arrays["logits"]

    def string_function(
        self, model: TextGenerator, serve: Serve, max_length: int, pairs: bool
    ) -> tuple[Callable, list[str]]:
        """`prompt`, `max_new_tokens`, `temperature` (0 for greedy decoding), `top_p`, `seed` → text, finish reason."""
        return generate_function(model, max_length), ["prompt", *_ARGUMENTS]

    def argument_dtypes(self) -> dict[str, tf.DType]:
        """The dtypes of the generation settings."""
        return dict(_ARGUMENTS)

    def example_strings(self, texts: Sequence[str], pairs: bool) -> dict[str, list]:
        """Some texts as prompts for greedy decoding."""
        settings = {"max_new_tokens": 8, "temperature": 0.0, "top_p": 1.0, "seed": 0}
        return {"prompt": list(texts)} | {name: [value] * len(texts) for name, value in settings.items()}

    def wrong_strings(
        self, model: TextGenerator, given: dict[str, list], found: dict[str, np.ndarray], max_length: int
    ) -> str | None:
        """Check that the greedy texts are those of the model, for prompts that fit."""
        count = given["max_new_tokens"][0]
        sizes = [len(ids) for ids in model.texts_to_ids(given["prompt"])]
        fitting = [row for row, size in enumerate(sizes) if size + count <= max_length]
        wanted = model.generate([given["prompt"][row] for row in fitting], max_new_tokens=count)
        for row, text in zip(fitting, wanted, strict=True):
            if found["text"][row].decode() != text:
                return f"{given['prompt'][row]!r:.60} is continued with {found['text'][row].decode()!r}, not {text!r}"
        return None

    def agreement(self, settings: Settings, found: list[dict], wanted: list[dict]) -> float | None:
        """The fraction of tokens for which both give the same most probable next token."""
        shares = [np.mean(f["logits"].argmax(-1) == w["logits"].argmax(-1)) for f, w in zip(found, wanted, strict=True)]
        return float(np.mean(shares))


_TOKENS_AT_ONCE = 2_048
_ARGUMENTS = {"max_new_tokens": tf.int32, "temperature": tf.float32, "top_p": tf.float32, "seed": tf.int32}


def _tokens(model: TextGeneratorMethods, examples: Completions) -> tuple[list[list[int]], list[list[bool]]]:
    """The token ids of each example, and whether each of them belongs to its completion."""
    end = [model.end_ids[0]] if model.end_ids else []
    if not all(examples.completions):
        raise ValueError(f"{examples.source}: row {examples.completions.index('') + 1} is an empty text")
    if examples.prompts is None:
        token_ids = model.texts_to_ids(examples.completions, ends=True)
        return token_ids, [[True] * len(ids) for ids in token_ids]
    prompts = model.texts_to_ids(examples.prompts)
    # tokenized apart from its prompt, as `generate` reads the prompt
    tokenize = model.needs_tokenizer()
    completions = [ids + end for ids in tokenize(list(examples.completions)).to_list()]
    token_ids = [before + after for before, after in zip(prompts, completions, strict=True)]
    counted = [[False] * len(b) + [True] * len(a) for b, a in zip(prompts, completions, strict=True)]
    return token_ids, counted


def _read(
    model: Any, token_ids: list[list[int]], counted: list[list[bool]], batch_size: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each row, the losses of its counted tokens, and whether each of them is the most probable one."""
    losses, hits = [np.zeros(0)] * len(token_ids), [np.zeros(0, bool)] * len(token_ids)
    order = sorted(range(len(token_ids)), key=lambda row: -len(token_ids[row]))  # the longest rows first
    while order:
        longest = max(len(token_ids[order[0]]), 1)
        # the logits have a number for each token of the vocabulary, so long rows come in small batches
        count = max(1, min(batch_size, _TOKENS_AT_ONCE // longest))
        index, order = order[:count], order[count:]
        ids, mask = (np.zeros((len(index), longest), "int32") for _ in range(2))
        for i, row in enumerate(index):
            ids[i, : len(token_ids[row])], mask[i, : len(token_ids[row])] = token_ids[row], 1
        logits = np.asarray(model.predict_on_batch({"token_ids": ids, "padding_mask": mask}), "float32")
        for i, row in enumerate(index):
            size = len(token_ids[row])
            chosen = np.flatnonzero(counted[row][1:size])
            targets, of_row = ids[i, 1:size][chosen], logits[i, : size - 1][chosen]
            losses[row] = -np.take_along_axis(log_softmax(of_row), targets[:, None], 1)[:, 0]
            hits[row] = of_row.argmax(-1) == targets
    return losses, hits


TEXT_GENERATION = TextGenerationTask()
register(TEXT_GENERATION)
