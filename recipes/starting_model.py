"""What a fine-tuning begins with, and what it ends with: parts of a pre-trained model, sparsity and clusters."""

import dataclasses
from typing import TYPE_CHECKING, Any

from keras_plm.checkpoints import load
from keras_plm.compression import Clusterer, Pruner, factorize_embedding, shrink
from keras_plm.compression.shrinking import smaller_config
from keras_plm.config import Adaptation, EncoderConfig
from keras_plm.models import copy_head, encoder_like, merge_lora
from keras_plm.tasks import Pretrainer
from keras_plm.training import parse_trainable

if TYPE_CHECKING:
    from .fine_tune import FineTune


def starting_model(recipe: "FineTune", examples: Any) -> Any:
    """The task model with the pre-trained weights, and its head if those are of the same task.

    Args:
        recipe: a fine-tuning.
        examples: those that the labels are taken from.
    """
    pretrained = load(recipe.encoder)
    if pretrained.tokenizer is None:
        raise ValueError(f"{recipe.encoder} was saved without a tokenizer")
    positions = pretrained.config.max_sequence_length
    if recipe.max_length > positions:
        raise ValueError(f"max_length={recipe.max_length}, but the encoder has {positions} positions")
    pretrained = _smaller(recipe, pretrained)
    config, adaptation = fine_tuned_config(recipe, pretrained.config), fine_tuned_adaptation(recipe, pretrained)
    model = recipe.make(encoder_like(pretrained, config, adaptation), examples)
    if copy_head(pretrained, model) and recipe.verbose:
        print(f"the head of {recipe.encoder} is reused")
    return model


def _smaller(recipe: "FineTune", pretrained: Any) -> Any:
    """The pre-trained model with its LoRA updates merged, or a part of it."""
    if pretrained.adaptation.lora_rank:
        pretrained = merge_lora(pretrained)
    if recipe.num_layers is not None or recipe.num_heads is not None:
        pretrained = shrink(pretrained, smaller_config(pretrained.config, recipe.num_layers, recipe.num_heads))
    if recipe.embedding_rank is None:
        return pretrained
    # without the head that predicts tokens: it needs the whole embedding matrix
    model = pretrained.encoder if isinstance(pretrained, Pretrainer) else pretrained
    return factorize_embedding(model, recipe.embedding_rank)


def fine_tuned_config(recipe: "FineTune", config: EncoderConfig) -> EncoderConfig:
    """The config of the model, from that of the pre-trained one."""
    return dataclasses.replace(
        config,
        dropout=recipe.dropout,
        attention_dropout=recipe.dropout,
        has_pooler=recipe.needs_pooler,
        max_sequence_length=recipe.max_length,  # later positions would go untrained, and into every artifact
    )


def fine_tuned_adaptation(recipe: "FineTune", pretrained: Any) -> Adaptation:
    """What is added to the layers of the model; adapters that are there stay."""
    kind, rank = parse_trainable(recipe.trainable)
    there = pretrained.adaptation.adapter_dim
    if kind == "adapter" and there not in (0, rank):
        raise ValueError(f"trainable={recipe.trainable!r}, but the encoder has adapters of {there}")
    return Adaptation(
        lora_rank=rank if kind == "lora" else 0,
        lora_alpha=2.0 * rank if kind == "lora" else Adaptation.lora_alpha,
        adapter_dim=rank if kind == "adapter" else there,
        quantization_aware=recipe.quantization_aware,
    )


def compressor(recipe: "FineTune", model: Any, updates: int) -> Pruner | Clusterer | None:
    """A callback that keeps the kernels sparse or clustered, and applies that to the weights that are kept.

    Args:
        recipe: a fine-tuning.
        model: the task model.
        updates: steps of the optimizer in the whole training.
    """
    if recipe.clusters is not None:
        return Clusterer(model, recipe.clusters)
    return None if recipe.prune is None else Pruner(model, recipe.prune, updates)
