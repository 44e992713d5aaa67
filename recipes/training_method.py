from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from .recipe import Recipe


class TrainingMethod:
    """How a model learns from the batches of a recipe. This class is supervised training on the task's loss."""

    def examples(self, train: Any) -> Any:
        """The examples to train on. A subclass may add some to the recipe's examples."""
        return train

    def compile(self, model: Any, optimizer: Any, loss: Any, metrics: Any, **options: Any) -> keras.Model:
        """The compiled Keras model that `fit` is called on; `options` are other arguments of `compile`."""
        # AdamW scales the loss itself if it must
        options |= {"jit_compile": False, "auto_scale_loss": False}
        model.compile(optimizer, loss, weighted_metrics=metrics, **options)
        return model

    def record(self, recipe: "Recipe") -> str:
        """The JSON for recipe.json, which says how the model was trained."""
        return recipe.to_json()


SUPERVISED = TrainingMethod()
