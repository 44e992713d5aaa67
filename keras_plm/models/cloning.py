"""The same weights in another model."""

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
    """The values of a model's weights by path."""
    return {path: np.asarray(weight) for path, weight in named_weights(model).items()}


def remake(
    model: AnyModel,
    weight_of: Callable[[str], Any],
    config: BackboneConfig | None = None,
    adaptation: Adaptation | None = None,
    tokenizer: Tokenizer | None = None,
) -> AnyModel:
    """The same kind of model with the same settings and other weights.

    Args:
        model: one of this package's models.
        weight_of: the value of each weight of the new model, by its path.
        config: of the new one; None means the model's own, as for the next two.
        adaptation: LoRA, adapters or fake quantization in its layers.
        tokenizer: of its ids.
    """
    fields = {
        "config": (config or model.config).to_dict(),
        "adaptation": (adaptation or model.adaptation).to_dict(),
        "tokenizer": tokenizer or model.tokenizer,
    }
    kind: Any = type(model)
    new = kind.from_config(model.get_config() | fields)
    for path, variable in named_weights(new).items():
        variable.assign(weight_of(path))
    return new


def copy_model(model: AnyModel) -> AnyModel:
    """The model again, under the surrounding dtype policy."""
    return remake(model, weight_arrays(model).__getitem__)


def encoder_like(pretrained: Any, config: EncoderConfig, adaptation: Adaptation | None = None) -> Encoder:
    """An encoder of another config or with another adaptation, with the weights of a pre-trained model that both have.

    Positions are cut to those of the config; LoRA updates, adapters and a pooler that were not pre-trained are new.

    Args:
        pretrained: an `Encoder`, or a model that has one.
        config: what the encoder shall be like.
        adaptation: LoRA, adapters or fake quantization in its layers; None means those of the pre-trained one.
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
    """Give a task model the head of another one that does the same.

    That is one of the same kind and width, with the same labels in the same order and the same pooling. What the other
    one has not, such as a conditional random field, stays as it is.

    Args:
        trained: any of this package's models.
        model: a task model.

    Returns:
        Whether it got it; if not, it is as it was.
    """
    settings = ("labels", "multi_label", "pooling")
    if type(trained) is not type(model):
        return False
    if any(getattr(trained, name, None) != getattr(model, name, None) for name in settings):
        return False
    pooled = (
        getattr(model, "pooling", None) == "cls"
    )  # the others read the tokens, not what a pooler makes of the first
    if pooled and trained.config.has_pooler != model.config.has_pooler:
        return False
    there, shared = named_weights(trained), set(named_weights(model.encoder))
    head = {path: var for path, var in named_weights(model).items() if path not in shared and path in there}
    if not head or any(there[path].shape != variable.shape for path, variable in head.items()):
        return False
    for path, variable in head.items():
        variable.assign(there[path])
    return True


def merge_lora(model: AnyModel) -> AnyModel:
    """A model without LoRA updates that answers the same: each update is added to its kernel.

    Args:
        model: one of this package's models, made with an `Adaptation` of `lora_rank` above 0.

    Raises:
        ValueError: it has no LoRA updates.

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
