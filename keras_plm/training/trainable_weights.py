"""The weights that a fine-tuning trains, and their learning rates."""

import re
from typing import Any

_BLOCK = re.compile(r"(?:^|/)block_(\d+)/")
_LORA = ("lora_a", "lora_b")


def parse_trainable(trainable: str) -> tuple[str, int]:
    """Parse "all", "head", "last:K", "lora:R" or "adapter:R" into a kind and a number; "all" and "head" have a 0.

    Raises:
        ValueError: the kind is unknown, or the number is below 1.

    Example:
        >>> parse_trainable("lora:8")
        ('lora', 8)
    """
    if trainable in ("all", "head"):
        return trainable, 0
    kind, _, number = trainable.partition(":")
    if kind not in ("last", "lora", "adapter") or not number.isdigit() or int(number) < 1:
        raise ValueError(
            f"trainable={trainable!r}; choose 'all', 'head', 'last:K', 'lora:R' or 'adapter:R', K and R from 1"
        )
    return kind, int(number)


def freeze(model: Any, trainable: str) -> tuple[int, int]:
    """Freeze all weights of a task model except its head and the part of its backbone that `trainable` names.

    Args:
        model: a task model; for "lora:R" and "adapter:R", it must have LoRA updates or adapters.
        trainable: "all"; "head": only the head; "last:K": also the last K blocks; "lora:R": also the LoRA updates;
            "adapter:R": also the bottleneck adapters and the norms.

    Returns:
        The number of trained weights, and the number of all weights.

    Raises:
        ValueError: there are fewer blocks than K, the model has no LoRA updates or adapters, or nothing is left to
            train.

    Source: Hu et al. 2022, §4, https://arxiv.org/abs/2106.09685; Houlsby et al. 2019, §2, https://arxiv.org/abs/1902.00751
    """
    kind, number = parse_trainable(trainable)
    inside = {weight.path for weight in model.backbone.weights if not weight.path.startswith("pooler/")}
    num_blocks = model.config.num_layers
    if kind == "last" and number > num_blocks:
        raise ValueError(f"trainable={trainable!r}, but the model has {num_blocks} blocks")
    if kind == "last" and getattr(model.config, "shared_layers", False):
        raise ValueError(f"trainable={trainable!r}, but the blocks of this model share their weights")

    def trained(path: str) -> bool:
        if path not in inside:  # the head of a text generator was pre-trained
            return kind in ("all", "head", "last") or not getattr(model, "pretrained_head", False)
        return _in_backbone(path, kind, num_blocks - number)

    # an activation range is not trained; it follows the observed values
    chosen = [trained(weight.path) and not weight.path.endswith("/range") for weight in model.weights]
    wanted = {"lora": "lora_a", "adapter": "adapter"}.get(kind)
    if wanted is not None and not any(wanted in path for path in inside):
        raise ValueError(
            f"trainable={trainable!r}, but no layer of the model has such weights; check the model's Adaptation"
        )
    if not any(chosen):
        raise ValueError(
            f"trainable={trainable!r}, but a {type(model).__name__} has nothing above its backbone to train"
        )
    for weight, train in zip(model.weights, chosen, strict=True):
        weight.trainable = train
    sizes = [_size(weight) for weight in model.weights]
    return sum(size for size, train in zip(sizes, chosen, strict=True) if train), sum(sizes)


def _in_backbone(path: str, kind: str, first_block: int) -> bool:
    """Whether a weight of the backbone is trained; with "last", all blocks from `first_block`."""
    if kind == "last":
        block = _block(path)
        return path.startswith("final_norm/") if block is None else block >= first_block
    if kind == "lora":
        return path.endswith(_LORA)
    is_norm_or_adapter = "adapter" in path or path.endswith(("gamma", "beta"))
    return kind == "all" or (kind == "adapter" and is_norm_or_adapter)


def layer_rates(model: Any, layer_decay: float = 1.0, head_rate: float = 1.0) -> dict[str, float]:
    """Factors of the learning rate by the path of a weight, for `AdamW(rates=…)`.

    Args:
        model: a task model.
        layer_decay: factor of the learning rate from each block to the block below it; the embedding learns slowest.
        head_rate: factor for the head, including the pooler.

    Raises:
        ValueError: `layer_decay` is used, but the blocks share their weights.

    Source: Howard & Ruder 2018, §3.2, https://arxiv.org/abs/1801.06146
    """
    if layer_decay != 1.0:
        _check_own_weights(model, "layer_decay")
    inside = {weight.path for weight in model.backbone.weights}
    num_blocks = model.config.num_layers
    rates = {}
    for weight in model.weights:
        path = weight.path
        if path not in inside or path.startswith("pooler/"):
            rates[path] = head_rate
        elif not path.startswith("final_norm/"):
            block = _block(path)
            rates[path] = layer_decay ** (num_blocks + 1 if block is None else num_blocks - block)
    return {path: rate for path, rate in rates.items() if rate != 1.0}


def unfreezing_steps(model: Any, total_steps: int) -> dict[str, int]:
    """The step at which each weight starts to learn, for `AdamW(first_steps=…)`.

    The head starts at once. Then the blocks follow from top to bottom, in the first half of the training. The embedding
    starts together with the lowest block.

    Raises:
        ValueError: the blocks share their weights.

    Source: Howard & Ruder 2018, §3.3, https://arxiv.org/abs/1801.06146
    Differs: the paper unfreezes one block per epoch; in a short training, the lower blocks would never learn.
    """
    _check_own_weights(model, "gradual_unfreezing")
    num_blocks = model.config.num_layers
    first = {}
    for weight in model.backbone.weights:
        if not weight.path.startswith(("pooler/", "final_norm/")):
            block = _block(weight.path) or 0
            first[weight.path] = (num_blocks - block) * total_steps // (2 * num_blocks)
    return first


def _check_own_weights(model: Any, name: str) -> None:
    if getattr(model.config, "shared_layers", False):
        raise ValueError(f"{name} needs blocks with weights of their own, but the blocks of this model share weights")


def _block(path: str) -> int | None:
    found = _BLOCK.search(path)
    return int(found.group(1)) if found else None


def _size(weight: Any) -> int:
    size = 1
    for axis in weight.shape:
        size *= axis
    return size
