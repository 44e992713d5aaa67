"""Copies of models with another config, adaptation or tokenizer, and transfer of weights between models."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_plm.config import Adaptation, BackboneConfig, EncoderConfig
from keras_plm.text import Tokenizer

from .encoder import Encoder
from .model_with_backbone import AnyModel
from .saving import named_weights

_POSITIONS = "embedding/positions"


def weight_arrays(model: Any) -> dict[str, np.ndarray]:
    """The values of a model's weights, by path."""
    return {path: np.asarray(weight) for path, weight in named_weights(model).items()}


def remake(
    model: AnyModel,
    weight_of: Callable[[str], Any],
    config: BackboneConfig | None = None,
    adaptation: Adaptation | None = None,
    tokenizer: Tokenizer | None = None,
) -> AnyModel:
    """Create a model of the same class with the same settings and other weights.

    Args:
        model: one of this package's models.
        weight_of: takes the path of a weight of the new model, and returns its value; None keeps the initial value.
        config: config of the new model. For this and the next two arguments, None means the one of `model`.
        adaptation: LoRA, adapters or fake quantization in the layers of the new model.
        tokenizer: tokenizer of the new model.
    """
    fields = {
        "config": (config or model.config).to_dict(),
        "adaptation": (adaptation or model.adaptation).to_dict(),
        "tokenizer": tokenizer or model.tokenizer,
    }
    kind: Any = type(model)
    new = kind.from_config(model.get_config() | fields)
    for path, variable in named_weights(new).items():
        value = weight_of(path)
        if value is not None:
            variable.assign(value)
    return new


def copy_model(model: AnyModel) -> AnyModel:
    """Copy the model. The copy has the current global dtype policy."""
    return remake(model, weight_arrays(model).__getitem__)


def encoder_like(pretrained: Any, config: EncoderConfig, adaptation: Adaptation | None = None) -> Encoder:
    """Create an encoder with another config or adaptation, and copy the weights of a pre-trained model to it.

    The positions are truncated to the length in the config. LoRA updates, adapters and a pooler are new unless the
    pre-trained model has them.

    Args:
        pretrained: an `Encoder`, or a model that contains one.
        config: config of the new encoder.
        adaptation: LoRA, adapters or fake quantization in its layers; None means the adaptation of the pre-trained
            model.
    """
    source = pretrained if isinstance(pretrained, Encoder) else pretrained.encoder
    encoder = Encoder(config, pretrained.tokenizer, adaptation or source.adaptation)
    there = named_weights(source)
    for path, variable in named_weights(encoder).items():
        if path in there:
            weight = there[path]
            variable.assign(weight[: config.max_sequence_length] if path == _POSITIONS else weight)
    return encoder


def copy_head(trained: Any, model: Any) -> bool:
    """Copy the head of a trained model to a model with the same task.

    Both models must have the same class, width and pooling, and the same labels in the same order. Weights that the
    trained model does not have, such as those of a conditional random field, are unchanged.

    Args:
        trained: any of this package's models.
        model: a task model.

    Returns:
        Whether the head was copied. If not, the model is unchanged.
    """
    settings = ("labels", "multi_label", "pooling")
    if type(trained) is not type(model):
        return False
    if any(getattr(trained, name, None) != getattr(model, name, None) for name in settings):
        return False
    pooled = getattr(model, "pooling", None) == "cls"  # other poolings do not use the pooler
    if pooled and trained.config.has_pooler != model.config.has_pooler:
        return False
    there, shared = named_weights(trained), set(named_weights(model.backbone))
    head = {path: var for path, var in named_weights(model).items() if path not in shared and path in there}
    if not head or any(there[path].shape != variable.shape for path, variable in head.items()):
        return False
    for path, variable in head.items():
        variable.assign(there[path])
    return True


def merge_lora(model: AnyModel) -> AnyModel:
    """Create an equivalent model without LoRA updates: each update is added to its kernel.

    Args:
        model: one of this package's models, whose `Adaptation` has a `lora_rank` above 0.

    Raises:
        ValueError: the model has no LoRA updates.

    Source: Hu et al. 2022, §4.1, https://arxiv.org/abs/2106.09685
    """
    lora = model.adaptation
    if not lora.lora_rank:
        raise ValueError("the model has no LoRA updates to merge: lora_rank=0")
    there = weight_arrays(model)

    def weight_of(path: str) -> np.ndarray:
        update = path.removesuffix("kernel") + "lora_a"
        if not path.endswith("kernel") or update not in there:
            return there[path]
        return there[path] + lora.lora_scale * there[update] @ there[update[:-1] + "b"]

    return remake(model, weight_of, adaptation=lora.without_lora())
