import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import numpy as np

from keras_plm.compression.pruning import measured_sparsity
from keras_plm.evaluation import Evaluation
from keras_plm.models import copy_model, save
from keras_plm.tasks import evaluate
from keras_plm.text import Examples
from keras_plm.training import dtype_policy, freeze, is_chief, worker_name

from .data import named
from .folds import is_held_out
from .recipe import Coach, model_card
from .summary import print_result, print_summary
from .task_training import TaskTraining
from .validation import Validation, ended_early

Model = TypeVar("Model")


@dataclass(frozen=True, kw_only=True)
class FineTune(TaskTraining, Generic[Model]):
    """The course of every fine-tuning; `Classify`, `Tag`, `AnswerQuestions` and `Embed` say what of.

    Started again with the same settings after an interruption, it goes on from the last epoch.
    """

    def run(self, coach: Coach | None = None) -> Model:
        """Fine-tune, save and return the model in float32.

        Args:
            coach: trains the model in another way than by its task's loss, see `Distill`.
        """
        if self.fast_dev_run:
            short = self.shortened()
            train, every, held_out = short.read_all(short.limit_train_rows)
            held_out = {name: examples.head(short.limit_train_rows) for name, examples in held_out.items()}
            return short.train_on(train, every, held_out, save_model=False, coach=coach)[0]
        self.check_save_to()
        return self.train_on(*self.read_all(self.limit_train_rows), coach=coach)[0]

    def shortened(self) -> Self:
        """What `fast_dev_run` means: one epoch on a few rows."""
        short: dict[str, Any] = {"epochs": 1, "accumulate": 1, "limit_train_rows": 64, "overwrite": True}
        return dataclasses.replace(self, **short, tensorboard=None, fast_dev_run=False)

    def read_all(self, limit: int | None = None) -> tuple[Examples, Examples, dict[str, Examples]]:
        """The training rows, those whose labels count (all of them), and the held-out rows by name.

        Everything is read before the work, so that no error in a file comes after it.
        """
        every = self._read(self.train)
        sources = {"validation": self.validation, "test": self.test}
        held_out = {name: self._read(source) for name, source in sources.items() if source is not None}
        train = every.head(limit)
        if self.validation_split is not None:
            chosen = is_held_out(train, self.validation_split, self.seed)
            held_out["validation"] = train.take(np.flatnonzero(chosen).tolist())
            train = train.take(np.flatnonzero(~chosen).tolist())
        return train, every, held_out

    def _read(self, source: Any) -> Examples:
        return source if isinstance(source, Examples) else self.read(source)

    def train_on(
        self,
        train: Examples,
        every: Examples,
        held_out: dict[str, Examples],
        save_model: bool = True,
        coach: Coach | None = None,
    ) -> tuple[Any, dict[str, Evaluation]]:
        """Fine-tune on rows that have been read.

        Args:
            train: rows to train on.
            every: rows that the labels are taken from: the first ones may lack one.
            held_out: rows to score, by name; "validation" after each epoch, all at the end.
            save_model: False leaves nothing on disk.
            coach: trains the model in another way than by its task's loss, see `Distill`.

        Returns:
            The model in float32, and its evaluation on each of the held-out sets.
        """
        with self.session():
            model = self.build(every)
            rows = self.rows(model, train if coach is None else coach.examples(train))
            if self.on_bad_row == "skip":
                held_out = {name: examples.known(self.labels_of(model)) for name, examples in held_out.items()}
            # an error in a row comes before the work
            held_out_rows = {name: self.rows(model, examples) for name, examples in held_out.items()}
            if self.verbose:
                print_summary({"train": train, **held_out}, {"train": rows, **held_out_rows})
            trained, total = freeze(model, self.trainable)
            steps = rows.num_steps(self.batch_size)
            trainee = model if coach is None else coach.wrap(model, self.loss(model))
            trainee.compile(
                optimizer=self.task_optimizer(model, steps),
                loss=self.loss(model) if coach is None else None,
                weighted_metrics=self.task.metrics(model) if coach is None else None,
                jit_compile=False,
            )
            record = self.to_json() if coach is None else coach.to_json()
            checkpoint = self.checkpoint(record, _fingerprint(train, held_out)) if save_model else None
            done = checkpoint.restore(trainee) if checkpoint else 0
            self.say_resumed(done, steps * self.epochs)
            compressor = self.compressor(model, self.updates(steps))
            validation = self._validation(model, held_out.get("validation"), save_model)
            if done < steps * self.epochs and not self._ended_early():  # or only the saving was interrupted
                trainee.fit(
                    rows.training_dataset(self.batch_size, self.epochs, self.seed, self.accumulate).skip(done),
                    epochs=self.epochs,
                    initial_epoch=done // steps,
                    steps_per_epoch=steps,
                    callbacks=[*(one for one in (compressor, validation) if one), *self.all_callbacks(checkpoint)],
                    shuffle=False,
                    verbose=self.verbose,
                )
            if self.average is not None:
                trainee.optimizer.finalize_variable_values(trainee.trainable_weights)
            if validation is not None:
                validation.restore_best()
            if compressor is not None:
                compressor.apply()
            with dtype_policy("float32"):
                copy = copy_model(model)
        self.finished(copy, held_out)
        found = {name: evaluate(copy, examples, self.batch_size) for name, examples in held_out.items()}
        results = {
            "train rows": len(train),
            "train texts truncated": rows.num_truncated,
            "trained weights": f"{trained:,} of {total:,} ({trained / total:.1%})",
            **train.card(),
            **_skipped({"train": every, **held_out}),
            **self._results(copy, found),
        }
        if checkpoint is not None:
            if is_chief():
                self._save(copy, results, found, record, _skipped_lines({"train": every, **held_out}))
            self.finish(checkpoint)
        if self.verbose:
            print_result(copy, found, self.save_to if checkpoint else None)
        return copy, found

    def _results(self, model: Any, found: dict[str, Evaluation]) -> dict[str, Any]:
        results: dict[str, Any] = {}
        if self.prune is not None:
            results["zeros in the kernels"] = f"{measured_sparsity(model):.1%}"
        for name, evaluation in found.items():
            results[f"{name} rows"] = len(evaluation.rows)
            results |= {f"{name} {key}": value for key, value in evaluation.scores.items()}
        return results

    def _validation(self, model: Any, examples: Examples | None, save_model: bool) -> Validation | None:
        if examples is None:
            return None
        keeps = save_model and (self.keep == "best" or self.patience is not None)
        return Validation(
            model,
            lambda: evaluate(model, examples, self.batch_size),
            self.history_path,
            self.training_folder / f"{worker_name()}.best.safetensors" if keeps else None,
            self.patience,
            self.average is not None,
            verbose=self.verbose > 0,
        )

    def _ended_early(self) -> bool:
        return self.patience is not None and ended_early(self.history_path, self.epochs, self.patience)

    def _save(
        self, model: Any, results: dict[str, Any], found: dict[str, Evaluation], record: str, skipped: list[str]
    ) -> None:
        facts = {
            "start": self.encoder,
            "trained on": named(self.train),
            "longest row": f"{self.max_length} tokens",
            **self.task.facts(model),
        }
        files = {
            "recipe.json": record,
            "history.csv": self.history(),
            "README.md": model_card(type(model).__name__, facts, results),
        }
        for name, evaluation in found.items():
            files[f"{name}.predictions.jsonl"] = evaluation.predictions()
            files[f"{name}.errors.md"] = evaluation.errors()
        if skipped:
            files["skipped_rows.txt"] = "\n".join(skipped) + "\n"
        save(model, self.save_to, self.overwrite, files)


def _fingerprint(train: Examples, held_out: dict[str, Examples]) -> str:
    """A hash of all rows that a training depends on."""
    parts = [train.fingerprint(), *(f"{name} {examples.fingerprint()}" for name, examples in held_out.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _skipped(parts: dict[str, Examples]) -> dict[str, Any]:
    """How many rows of each part were left out, for the card."""
    return {f"{name} rows that were skipped": len(part.skipped) for name, part in parts.items() if part.skipped}


def _skipped_lines(parts: dict[str, Examples]) -> list[str]:
    return [line for part in parts.values() for line in part.skipped]
