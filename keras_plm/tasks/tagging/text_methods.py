from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from keras_plm.layers.viterbi import best_paths, forbid
from keras_plm.tasks.text_model import TextModel, check_texts, softmax
from keras_plm.text import (
    ALONE,
    CORPUS_WORDS,
    WordRows,
    allowed_transitions,
    repair_tags,
    split_words,
    tag_scheme,
    tag_spans,
)
from keras_plm.text.words import Words


@dataclass(frozen=True)
class TaggedSpan:
    """An entity, or a word with its part of speech, and its characters in the text.

    Attributes:
        text: the characters.
        label: the label.
        start: index of the first character.
        end: index after the last character.
        score: mean probability of the tags of its words, in [0, 1].
    """

    text: str
    label: str
    start: int
    end: int
    score: float


class TaggerMethods(TextModel):
    """The methods of a tagger for texts and words. Keras models and exported artifacts share them.

    The tags of a sentence are decoded jointly with the Viterbi algorithm. For IOB2 and BIOES, the result is the most
    probable legal sequence. A conditional random field adds its scores. If an I tag may begin an entity (IOB1), every
    sequence is legal, and the result is converted to IOB2.

    Attributes:
        labels: names of the tags.
        transitions: `begin`, `follow` and `end` of a conditional random field; None if there is no such field.
        i_begins: whether an I tag may begin an entity: the model learned IOB1, or its scheme is unknown.
        splits_words: whether `tag` splits a text at all punctuation, as in training on character spans. If False, it
            splits only around words, as in corpora of words: O'Neil, L.A. and Baden-Württemberg are one word each.
    """

    labels: list[str]
    transitions: Any
    i_begins: bool = False
    splits_words: bool = False

    def words_of(self, texts: Sequence[str]) -> list[Words]:
        """The words that `tag` finds in each text, with their positions in characters."""
        return split_words(texts, self.words_alone)

    @property
    def words_alone(self) -> str:
        """A regular expression for strings that are separate words, see `split_words_in_graph`."""
        return ALONE if self.splits_words else CORPUS_WORDS

    def predict_tags(
        self, sentences: Sequence[Sequence[str]], max_length: int | None = None, batch_size: int = 32
    ) -> list[list[str]]:
        """The tag of each word.

        Args:
            sentences: the words of each sentence. A sentence that is too long for a row is split into overlapping
                parts.
            max_length: longest row in tokens; None means the model's limit.
            batch_size: rows per batch; rows of similar length are batched together.

        Raises:
            ValueError: there is no tokenizer, or a sentence is a string instead of a list of words.
        """
        if any(isinstance(words, str) for words in sentences):
            raise ValueError("pass the words of each sentence as a list; tag() takes texts")
        for number, words in enumerate(sentences):
            if any(not isinstance(word, str) for word in words):
                raise ValueError(f"sentences[{number}] is {words!r:.80}; give a list of words")
        return [self._tags(path) for path, _ in self._paths(sentences, max_length, batch_size)]

    def _tags(self, path: np.ndarray) -> list[str]:
        tags = [self.labels[i] for i in path]
        return repair_tags(tags)[0] if self.i_begins else tags

    def tag(self, texts: Sequence[str], max_length: int | None = None, batch_size: int = 32) -> list[list[TaggedSpan]]:
        """The entities of each text; with plain tags, every word.

        Texts are split into words as in `words_of`. Options as in `predict_tags`.

        Example:
            >>> tagger.tag(["Ada Lovelace lived in London."])  # doctest: +SKIP
            [[TaggedSpan(text='Ada Lovelace', label='PER', start=0, end=12, score=0.99), …]]
        """
        check_texts(texts)
        split = self.words_of(texts)
        found = self._paths([words.words for words in split], max_length, batch_size)
        plain = tag_scheme(self.labels) == "plain"
        tagged = []
        for text, words, (path, scores) in zip(texts, split, found, strict=True):
            tags = self._tags(path)
            spans = [(tag, i, i + 1) for i, tag in enumerate(tags)] if plain else tag_spans(tags)
            row = []
            for label, first, last in spans:
                start, end = words.starts[first], words.ends[last - 1]
                row.append(TaggedSpan(text[start:end], label, start, end, float(scores[first:last].mean())))
            tagged.append(row)
        return tagged

    def _paths(
        self, sentences: Sequence[Sequence[str]], max_length: int | None, batch_size: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The label id of each word of each sentence, and its probability."""
        rows = WordRows.from_words(self.needs_tokenizer(), sentences, max_length=self.row_limit(max_length))
        parts: dict[int, np.ndarray] = {}
        for index, outputs in self.batch_outputs(rows.rows, batch_size):
            parts |= {int(row): rows.take_words(row, values) for row, values in zip(index, outputs, strict=True)}
        logits: list[list[np.ndarray]] = [[] for _ in sentences]
        for row in sorted(parts):
            logits[rows.sentence[row]].append(parts[row])
        empty = np.zeros((0, len(self.labels)), "float32")
        whole = [np.concatenate([empty, *found]) for found in logits]
        paths = self._decode(whole)
        return [(path, softmax(found)[np.arange(len(path)), path]) for path, found in zip(paths, whole, strict=True)]

    @cached_property
    def _legal(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Scores that forbid illegal transitions; None if all transitions are legal."""
        if self.i_begins:
            return None
        allowed = allowed_transitions(self.labels)
        if all(steps.all() for steps in allowed):
            return None
        return tuple(forbid(steps) for steps in allowed)  # type: ignore[return-value]

    def step_scores(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Scores of the first tag (C,), of each transition (C, C) and of the last tag (C,); None if all are zero."""
        learned, legal = self.transitions, self._legal
        if learned is None or legal is None:
            return learned or legal
        return tuple(a + b for a, b in zip(learned, legal, strict=True))  # type: ignore[return-value]

    def _decode(self, logits: list[np.ndarray]) -> list[np.ndarray]:
        """The label ids of the words of each sentence."""
        scores = self.step_scores()
        if scores is None:
            return [values.argmax(-1) for values in logits]
        paths: list[np.ndarray] = [np.zeros(0, "int64")] * len(logits)
        order = sorted((i for i in range(len(logits)) if len(logits[i])), key=lambda i: len(logits[i]))
        for batch in (order[i : i + 128] for i in range(0, len(order), 128)):
            width = len(logits[batch[-1]])
            padded = np.stack([np.pad(logits[i], ((0, width - len(logits[i])), (0, 0))) for i in batch])
            lengths = np.array([len(logits[i]) for i in batch])
            for i, path in zip(batch, best_paths(padded, lengths, *scores), strict=True):
                paths[i] = path[: len(logits[i])]
        return paths
