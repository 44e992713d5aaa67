"""Learning-rate range test: the loss while the learning rate rises from far too low to far too high."""

import math
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops
from rich.console import Console
from rich.progress import track
from rich.table import Table

from keras_plm.training import AdamW, freeze

from .fine_tune import FineTune
from .starting_model import starting_model


@dataclass(frozen=True)
class RateTest:
    """The loss at each learning rate.

    Attributes:
        rates: learning rates, rising.
        losses: the smoothed loss of a batch at each rate.
    """

    rates: list[float]
    losses: list[float]

    @property
    def suggestion(self) -> float:
        """A peak learning rate to try first: a third of the rate at which the loss falls fastest (on a log scale)."""
        count, lowest = len(self.losses), self.losses.index(min(self.losses))
        # The slope is measured over a tenth of the curve. The first tenth is left out: the average there covers only a
        # few batches. With slopes from one batch to the next, one of ten trainings on small data got a third of the
        # lowest rate.
        first, span = count // 10, max(count // 10, 1)
        falls = {
            i: self.losses[min(i + span, count - 1)] - self.losses[i] for i in range(first, max(lowest, first + 1))
        }
        return self.rates[min(falls, key=lambda i: falls[i])] / 3

    def __str__(self) -> str:
        table = Table(title="loss by learning rate")
        table.add_column("rate", justify="right")
        table.add_column("loss", justify="right")
        table.add_column("")
        low, high = min(self.losses), max(self.losses)
        for i in range(0, len(self.rates), max(len(self.rates) // 20, 1)):
            width = round(40 * (self.losses[i] - low) / max(high - low, 1e-9))
            table.add_row(f"{self.rates[i]:.1e}", f"{self.losses[i]:.4f}", "█" * width)
        console = Console(width=100, force_jupyter=False, force_terminal=False)
        with console.capture() as capture:
            console.print(table)
            if self.losses[0] == low:
                console.print(
                    "the loss only rises: the model has learned these examples, or the lowest rate is too high"
                )
            else:
                console.print(f"try learning_rate={self.suggestion:.1e}")
        return capture.get().rstrip()


def find_learning_rate(recipe: FineTune, lowest: float = 1e-6, highest: float = 1e-2, steps: int = 100) -> RateTest:
    """Train for some steps while the learning rate rises exponentially. Nothing is saved.

    Args:
        recipe: a fine-tuning recipe; its learning rate, epochs, gradient accumulation and unfreezing are ignored.
        lowest: the first learning rate.
        highest: the last learning rate. The test ends early when the loss exceeds four times its minimum.
        steps: number of batches.

    Raises:
        ValueError: `lowest` is not below `highest`, there are fewer than 10 steps, or the loss is not finite at the
            first steps.

    Source: Smith 2017, §3.3, https://arxiv.org/abs/1506.01186
    """
    if not 0 < lowest < highest:
        raise ValueError(f"lowest={lowest} must be above 0 and below highest={highest}")
    if steps < 10:
        raise ValueError(f"steps={steps}; it must be at least 10")
    if recipe.fast_dev_run:
        recipe, steps = recipe.shortened(), 10
    rows, labeled, _ = recipe.read_all()
    with recipe.session():
        model = starting_model(recipe, labeled)
        tokens = recipe.rows(model, rows)
        freeze(model, recipe.trainable)
        optimizer = AdamW(
            _Rising(lowest, highest, steps),
            weight_decay=recipe.weight_decay,
            global_clipnorm=recipe.clip_norm or None,
            rates=recipe.rates(model),
            loss_scaling=recipe.loss_scaling,
            momentum_dtype=recipe.momentum_dtype,
        )
        model.compile(optimizer, recipe.loss(model), jit_compile=False, auto_scale_loss=False)
        epochs = math.ceil(steps / tokens.num_steps(recipe.batch_size))
        batches = tokens.training_dataset(recipe.batch_size, epochs, recipe.seed).take(steps)
        rates: list[float] = []
        losses: list[float] = []
        average = 0.0
        for step, batch in enumerate(track(batches, "raising the rate", total=steps, disable=not recipe.verbose)):
            model.reset_metrics()
            loss = float(model.train_on_batch(*batch, return_dict=True)["loss"])
            average = 0.9 * average + 0.1 * loss
            smooth = average / (1 - 0.9 ** (step + 1))
            if not math.isfinite(loss) or (losses and smooth > 4 * min(losses)):
                break
            rates.append(lowest * (highest / lowest) ** (step / (steps - 1)))
            losses.append(smooth)
    if len(losses) < 2:
        raise ValueError(f"the loss is not finite from the beginning; lower lowest={lowest}")
    return RateTest(rates, losses)


@keras.saving.register_keras_serializable("keras_plm")
class _Rising(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, lowest: float, highest: float, steps: int) -> None:
        self.lowest, self.highest, self.steps = lowest, highest, steps

    def __call__(self, step: Any) -> Any:
        share = ops.cast(step, "float32") / (self.steps - 1)
        return self.lowest * ops.power(self.highest / self.lowest, share)

    def get_config(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "highest": self.highest, "steps": self.steps}
