"""A pre-trained encoder and questions with contexts → a question answerer that points at the answer in the text.

Input    SQuAD's JSON, or JSONL with question, context and answers ([{text, answer_start}])
Output   a folder with a QuestionAnswerer, its tokenizer, recipe, history, card, predictions and errors
Command  keras-plm answer-questions --start-from saved_models/mini --train train.json --save-to saved_models/reader
Time     MiniLM, 7,000 questions on paragraphs of 150 tokens: about 10 minutes an epoch on 2 cores with AVX-512 BF16
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from keras_plm.evaluation import answer_scores
from keras_plm.tasks import QUESTION_ANSWERING, QuestionAnswerer, Task
from keras_plm.text import Questions, TextRows

from .fine_tune import FineTune


@dataclass(frozen=True, kw_only=True)
class AnswerQuestions(FineTune[QuestionAnswerer]):
    """Fine-tune an encoder to point at the first and the last token of the answer.

    A context that is longer than a row is split into overlapping windows. The target of a window without the answer is
    [CLS]. If some training questions have no answer, the model can decline to answer. The `validation` questions set
    the threshold for this.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: there is no encoder at `encoder`, or a pattern matches no file.
        ValueError: a question has no context, or an answer is not in the context at its `answer_start`.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> reader = AnswerQuestions(  # doctest: +SKIP
        ...     start_from="saved_models/mini", train="train.json", save_to="saved_models/reader"
        ... ).run()
        >>> reader.answer("Who wrote it?", "It was written by Ada Lovelace in 1843.")  # doctest: +SKIP
        Answer(text='Ada Lovelace', start=18, end=30, score=0.97)

    Source: Devlin et al. 2019, §4.2 and §4.3, https://arxiv.org/abs/1810.04805
    """

    task: ClassVar[Task] = QUESTION_ANSWERING

    max_length: int = 384  # longest row in tokens: the question and a window of the context
    overlap: int = 64  # tokens that two neighboring windows of a training context share
    learning_rate: float = 1e-4  # peak learning rate, after the warm-up

    def rows(self, model: QuestionAnswerer, examples: Questions) -> TextRows:
        """Overlapping windows."""
        return QUESTION_ANSWERING.rows(model, examples, self.max_length, self.overlap)

    def finished(self, model: QuestionAnswerer, held_out: dict[str, Questions]) -> None:
        """Choose the no-answer threshold that has the best F1 on the validation examples."""
        examples = held_out.get("validation")
        if model.null_threshold is not None and examples is not None:
            model.null_threshold = best_threshold(model, examples, self.batch_size)


def best_threshold(model: QuestionAnswerer, examples: Questions, batch_size: int = 32) -> float:
    """The `null_threshold` with the best F1 on these questions.

    Source: Rajpurkar et al. 2018, evaluate-v2.0.py (find_best_thresh), https://rajpurkar.github.io/SQuAD-explorer/
    """
    found = model.candidate_answers(examples.questions, examples.contexts, batch_size=batch_size)
    wanted = [[text for text, _ in answers] for answers in examples.answers]
    best = [candidates[0][0] if candidates else "" for candidates, _ in found]
    margins = np.array([null - candidates[0][3] if candidates else np.inf for candidates, null in found])
    answered = np.array([answer_scores([w], [text])["f1"] for w, text in zip(wanted, best, strict=True)])
    silent = np.array([not w for w in wanted], float)
    order = np.argsort(margins, kind="stable")
    # F1 if the k questions with the smallest margins get an answer and the others get none
    total = (
        np.concatenate([[0], np.cumsum(answered[order])])
        + silent.sum()
        - np.concatenate([[0], np.cumsum(silent[order])])
    )
    k = int(total.argmax())
    finite = margins[order][np.isfinite(margins[order])]
    if not len(finite):
        return 0.0
    low = finite[0] - 1 if k == 0 else finite[min(k, len(finite)) - 1]
    high = finite[-1] + 1 if k >= len(finite) else finite[k]
    return float((low + high) / 2)
