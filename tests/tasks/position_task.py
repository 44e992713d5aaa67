"""A task that the package does not have, in one module: where in a text is the word "cat"?"""

from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from keras_plm.evaluation import Evaluation, correlations
from keras_plm.models import BackboneModel, given_or_new, token_inputs
from keras_plm.recipes import FineTune
from keras_plm.tasks import Task, TextModel, register
from keras_plm.text import LabeledTexts, TextRows


class PositionMethods(TextModel):
    def positions(self, texts, **options):
        return self.predict_texts(texts, **options)[:, 0]


@keras.saving.register_keras_serializable("tests")
class PositionFinder(PositionMethods, BackboneModel, keras.Model):
    def __init__(self, config, tokenizer=None, encoder=None, **kwargs):
        encoder = given_or_new(encoder, config, tokenizer)
        head = keras.layers.Dense(1, dtype="float32", name="head")
        inputs = token_inputs()
        scores = head(encoder(inputs)["sequence_output"])[:, :, 0]
        scores = scores - 40.0 * (1.0 - ops.cast(inputs["padding_mask"], "float32"))
        position = ops.cumsum(ops.cast(inputs["padding_mask"], "float32"), axis=1) - 1.0
        expected = ops.sum(ops.softmax(scores) * position, axis=1, keepdims=True)
        super().__init__(inputs=inputs, outputs=expected, **{"name": "position_finder", **kwargs})
        self.config, self.tokenizer, self.encoder, self.head = config, tokenizer, encoder, head


class PositionTask(Task[PositionMethods, PositionFinder, LabeledTexts]):
    name = "position"
    model, methods, examples = PositionFinder, PositionMethods, LabeledTexts

    def read(self, source, columns, on_bad_row="error", limit=None, model=None):
        return LabeledTexts.read(source, columns.text, None, columns.label, limit, "score", on_bad_row)

    def build(self, encoder, examples):
        return PositionFinder(encoder.config, encoder.tokenizer, encoder)

    def rows(self, model, examples, max_length):
        targets = np.array(examples.scores(), "float32")[:, None]
        return TextRows.from_texts(model.needs_tokenizer(), examples.first, None, targets, max_length)

    def loss(self, model):
        return keras.losses.MeanSquaredError()

    def evaluate(self, model, examples, batch_size=32):
        found, wanted = model.positions(examples.first, batch_size=batch_size), examples.scores()
        rows = [
            {"text": t, "wanted": w, "found": float(f)} for t, w, f in zip(examples.first, wanted, found, strict=True)
        ]
        return Evaluation(correlations(wanted, found), rows, [])

    def lines(self, model, first, second, question=None):
        yield from (f"{value:.2f}\t{text}" for text, value in zip(first, model.positions(first), strict=True))

    def output_names(self, settings):
        return ["position"]

    def to_outputs(self, settings, outputs):
        return {"position": outputs}

    def from_outputs(self, settings, arrays):
        return arrays["position"]


POSITION = register(PositionTask())


@dataclass(frozen=True, kw_only=True)
class FindPosition(FineTune[PositionFinder]):
    """Fine-tune an encoder to say where a word is."""

    task: ClassVar[Task] = POSITION
