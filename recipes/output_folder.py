"""The folder of a fine-tuned model: the model, its recipe, history, card, predictions and errors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras_plm.compression.pruning import measured_sparsity
from keras_plm.evaluation import Evaluation
from keras_plm.models import save

from .data_argument import named
from .model_card import model_card
from .training_state import TrainingState

if TYPE_CHECKING:
    from .fine_tune import FineTune, TrainingData


def save_fine_tuned(
    recipe: "FineTune",
    model: Any,
    data: "TrainingData",
    facts: Mapping[str, Any],
    found: Mapping[str, Evaluation],
    state: TrainingState,
) -> None:
    """Write the model, and files that say how it was trained and what it scored.

    Args:
        recipe: the fine-tuning recipe.
        model: the trained model, in float32.
        data: the examples for training and for scoring.
        facts: facts about the training, for the card.
        found: the evaluations of the model, by the name of the data set.
        state: the state of the training.
    """
    parts = {"train": data.labeled, **data.held_out}
    results = dict(facts) | data.train.card()
    results |= {f"{name} rows skipped": len(p.skipped) for name, p in parts.items() if p.skipped}
    if recipe.prune is not None:
        results["zeros in the kernels"] = f"{measured_sparsity(model):.1%}"
    for name, evaluation in found.items():
        results[f"{name} examples"] = len(evaluation.rows)
        results |= {f"{name} {key}": value for key, value in evaluation.scores.items()}
    about = {
        "started from": recipe.start_from,
        "trained on": named(recipe.train),
        "maximum length": f"{recipe.max_length} tokens",
        **recipe.task.facts(model),
    }
    files = {
        "recipe.json": state.record,
        "history.csv": state.history(),
        "README.md": model_card(type(model).__name__, about, results),
    }
    for name, evaluation in found.items():
        files[f"{name}.predictions.jsonl"] = evaluation.predictions()
        files[f"{name}.errors.md"] = evaluation.errors()
    skipped = [line for part in parts.values() for line in part.skipped]
    if skipped:
        files["skipped_rows.txt"] = "\n".join(skipped) + "\n"
    save(model, recipe.model_folder, recipe.overwrite, files)
