"""A pre-trained encoder and a table of labelled texts → a classifier, for single texts, pairs or scores.

Input    TSV, CSV or JSONL files with a column of texts (two for pairs) and a column of labels or scores
Output   a folder with a Classifier, its tokenizer, recipe, history and card
Command  keras-plm classify --encoder saved_models/mini --train train.tsv --save-to saved_models/reviews
Time     MINI, 7,000 sentences of 25 tokens: about 25 seconds an epoch on 2 cores with AVX-512 BF16
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import keras

from keras_plm.checkpoints import load
from keras_plm.models import Classifier, Encoder, named_weights, save
from keras_plm.text import TextRows, distinct_labels, label_ids, read_rows, scores
from keras_plm.training import CrossEntropy, Pearson, is_chief

from .recipe import Recipe, model_card


@dataclass(frozen=True, kw_only=True)
class Classify(Recipe):
    """Fine-tune an encoder to give each text, or pair of texts, a label or a score.

    Started again with the same settings after an interruption, it goes on from the last epoch.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: no encoder there, a pattern that matches no file.
        ValueError: a missing column, an empty label, an unknown one in `validation` or `test`, a score that is no
            finite number.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> reviews = Classify(  # doctest: +SKIP
        ...     encoder="saved_models/mini", train="train.tsv", validation="dev.tsv",
        ...     save_to="saved_models/reviews",
        ... ).run()
        >>> reviews.predict_labels(["A quiet, lovely film."])  # doctest: +SKIP
        ['positive']

    Source: Devlin et al. 2019, §4.1, https://arxiv.org/abs/1810.04805
    """

    encoder: str  # what `plm.load` takes: a folder, "hf:" and a Hugging Face folder or repository, "preset:…"
    train: str | tuple[str, ...]  # paths or globs of .tsv, .csv or .jsonl
    validation: str | tuple[str, ...] | None = None  # scored after each epoch
    test: str | tuple[str, ...] | None = None  # scored once, at the end
    text_column: str = "text"  # the (first) text
    second_column: str | None = None  # the second text of a pair
    label_column: str = "label"  # labels, or scores for regression
    regression: bool = False  # predict a number instead of a label
    dropout: float = 0.1  # in the encoder and before the head, whatever the pre-training had
    epochs: int = 3  # passes over the training rows
    learning_rate: float = 5e-5  # peak, after the warm-up
    limit_train_rows: int | None = None  # use the first so many rows only

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least_one("epochs")
        if self.limit_train_rows is not None:
            self.check_at_least_one("limit_train_rows")

    def run(self) -> Classifier:
        """Fine-tune, save and return the model in float32."""
        if self.fast_dev_run:
            short: dict[str, Any] = {"epochs": 1, "overwrite": True, "tensorboard": None}
            return dataclasses.replace(self, fast_dev_run=False, **short)._train(limit=64, save_model=False)
        return self._train(self.limit_train_rows, save_model=True)

    def _train(self, limit: int | None, save_model: bool) -> Classifier:
        with self.session():
            pretrained = load(self.encoder)
            columns = self._read(self.train)
            # of all rows: the first ones may lack a label
            labels = None if self.regression else distinct_labels(columns[self.label_column], str(self.train))
            model = self._model(pretrained, labels)
            train = self._rows(model, columns, str(self.train), limit)
            # everything is read before the work, so that no error in a file comes after it
            held_out = {
                name: self._rows(model, self._read(patterns), str(patterns), None if save_model else limit)
                for name, patterns in {"validation": self.validation, "test": self.test}.items()
                if patterns is not None
            }
            held_out_data = {name: rows.evaluation_dataset(self.batch_size)[0] for name, rows in held_out.items()}
            steps = train.num_steps(self.batch_size)
            model.compile(
                optimizer=self.optimizer(steps * self.epochs),
                loss="mse" if self.regression else CrossEntropy(),
                metrics=[Pearson() if self.regression else keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
                jit_compile=False,
            )
            checkpoint = self.checkpoint() if save_model else None
            done = checkpoint.restore(model) if checkpoint else 0
            if done < steps * self.epochs:  # or only the saving was interrupted
                model.fit(
                    train.training_dataset(self.batch_size, self.epochs, self.seed).skip(done),
                    epochs=self.epochs,
                    initial_epoch=done // steps,
                    steps_per_epoch=steps,
                    validation_data=held_out_data.get("validation"),
                    callbacks=self.callbacks(checkpoint),
                    shuffle=False,
                    verbose=self.verbose,
                )
            results: dict[str, Any] = {}
            for name, rows in {"train": train, **held_out}.items():
                results |= {f"{name} rows": len(rows), f"{name} rows truncated": rows.num_truncated}
                if rows.num_truncated and self.verbose:
                    lost = f"{rows.num_truncated} of {len(rows)} texts"
                    print(f"{name}: {lost} are longer than {self.max_length} tokens and were truncated")
            for name, data in held_out_data.items():
                found = model.evaluate(data, return_dict=True, verbose=0)
                results |= {f"{name} {key}": value for key, value in found.items()}
        if checkpoint is not None:
            if is_chief():
                self._save(model, results)
            self.finish(checkpoint)
        copy = Classifier(model.config, model.labels, model.tokenizer)
        copy.set_weights(model.get_weights())
        return copy

    def _model(self, pretrained: Any, labels: list[str] | None) -> Classifier:
        """The pre-trained weights under this recipe's dropout, with a new head, for rows of `max_length`."""
        if pretrained.tokenizer is None:
            raise ValueError(f"{self.encoder} was saved without a tokenizer")
        if self.max_length > pretrained.config.max_sequence_length:
            raise ValueError(
                f"max_length={self.max_length}, but the encoder has {pretrained.config.max_sequence_length} positions"
            )
        source = pretrained if isinstance(pretrained, Encoder) else pretrained.encoder
        config = dataclasses.replace(
            pretrained.config,
            dropout=self.dropout,
            attention_dropout=self.dropout,
            max_sequence_length=self.max_length,  # later positions would go untrained, and into every artefact
            has_pooler=True,  # a new one where the pre-training had none
        )
        encoder = Encoder(config, pretrained.tokenizer)
        variables = named_weights(encoder)
        for path, weight in named_weights(source).items():
            cut = weight[: self.max_length] if path == "embedding/positions" else weight
            variables[path].assign(cut)
        return Classifier(config, labels, pretrained.tokenizer, encoder)

    def _read(self, patterns: Any) -> dict[str, list[str]]:
        second = [] if self.second_column is None else [self.second_column]
        return read_rows(patterns, [self.text_column, *second, self.label_column])

    def _rows(
        self, model: Classifier, columns: dict[str, list[str]], source: str, limit: int | None = None
    ) -> TextRows:
        columns = {name: values[:limit] for name, values in columns.items()}
        values = columns[self.label_column]
        if model.labels is None:
            targets: Any = [[score] for score in scores(values, source)]
        else:
            targets = label_ids(values, model.labels, source)
        second = None if self.second_column is None else columns[self.second_column]
        return TextRows.from_texts(model.tokenizer, columns[self.text_column], second, targets, self.max_length)

    def _save(self, model: Classifier, results: dict[str, Any]) -> None:
        facts = {
            "start": self.encoder,
            "trained on": self.train,
            "labels": "a score" if model.labels is None else ", ".join(model.labels),
            "longest text": f"{self.max_length} tokens",
        }
        save(
            model,
            self.save_to,
            self.overwrite,
            {
                "recipe.json": self.to_json(),
                "history.csv": self.history(),
                "README.md": model_card("Text classifier", facts, results),
            },
        )
