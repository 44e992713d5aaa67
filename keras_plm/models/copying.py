"""The same weights in another model."""

from typing import Any

import numpy as np

from keras_plm.config import ModelConfig

from .encoder import Encoder
from .saving import named_weights

_POSITIONS = "embedding/positions"


def copy_model(model: Any, config: ModelConfig | None = None) -> Any:
    """The model again, under the surrounding dtype policy, perhaps with another config that has the same weights.

    Args:
        model: one of this package's models.
        config: None means the model's own.
    """
    fields = model.get_config() | {"tokenizer": model.tokenizer}
    if config is not None:
        fields["config"] = config.to_dict()
    copy = type(model).from_config(fields)
    variables = named_weights(copy)
    for path, weight in named_weights(model).items():
        variables[path].assign(weight)
    return copy


def encoder_like(pretrained: Any, config: ModelConfig) -> Encoder:
    """An encoder of another config with the weights of a pre-trained model that both have.

    Positions are cut to those of the config; low-rank updates, adapters and a pooler that were not pre-trained are new.

    Args:
        pretrained: an `Encoder`, or a model that has one.
        config: what the encoder shall be like.
    """
    source = pretrained if isinstance(pretrained, Encoder) else pretrained.encoder
    encoder = Encoder(config, pretrained.tokenizer)
    there = named_weights(source)
    for path, variable in named_weights(encoder).items():
        if path in there:
            weight = there[path]
            variable.assign(weight[: config.max_sequence_length] if path == _POSITIONS else weight)
    return encoder


def merge_lora(model: Any) -> Any:
    """A model without low-rank updates that answers the same: each update is added to its kernel.

    Args:
        model: one of this package's models, made with `lora_rank` above 0.

    Raises:
        ValueError: it has no low-rank updates.

    Source: Hu et al. 2022, §4.1, https://arxiv.org/abs/2106.09685
    """
    config = model.config
    if not config.lora_rank:
        raise ValueError("the model has no low-rank updates to merge: lora_rank=0")
    fields = model.get_config() | {"tokenizer": model.tokenizer}
    merged = type(model).from_config(fields | {"config": config.without_lora().to_dict()})
    there = {path: np.asarray(weight) for path, weight in named_weights(model).items()}
    for path, variable in named_weights(merged).items():
        value = there[path]
        update = path.removesuffix("kernel") + "low_rank_a"
        if path.endswith("kernel") and update in there:
            value = value + config.lora_alpha / config.lora_rank * there[update] @ there[update[:-1] + "b"]
        variable.assign(value)
    return merged
