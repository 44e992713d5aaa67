import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from keras_plm.compression.pruning import measured_sparsity
from keras_plm.evaluation import Evaluation, evaluate
from keras_plm.models import copy_model, save
from keras_plm.text import Examples
from keras_plm.training import dtype_policy, freeze, is_chief, worker_name

from .recipe import Coach, model_card
from .task_training import TaskTraining
from .validation import Validation, ended_early


@dataclass(frozen=True, kw_only=True)
class FineTune(TaskTraining):
    """The course of every fine-tuning; `Classify`, `Tag`, `Answer` and `Embed` say what of.

    Started again with the same settings after an interruption, it goes on from the last epoch.
    """

    def run(self, coach: Coach | None = None) -> Any:
        """Fine-tune, save and return the model in float32.

        Args:
            coach: trains the model in another way than by its task's loss, see `Distill`.
        """
        if self.fast_dev_run:
            short = self.shortened()
            train, every, held_out = short.read_all(short.limit_train_rows)
            held_out = {name: examples.head(short.limit_train_rows) for name, examples in held_out.items()}
            return short.train_on(train, every, held_out, save_model=False, coach=coach)[0]
        return self.train_on(*self.read_all(self.limit_train_rows), coach=coach)[0]

    def shortened(self) -> Self:
        """What `fast_dev_run` means: one epoch on a few rows."""
        short: dict[str, Any] = {"epochs": 1, "accumulate": 1, "limit_train_rows": 64, "overwrite": True}
        return dataclasses.replace(self, **short, tensorboard=None, fast_dev_run=False)

    def read_all(self, limit: int | None = None) -> tuple[Examples, Examples, dict[str, Examples]]:
        """The training rows, those whose labels count (all of them), and the held-out rows by name.

        Everything is read before the work, so that no error in a file comes after it.
        """
        every = self.read(self.train)
        files = {"validation": self.validation, "test": self.test}
        held_out = {name: self.read(patterns) for name, patterns in files.items() if patterns is not None}
        return every.head(limit), every, held_out

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
            for examples in held_out.values():  # an error in a row comes before the work
                self.rows(model, examples)
            trained, total = freeze(model, self.trainable)
            steps = rows.num_steps(self.batch_size)
            trainee = model if coach is None else coach.wrap(model, self.loss(model))
            trainee.compile(
                optimizer=self.task_optimizer(model, steps),
                loss=self.loss(model) if coach is None else None,
                weighted_metrics=self.metrics(model) if coach is None else None,
                jit_compile=False,
            )
            record = self.to_json() if coach is None else coach.to_json()
            checkpoint = self.checkpoint(record, train.fingerprint()) if save_model else None
            done = checkpoint.restore(trainee) if checkpoint else 0
            compressor = self.compressor(model, self.updates(steps))
            validation = self._validation(model, held_out.get("validation"), save_model)
            if done < steps * self.epochs and not self._ended_early():  # or only the saving was interrupted
                trainee.fit(
                    rows.training_dataset(self.batch_size, self.epochs, self.seed).skip(done),
                    epochs=self.epochs,
                    initial_epoch=done // steps,
                    steps_per_epoch=steps,
                    callbacks=[*(one for one in (compressor, validation) if one), *self.callbacks(checkpoint)],
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
            **self.counts(train),
            **self._results(copy, found),
        }
        if rows.num_truncated and self.verbose:
            lost = f"{rows.num_truncated} of {len(rows)} texts"
            print(f"train: {lost} are longer than {self.max_length} tokens and were truncated")
        if checkpoint is not None:
            if is_chief():
                self._save(copy, results, found, record)
            self.finish(checkpoint)
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

    def _save(self, model: Any, results: dict[str, Any], found: dict[str, Evaluation], record: str) -> None:
        facts = {
            "start": self.encoder,
            "trained on": self.train,
            "longest row": f"{self.max_length} tokens",
            **self.facts(model),
        }
        files = {
            "recipe.json": record,
            "history.csv": self.history(),
            "README.md": model_card(type(model).__name__, facts, results),
        }
        for name, evaluation in found.items():
            files[f"{name}.predictions.jsonl"] = evaluation.predictions()
            files[f"{name}.errors.md"] = evaluation.errors()
        save(model, self.save_to, self.overwrite, files)
