from collections.abc import Callable
from typing import Any

import keras

from .checkpoint import Checkpoint


def fit_from(
    model: keras.Model, batches: Callable[[int], Any], done: int, steps: int, epochs: int, **options: Any
) -> None:
    """`model.fit` from any batch on, also inside an epoch, which then ends where it would have ended.

    Args:
        model: a compiled model.
        batches: a dataset of all batches from this number on.
        done: number of batches on which the model was trained before.
        steps: batches of an epoch.
        epochs: number of epochs, including those before.
        **options: other arguments of `fit`. Inside an epoch, `fit` is called twice, and callbacks see two trainings.
    """
    try:
        _fit(model, batches, done, steps, epochs, options)
    finally:  # Keras does not call it after an exception
        for callback in options.get("callbacks", ()):
            if isinstance(callback, Checkpoint):
                callback.on_train_end()


def _fit(
    model: keras.Model,
    batches: Callable[[int], Any],
    done: int,
    steps: int,
    epochs: int,
    options: dict[str, Any],
) -> None:
    epoch, inside = divmod(done, steps)
    if inside:
        model.fit(batches(done), initial_epoch=epoch, epochs=epoch + 1, steps_per_epoch=steps - inside, **options)
        for callback in options.get("callbacks", ()):
            if isinstance(callback, Checkpoint):  # at the end of `fit`, Keras replaces weights by their moving averages
                callback.restore(model)
        if model.stop_training:
            return
        epoch, done = epoch + 1, done + steps - inside
    if epoch < epochs:
        model.fit(batches(done), initial_epoch=epoch, epochs=epochs, steps_per_epoch=steps, **options)
