"""Few-shot learning: a text generator solves a task from examples in its prompt, without training."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_plm.generation import GenerationSettings
from keras_plm.generation.sampling import log_softmax
from keras_plm.tasks.text_model import check_texts, softmax

_CONTENT_FREE = ("N/A", "", "[MASK]")  # queries without content, of Zhao et al.
_SHORTEST = 16  # the step that reads several tokens is compiled once for each power of two from here on


class FewShot:
    """A task that is described by examples in the prompt.

    The prompt has the instruction, the examples and a query, each in the form of the template. The examples are read
    once for all queries.

    Args:
        model: a `TextGenerator`, or its `.tflite` that `load_artifact` opened.
        examples: pairs of a text and its answer, such as a label; none for a task that the instruction describes.
        labels: the answers that are possible; None takes them from the examples, in the order of their first use.
        template: the form of an example; "{text}" is the text. A space and the answer follow.
        instruction: a text before the examples.

    Raises:
        ValueError: the template has no "{text}", there are no labels, or the prompt leaves no room for a query.

    Example:
        >>> reviews = FewShot(writer, [("A lovely film.", "good"), ("It drags.", "bad")])  # doctest: +SKIP
        >>> reviews.predict_labels(["I laughed a lot."])  # doctest: +SKIP
        ['good']

    Source: Brown et al. 2020, §2, https://arxiv.org/abs/2005.14165
    """

    def __init__(
        self,
        model: Any,
        examples: Sequence[tuple[str, str]],
        labels: Sequence[str] | None = None,
        template: str = "Text: {text}\nAnswer:",
        instruction: str = "",
    ) -> None:
        if "{text}" not in template:
            raise ValueError(f"template={template!r} has no {{text}}, where the text belongs")
        check_texts([text for text, _ in examples], [answer for _, answer in examples], ("texts", "answers"))
        self.model, self.template = model, template
        self.labels = list(dict.fromkeys(answer for _, answer in examples) if labels is None else labels)
        parts = [instruction] if instruction else []
        self.shots = "".join(f"{part}\n\n" for part in [*parts, *(f"{self._form(t)} {a}" for t, a in examples)])
        count = len(model.texts_to_ids([self.shots])[0])
        if count >= model.longest_row:
            raise ValueError(
                f"the examples have {count} tokens; the model reads {model.longest_row}: give fewer or shorter ones"
            )

    def complete(self, query: str, settings: GenerationSettings | None = None, **changes: Any) -> str:
        """Write the answer to a query, up to the end of its line.

        Args:
            query: a text.
            settings: as in `generate`.
            changes: fields that replace fields of the settings.
        """
        check_texts([query], names=("queries", "queries"))
        options = {"stop_strings": ("\n",)} if settings is None else {}
        (text,) = self.model.generate([f"{self.shots}{self._form(query)}"], settings, **options | changes)
        return text.strip()

    def predict_labels(self, queries: Sequence[str], calibrated: bool = True) -> list[str]:
        """The most probable label of each query; see `predict_probabilities`."""
        return [self.labels[i] for i in self.predict_probabilities(queries, calibrated).argmax(-1)]

    def predict_probabilities(self, queries: Sequence[str], calibrated: bool = True) -> np.ndarray:
        """(queries, C) float32 probabilities of the labels; they sum to 1.

        The probability of a label is that of all its tokens.

        Args:
            queries: texts.
            calibrated: divide the probabilities by those for queries without content. A model prefers frequent and
                recent labels of its prompt; this removes it.

        Raises:
            ValueError: there are no labels, or a query with the examples has more tokens than the model can read.

        Source: contextual calibration: Zhao et al. 2021, §5, https://arxiv.org/abs/2102.09690
        """
        check_texts(queries, names=("queries", "queries"))
        if len(self.labels) < 2:
            raise ValueError(f"labels={self.labels}; give at least two")
        if not len(queries):
            return np.zeros((0, len(self.labels)), "float32")
        prompts = [f"{self.shots}{self._form(query)}" for query in (*(_CONTENT_FREE if calibrated else ()), *queries)]
        rows = self.model.texts_to_ids(prompts)
        labels = [self._label_ids(prompts[0], label) for label in self.labels]
        longest = max(map(len, rows)) + max(map(len, labels))
        if longest > self.model.longest_row:
            raise ValueError(
                f"examples, query and label have {longest} tokens; the model reads {self.model.longest_row}"
            )
        if min(map(len, rows)) < 2:
            raise ValueError("a prompt has less than two tokens: give examples, an instruction or a longer template")
        shared = _shared(rows)  # is read once
        session = self.model.open_session(2 * max(longest - len(shared), _SHORTEST))
        session.read([shared])
        scores = np.array([_scores(session, row[len(shared) :], labels) for row in rows])
        if calibrated:
            plain = softmax(scores[: len(_CONTENT_FREE)]).mean(0)
            scores = scores[len(_CONTENT_FREE) :] - np.log(np.maximum(plain, 1e-300))
        return softmax(scores).astype("float32")

    def _label_ids(self, prompt: str, label: str) -> list[int]:
        """The tokens of a label behind a prompt."""
        before, after = self.model.texts_to_ids([prompt, f"{prompt} {label}"])
        if after[: len(before)] == before and len(after) > len(before):
            return after[len(before) :]
        return self.model.needs_tokenizer().encode(f" {label}").token_ids

    def _form(self, text: str) -> str:
        return self.template.replace("{text}", text)


def _shared(rows: list[list[int]]) -> list[int]:
    """The tokens with which all rows begin; each row has at least one more."""
    size = min(map(len, rows)) - 1
    same = next((i for i in range(size) if any(row[i] != rows[0][i] for row in rows)), size)
    return rows[0][: max(same, 1)]


def _scores(session: Any, query: list[int], labels: list[list[int]]) -> list[float]:
    """The log-probability of each label behind a query. The session is then as before."""
    following = log_softmax(session.read_ahead(query, _width(query)).astype("float64")[-1])
    found = []
    for label in labels:
        score = float(following[label[0]])
        if len(label) > 1:
            logits = session.read_ahead(label[:-1], _width(label)).astype("float64")
            session.rewind(len(label) - 1)
            score += float(np.take_along_axis(log_softmax(logits), np.array(label[1:])[:, None], 1).sum())
        found.append(score)
    session.rewind(len(query))
    return found


def _width(tokens: list[int]) -> int:
    return max(_SHORTEST, 1 << (len(tokens) - 1).bit_length())
