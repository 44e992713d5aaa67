"""The task of encoder-decoders: a text becomes another text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from keras_plm.evaluation import Evaluation
from keras_plm.evaluation.text_scores import needs_text_scores, text_scores
from keras_plm.generation import GenerationSettings
from keras_plm.models import EncoderDecoder
from keras_plm.tasks.columns import Columns
from keras_plm.tasks.generating_task import TOKENS_AT_ONCE, GeneratingTask, TokenScores
from keras_plm.tasks.generation_graph import ARGUMENTS
from keras_plm.tasks.registry import register
from keras_plm.tasks.task import Serve
from keras_plm.text import Completions, OnBadRow, SourceTargetRows
from keras_plm.training import CrossEntropy

from .keras_model import Seq2Seq
from .string_graph import generate_function
from .text_methods import Seq2SeqMethods


class Seq2SeqTask(GeneratingTask[Seq2SeqMethods, Seq2Seq]):
    """See `GeneratingTask`. The prompts of the examples are the sources, and the completions are the targets."""

    name = "seq2seq"
    model, methods = Seq2Seq, Seq2SeqMethods
    columns = Columns(text="source", label="target")
    prompt_argument = "source"
    setting_types = {"start_tokens": list, "end_tokens": list}
    peft_type = "SEQ_2_SEQ_LM"

    def read(
        self,
        source: Any,
        columns: Columns,
        on_bad_row: OnBadRow = "error",
        limit: int | None = None,
        model: Seq2SeqMethods | None = None,
    ) -> Completions:
        """Read sources and targets."""
        if not isinstance(columns.label, str):
            raise ValueError("an encoder-decoder needs the column of the targets")
        return Completions.read(source, columns.text, columns.label, limit, on_bad_row)

    def build(
        self,
        encoder: EncoderDecoder,  # type: ignore[override]
        examples: Completions,
        start_tokens: Sequence[str] | None = None,
        end_tokens: Sequence[str] = (),
    ) -> Seq2Seq:
        """A model with this encoder-decoder."""
        return Seq2Seq(encoder.config, encoder.tokenizer, encoder, start_tokens, end_tokens)

    def rows(self, model: Seq2SeqMethods, examples: Completions, max_length: int) -> SourceTargetRows:  # type: ignore[override]
        """Sources with their targets.

        Args:
            model: the model; its tokenizer is used.
            examples: sources and targets.
            max_length: maximum number of tokens of a source and of a target; longer texts are truncated.
        """
        if examples.prompts is None:
            raise ValueError(f"{examples.source}: an encoder-decoder needs sources and targets, not plain texts")
        if not all(examples.completions):
            raise ValueError(f"{examples.source}: the target of row {examples.completions.index('') + 1} is empty")
        whole = model.source_ids(examples.prompts)
        sources = model.source_ids(examples.prompts, max_length)
        targets = [ids + model.end_ids[:1] for ids in model.needs_tokenizer()(examples.completions).to_list()]
        return SourceTargetRows(sources, targets, model.start_ids, max_length, [len(ids) for ids in whole])

    def loss(self, model: Seq2Seq, label_smoothing: float = 0.0) -> Any:  # type: ignore[override]
        """Cross-entropy of the next token."""
        return CrossEntropy(label_smoothing=label_smoothing)

    def recorded_columns(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of sources and targets."""
        found = {"text": record.get("source_column"), "label": record.get("target_column")}
        return {name: column for name, column in found.items() if column is not None}

    def evaluate(self, model: Seq2SeqMethods, examples: Completions, batch_size: int = 32) -> Evaluation:
        """The scores of greedy texts beside the targets (`text_scores`).

        Also the accuracy and perplexity of the tokens of the targets, given the sources and the tokens before them.
        Texts that are longer than the model can read are truncated.
        """
        needs_text_scores()
        rows = self.rows(model, examples, model.longest_row)
        scores, longest = TokenScores(len(rows)), int(rows.lengths.max(initial=1))
        dataset, order = rows.evaluation_dataset(max(1, min(batch_size, TOKENS_AT_ONCE // longest)))
        for (inputs, targets, weights), index in zip(dataset, order, strict=True):
            logits = np.asarray(model.predict_on_batch({n: np.asarray(v) for n, v in inputs.items()}), "float32")
            for row, of_row, wanted, counted in zip(index, logits, targets.numpy(), weights.numpy() > 0, strict=True):
                scores.add(row, of_row[counted], wanted[counted])
        written = self._written(model, rows, examples, batch_size)
        texts = zip(examples.prompts or [], examples.completions, written, strict=True)
        found = scores.evaluation([{"source": s, "wanted": w, "found": f} for s, w, f in texts])
        return replace(found, scores=text_scores(written, examples.completions) | found.scores)

    def _written(
        self, model: Seq2SeqMethods, rows: SourceTargetRows, examples: Completions, batch_size: int
    ) -> list[str]:
        """The greedy text for each source. Sources of similar length share a batch."""
        longest = int(rows.written.max(initial=1))
        settings = GenerationSettings(max_new_tokens=min(2 * longest, model.longest_row - len(model.start_ids)))
        order = np.argsort(-rows.num_tokens, kind="stable")
        sources = [_shortened(model, (examples.prompts or [])[row]) for row in order]
        found = dict(zip(order.tolist(), model.generate(sources, settings, batch_size), strict=True))
        return [found[row] for row in range(len(rows))]

    def lines(
        self, model: Seq2SeqMethods, first: list[str], second: list[str] | None, question: str | None = None
    ) -> Iterator[str]:
        """The greedy text for each text, on one line."""
        for text in model.generate(first):
            yield text.replace("\n", "\\n")

    def example_command(self, folder: str) -> str:
        """A command that writes a text for a text."""
        return f'keras-plm generate --model {folder} "a text"'

    def string_function(self, model: Seq2Seq, serve: Serve, max_length: int, pairs: bool) -> tuple[Callable, list[str]]:
        """`source` and the generation settings (see `GraphSettings`) → text, finish reason."""
        return generate_function(model, max_length), [self.prompt_argument, *ARGUMENTS]

    def fits(self, model: Seq2Seq, prompt: str, max_new_tokens: int, max_length: int) -> bool:
        """Whether an artifact with this longest row reads a source whole."""
        (source,) = model.source_ids([prompt])
        return len(source) <= max_length and len(model.start_ids) + max_new_tokens <= max_length


def _shortened(model: Seq2SeqMethods, text: str) -> str:
    """The beginning of a text that the model can read."""
    before, after = model.needs_tokenizer().ids_around
    ends = model.needs_tokenizer().encode(text).ends
    room = model.longest_row - len(before) - len(after)
    while len(model.source_ids([text])[0]) > model.longest_row:  # the tokens at the new end may be others
        text, room = text[: ends[room - 1]], room - 1
    return text


SEQ2SEQ = Seq2SeqTask()
register(SEQ2SEQ)
