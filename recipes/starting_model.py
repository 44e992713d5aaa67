"""The model that a fine-tuning starts from, and the callback that makes its kernels sparse or clustered."""

import dataclasses
from typing import TYPE_CHECKING, Any

from keras_plm.checkpoints import load
from keras_plm.compression import Clusterer, Pruner, factorize_embedding, shrink
from keras_plm.compression.shrinking import smaller_config
from keras_plm.config import Adaptation
from keras_plm.models import merge_lora, remake, weight_arrays
from keras_plm.tasks import Pretrainer
from keras_plm.training import parse_trainable

if TYPE_CHECKING:
    from .fine_tune import FineTune


def starting_model(recipe: "FineTune", examples: Any) -> Any:
    """The task model with the pre-trained weights. The head is reused if the pre-trained model has the same task.

    Args:
        recipe: a fine-tuning recipe.
        examples: the examples that define the set of labels.
    """
    pretrained = load(recipe.start_from)
    if pretrained.tokenizer is None:
        raise ValueError(f"{recipe.start_from} was saved without a tokenizer")
    if type(pretrained.config) is not recipe.config_class:
        raise ValueError(
            f"{recipe.start_from} is a {type(pretrained).__name__}; {type(recipe).__name__} starts from a model with a "
            f"{recipe.config_class.__name__}"
        )
    positions = pretrained.config.max_sequence_length
    if recipe.max_length > positions:
        raise ValueError(f"max_length={recipe.max_length}, but the model has {positions} positions")
    pretrained = _smaller(recipe, pretrained)
    return recipe.start(pretrained, fine_tuned_adaptation(recipe, pretrained), examples)


def restarted(recipe: "FineTune", pretrained: Any, adaptation: Adaptation) -> Any:
    """The pre-trained model of the recipe's task with its head, and with the dropout and adaptation of the recipe."""
    if not isinstance(pretrained, recipe.task.model):
        name = recipe.task.model.__name__
        raise ValueError(f"{recipe.start_from} is a {type(pretrained).__name__}; give a {name}")
    config = dataclasses.replace(pretrained.config, dropout=recipe.dropout, attention_dropout=recipe.dropout)
    return remake(pretrained, weight_arrays(pretrained).get, config, adaptation)


def _smaller(recipe: "FineTune", pretrained: Any) -> Any:
    """The pre-trained model with merged LoRA updates, shrunk and factorized if the recipe says so."""
    if pretrained.adaptation.lora_rank:
        pretrained = merge_lora(pretrained)
    if recipe.num_layers is not None or recipe.num_heads is not None:
        pretrained = shrink(pretrained, smaller_config(pretrained.config, recipe.num_layers, recipe.num_heads))
    if recipe.embedding_rank is None:
        return pretrained
    # without the masked-token head, which needs the whole embedding matrix
    model = pretrained.encoder if isinstance(pretrained, Pretrainer) else pretrained
    return factorize_embedding(model, recipe.embedding_rank)


def fine_tuned_adaptation(recipe: "FineTune", pretrained: Any) -> Adaptation:
    """The `Adaptation` of the task model. Adapters of the pre-trained model stay."""
    kind, rank = parse_trainable(recipe.trainable)
    there = pretrained.adaptation.adapter_dim
    if kind == "adapter" and there not in (0, rank):
        raise ValueError(f"trainable={recipe.trainable!r}, but the model has adapters of size {there}")
    return Adaptation(
        lora_rank=rank if kind == "lora" else 0,
        lora_alpha=2.0 * rank if kind == "lora" else Adaptation.lora_alpha,
        adapter_dim=rank if kind == "adapter" else there,
        quantization_aware=recipe.quantization_aware,
    )


def compressor(recipe: "FineTune", model: Any, updates: int) -> Pruner | Clusterer | None:
    """A callback that keeps the kernels sparse or clustered. Its `apply` does the same to the final weights.

    Args:
        recipe: a fine-tuning recipe.
        model: the task model.
        updates: optimizer steps of the whole training.
    """
    if recipe.clusters is not None:
        return Clusterer(model, recipe.clusters)
    return None if recipe.prune is None else Pruner(model, recipe.prune, updates)
