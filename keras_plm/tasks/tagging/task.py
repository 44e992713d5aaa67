"""Tagging: a tag for each word, such as entities or parts of speech."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.evaluation import Evaluation, scores_by_label, tag_scores
from keras_plm.models import Encoder
from keras_plm.tasks.columns import Columns
from keras_plm.tasks.registry import register
from keras_plm.tasks.task import Serve, Settings, Task
from keras_plm.text import (
    OnBadRow,
    TaggedSentences,
    TextRows,
    WordRows,
    canonical_labels,
    distinct_labels,
    label_rows,
    tag_scheme,
)
from keras_plm.training import ChainLoss, CrossEntropy

from .keras_model import Tagger
from .string_graph import tags_function
from .text_methods import TaggerMethods


class TaggingTask(Task[TaggerMethods, Tagger, TaggedSentences]):
    """See `Task`; the examples are `TaggedSentences`."""

    name = "tagging"
    model, methods, examples = Tagger, TaggerMethods, TaggedSentences
    per_token = True
    needs_offsets = True
    setting_types = {"labels": list, "transitions": list | None, "i_begins": bool, "splits_words": bool}
    shared_settings = ("labels",)
    peft_type = "TOKEN_CLS"

    def read(
        self,
        source: Any,
        columns: Columns,
        on_bad_row: OnBadRow = "error",
        limit: int | None = None,
        model: TaggerMethods | None = None,
    ) -> TaggedSentences:
        """Read sentences from CoNLL or JSONL files, or from rows in memory."""
        return TaggedSentences.read(source, columns.tag, on_bad_row).head(limit)

    def build(self, encoder: Encoder, examples: TaggedSentences, crf: bool = False) -> Tagger:
        """A tagger with the tags of these sentences."""
        tags = distinct_labels([tag for tags in examples.tags for tag in tags])
        return Tagger(encoder.config, tags, encoder.tokenizer, encoder, crf=crf, splits_words=examples.from_texts)

    def rows(self, model: Tagger, examples: TaggedSentences, max_length: int) -> TextRows:
        """Tokens, with the label of each word at its first token. A sentence that is too long is split."""
        labels = label_rows(examples.tags, model.labels, examples.source, "sentence")
        return WordRows.from_words(model.needs_tokenizer(), examples.words, labels, max_length).rows

    def loss(self, model: Tagger) -> Any:
        """Cross-entropy of each word's tag, or of the whole sequence."""
        return CrossEntropy() if model.crf is None else ChainLoss(model.crf)

    def facts(self, model: Tagger) -> dict[str, Any]:
        """The tags."""
        return {"tags": ", ".join(model.labels), "conditional random field": "yes" if model.crf else "no"}

    def evaluate(self, model: TaggerMethods, examples: TaggedSentences, batch_size: int = 32) -> Evaluation:
        """F1 of the entities that `tag` finds in the sentences as texts; for plain tags, the accuracy per word."""
        label_rows(examples.tags, model.labels, examples.source, "sentence")  # unknown tags are an error
        if tag_scheme(model.labels) == "plain":
            found = model.predict_tags(examples.words, batch_size=batch_size)
        else:  # the tagger may split words differently than the file, so both are split at all punctuation
            words = [text.words for text in model.words_of(examples.texts())]
            tags = model.predict_tags(words, batch_size=batch_size)
            examples, found = examples.split(), replace(examples, words=words, tags=tags).split().tags
        rows = [
            {"words": words, "wanted": wanted, "found": tags}
            for words, wanted, tags in zip(examples.words, examples.tags, found, strict=True)
        ]
        mistakes = np.array([sum(a != b for a, b in zip(r["wanted"], r["found"], strict=True)) for r in rows])
        wrong = [int(i) for i in np.argsort(-mistakes, kind="stable") if mistakes[i]]
        measured = tag_scores(examples.tags, found, model.labels)
        details = None
        if "f1" in measured:
            header = ["label", "f1", "precision", "recall", "support"]
            by_label = scores_by_label(examples.tags, found).items()
            details = header, [[label, *(row[name] for name in header[1:])] for label, row in by_label]
        return Evaluation(measured, rows, wrong, details)

    def lines(
        self, model: TaggerMethods, first: list[str], second: list[str] | None, question: str | None = None
    ) -> Iterator[str]:
        """Lines with the number of the text, and the label, characters, probability and text of each entity."""
        for row, spans in enumerate(model.tag(first), 1):
            for span in spans:
                yield f"{row}\t{span.label}\t{span.start}-{span.end}\t{span.score:.4f}\t{span.text}"

    def settings(self, model: TaggerMethods) -> dict[str, Any]:
        """The settings of every task, and the scores of the conditional random field as lists."""
        steps = model.transitions
        return super().settings(model) | {"transitions": None if steps is None else [p.tolist() for p in steps]}

    def check_settings(self, settings: Settings) -> None:
        """Also checks that the scores of the conditional random field have the right sizes."""
        super().check_settings(settings)
        if settings["transitions"] is None:
            return
        count = len(settings["labels"])
        try:
            shapes = [np.asarray(part, "float32").shape for part in settings["transitions"]]
        except (ValueError, TypeError):
            shapes = []
        if shapes != [(count,), (count, count), (count,)]:
            raise ValueError(f"transitions must be {count}, {count} x {count} and {count} numbers, not {shapes}")

    def output_names(self, settings: Settings) -> list[str]:
        """`probabilities` (B, T, C)."""
        return ["probabilities"]

    def to_outputs(self, settings: Settings, outputs: Any) -> dict[str, tf.Tensor]:
        """Convert logits to probabilities."""
        return {"probabilities": tf.nn.softmax(outputs)}

    def from_outputs(self, settings: Settings, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Convert probabilities to logits."""
        return np.log(np.maximum(arrays["probabilities"], 1e-30))

    def agreement(self, settings: Settings, found: list[dict], wanted: list[dict]) -> float:
        """Mean over sentences of the fraction of tokens with the same tag, including [CLS] and [SEP]."""
        both = [(f["probabilities"], w["probabilities"]) for f, w in zip(found, wanted, strict=True)]
        return float(np.mean([np.mean(f.argmax(-1) == w.argmax(-1)) for f, w in both]))

    def string_function(self, model: Tagger, serve: Serve, max_length: int, pairs: bool) -> tuple[Callable, list[str]]:
        """`text` → words, tags, their characters and scores."""
        return tags_function(model, serve, max_length), ["text"]

    def wrong_strings(
        self, model: Tagger, given: dict[str, list[str]], found: dict[str, np.ndarray], max_length: int
    ) -> str | None:
        """Checks that words, characters and tags match the text-level methods, for the words that fit in a row."""
        whole = 0
        for row, wanted in enumerate(model.words_of(given["text"])):
            words = [word.decode() for word in found["words"][row] if word]
            count = len(words)
            whole += count == len(wanted.words) > 0
            (tags,) = model.predict_tags([words], max_length=max_length)
            expected: dict[str, list] = {
                "words": wanted.words,
                "starts": wanted.starts,
                "ends": wanted.ends,
                "tags": tags,
            }
            for name, value in expected.items():
                mine = [
                    item.decode() if isinstance(item, bytes) else item for item in found[name][row][:count].tolist()
                ]
                if mine != value[:count]:
                    return f"{name} {mine}, not {value[:count]}"
        return None if whole else f"no sentence fits into a row; max_length={max_length} is too short"

    def from_hugging_face(self, theirs: dict[str, Any], labels: list[str] | None) -> dict[str, Any]:
        """The labels. With B and I labels, the scheme can be IOB1 or IOB2, so `i_begins` allows both."""
        assert labels is not None
        return {"labels": labels, "i_begins": tag_scheme(canonical_labels(labels)) == "BIO"}


TAGGING = TaggingTask()
register(TAGGING)
