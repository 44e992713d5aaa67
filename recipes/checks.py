"""Checks of fine-tuning settings: values out of range, and settings that exclude each other."""

from typing import TYPE_CHECKING

from keras_plm.compression.pruning import Sparsity
from keras_plm.training import parse_trainable

if TYPE_CHECKING:
    from .fine_tune import FineTune

_OF_ENCODERS = ("num_layers", "num_heads", "embedding_rank", "prune", "clusters", "quantization_aware")


def check_fine_tuning(recipe: "FineTune") -> None:
    """Raise ValueError if a setting is out of range or if two settings exclude each other."""
    parse_trainable(recipe.trainable)
    recipe.check_at_least_one("epochs", "gradient_accumulation_steps")
    for name in ("limit_train_examples", "patience", "num_layers", "num_heads", "embedding_rank"):
        if getattr(recipe, name) is not None:
            recipe.check_at_least_one(name)
    if not 0 < recipe.layer_decay <= 1:
        raise ValueError(f"layer_decay={recipe.layer_decay}; it is a factor in (0, 1]")
    if recipe.head_rate <= 0:
        raise ValueError(f"head_rate={recipe.head_rate}; it must be above 0")
    if recipe.ema_momentum is not None and not 0 < recipe.ema_momentum < 1:
        raise ValueError(f"ema_momentum={recipe.ema_momentum}; it is a momentum in (0, 1), such as 0.999")
    _check_held_out(recipe)
    _check_compression(recipe)


def check_no_encoder_settings(recipe: "FineTune") -> None:
    """Raise ValueError if a setting is given that only encoders support."""
    for name in _OF_ENCODERS:
        if getattr(recipe, name):
            raise ValueError(f"{name} is for encoders; {type(recipe).__name__} does not support it")


def _check_held_out(recipe: "FineTune") -> None:
    split = recipe.validation_split
    if split is not None and not 0 < split < 1:
        raise ValueError(f"validation_split={split}; it is a fraction of the examples, in (0, 1)")
    if split is not None and recipe.validation is not None:
        raise ValueError("validation and validation_split exclude each other: give only one of them")
    picks = recipe.load_best or recipe.patience is not None
    if picks and recipe.validation is None and split is None:
        raise ValueError("load_best and patience (early stopping) need `validation` or `validation_split`")
    if picks and recipe.prune is not None:
        raise ValueError(
            "prune excludes load_best and patience: it must keep the last epoch, because earlier ones lack some zeros"
        )


def _check_compression(recipe: "FineTune") -> None:
    if recipe.prune is not None:
        Sparsity.parse(recipe.prune)
    if recipe.clusters is not None and recipe.clusters < 2:
        raise ValueError(f"clusters={recipe.clusters}; it must be at least 2")
    if recipe.prune is not None and recipe.clusters is not None:
        raise ValueError(
            "prune and clusters exclude each other: prune first, then fine-tune the pruned model with clusters, which "
            "keeps its zeros"
        )
    if recipe.trainable != "all" and (recipe.prune is not None or recipe.clusters is not None):
        raise ValueError(
            f"prune and clusters change every kernel, so they need trainable='all', not {recipe.trainable!r}"
        )
    if recipe.trainable.startswith("lora") and recipe.quantization_aware:
        raise ValueError("quantization_aware must train the kernels that it rounds; with lora they are not trained")
