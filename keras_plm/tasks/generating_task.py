"""What the tasks of all models that generate text have in common."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from keras_plm.evaluation import Evaluation
from keras_plm.generation.sampling import log_softmax
from keras_plm.text import Completions

from .generation_graph import ARGUMENTS
from .task import Methods, Model, Settings, Task

TOKENS_AT_ONCE = 2_048  # of a batch of long rows: the logits have a number for each token of the vocabulary


class GeneratingTask(Task[Methods, Model, Completions]):
    """See `Task`; the examples are `Completions`, and the outputs are the logits of the next token."""

    examples = Completions
    per_token = True
    generates = True
    prompt_argument: ClassVar[str]  # the name of the prompts in `string_function`

    def settings(self, model: Any) -> dict[str, Any]:
        """The attributes of `setting_types`; tuples as lists."""
        found = super().settings(model)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    def output_names(self, settings: Settings) -> list[str]:
        """`logits` (B, T, V)."""
        return ["logits"]

    def to_outputs(self, settings: Settings, outputs: Any) -> dict[str, tf.Tensor]:
        """The logits in float32."""
        return {"logits": tf.cast(outputs, tf.float32)}

    def from_outputs(self, settings: Settings, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """The logits."""
        return arrays["logits"]

    def argument_dtypes(self) -> dict[str, tf.DType]:
        """The dtypes of the generation settings."""
        return dict(ARGUMENTS)

    def example_strings(self, texts: Sequence[str], pairs: bool) -> dict[str, list]:
        """Some texts as prompts for greedy decoding."""
        settings = {"max_new_tokens": 8, "temperature": 0.0, "top_p": 1.0, "seed": 0}
        return {self.prompt_argument: list(texts)} | {name: [value] * len(texts) for name, value in settings.items()}

    def wrong_strings(
        self, model: Any, given: dict[str, list], found: dict[str, np.ndarray], max_length: int
    ) -> str | None:
        """Check that the greedy texts are those of the model, for prompts that fit."""
        count, prompts = given["max_new_tokens"][0], given[self.prompt_argument]
        fitting = [row for row, prompt in enumerate(prompts) if self.fits(model, prompt, count, max_length)]
        wanted = model.generate([prompts[row] for row in fitting], max_new_tokens=count)
        for row, text in zip(fitting, wanted, strict=True):
            if found["text"][row].decode() != text:
                return f"for {prompts[row]!r:.60} it writes {found['text'][row].decode()!r}, not {text!r}"
        return None

    def fits(self, model: Any, prompt: str, max_new_tokens: int, max_length: int) -> bool:
        """Whether an artifact with this longest row reads a prompt whole and has room for the new tokens."""
        raise NotImplementedError

    def agreement(self, settings: Settings, found: list[dict], wanted: list[dict]) -> float | None:
        """The fraction of tokens for which both give the same most probable next token."""
        shares = [np.mean(f["logits"].argmax(-1) == w["logits"].argmax(-1)) for f, w in zip(found, wanted, strict=True)]
        return float(np.mean(shares))


class TokenScores:
    """The losses of the tokens of a data set, and whether each token is the most probable one.

    Args:
        num_rows: number of rows of the data set.
    """

    def __init__(self, num_rows: int) -> None:
        self.losses = [np.zeros(0)] * num_rows
        self.hits = [np.zeros(0, bool)] * num_rows

    def add(self, row: int, logits: np.ndarray, targets: np.ndarray) -> None:
        """Add the tokens of one row: (T, V) float32 logits and (T,) targets."""
        self.losses[row] = -np.take_along_axis(log_softmax(logits), targets[:, None], 1)[:, 0]
        self.hits[row] = logits.argmax(-1) == targets

    def evaluation(self, rows: list[dict[str, Any]]) -> Evaluation:
        """The accuracy of all tokens and their perplexity; the perplexity of each row is added to it."""
        perplexities = [float(np.exp(losses.mean())) if len(losses) else 1.0 for losses in self.losses]
        scores = {
            "token_accuracy": float(np.concatenate(self.hits).mean()),
            "perplexity": float(np.exp(np.concatenate(self.losses).mean())),
        }
        found = [row | {"perplexity": round(p, 3)} for row, p in zip(rows, perplexities, strict=True)]
        worst = np.argsort([-p for p in perplexities], kind="stable").tolist()
        return Evaluation(scores, found, [row for row in worst if not self.hits[row].all()])
