"""LoRA updates alone, in the format of the PEFT library: adapter_config.json and adapter_model.safetensors."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_plm.config import Adaptation
from keras_plm.models import (
    Encoder,
    assign,
    encoder_like,
    named_weights,
    read_json,
    read_safetensors,
    whole_folder,
    write_json,
    write_tensors,
)
from keras_plm.tasks import registered
from keras_plm.tasks.registry import task_of_class

from .architecture import Architecture, Head
from .hugging_face import ARCHITECTURES, candidates, fit
from .rules import Rule

_CONFIG, _WEIGHTS, _LABELS = "adapter_config.json", "adapter_model.safetensors", "labels.json"
_BASE = "base_model.model."


def save_lora(
    model: Any, folder: str | Path, base: str = "", overwrite: bool = False, model_type: str | None = None
) -> None:
    """Write the LoRA updates of a task model and its head, a few hundred kilobytes, as PEFT does.

    Args:
        model: a Classifier, Tagger or QuestionAnswerer with an `Adaptation` of `lora_rank` above 0.
        folder: where to.
        base: name of the checkpoint that the updates belong to, for whoever reads the folder.
        overwrite: replace a folder that is there.
        model_type: whose names of layers: "bert", …; None means the first architecture that has such a model, and BERT
            for an ELECTRA whose sizes BERT has too.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False.
        ValueError: no LoRA updates, or no architecture of Transformers has such a model.

    Differs: updates of a classifier that reads all tokens (pooling "mean" or "max") are for `load_lora` alone:
        Transformers has none.
    """
    lora = model.adaptation
    if not lora.lora_rank:
        raise ValueError("the model has no LoRA updates to save: lora_rank=0")
    architecture, head, names = _tables(model, model_type)[0]
    tensors = {}
    weights = named_weights(model)
    for theirs, ours in names.items():
        prefix = "" if theirs in head.names else architecture.prefix
        module = f"{_BASE}{prefix}{theirs.removesuffix('.weight')}"
        path = ours.removesuffix("kernel")
        if ours.endswith("kernel") and f"{path}lora_a" in weights:
            for letter in "ab":
                value = np.ascontiguousarray(np.asarray(weights[f"{path}lora_{letter}"], np.float32).T)
                tensors[f"{module}.lora_{letter.upper()}.weight"] = value
        elif _is_head(theirs, ours, head):
            value = np.asarray(weights[ours], np.float32)
            tensors[f"{_BASE}{prefix}{theirs}"] = np.ascontiguousarray(value.T if ours.endswith("kernel") else value)
    description = {
        "peft_type": "LORA",
        "task_type": _peft_type(model),
        "base_model_name_or_path": base,
        "r": lora.lora_rank,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": sorted(_modules(names, lora)),
        "modules_to_save": sorted(
            {theirs.split(".")[0] for theirs, ours in names.items() if _is_head(theirs, ours, head)}
        ),
    }
    with whole_folder(folder, overwrite) as temporary:
        write_json(temporary / _CONFIG, description)
        write_tensors(tensors, temporary / _WEIGHTS)
        write_json(temporary / _LABELS, getattr(model, "labels", None))


def load_lora(model: Any, folder: str | Path) -> Any:
    """A copy of a task model with the LoRA updates and the head of a folder; `merge_lora` makes them part of it.

    Args:
        model: a Classifier, Tagger or QuestionAnswerer of the checkpoint that the updates were trained on.
        folder: what `save_lora` or PEFT wrote.

    Returns:
        A model with LoRA updates.

    Raises:
        FileNotFoundError: no such folder, or a file missing in it.
        ValueError: another kind of adapter, other labels, a model that has updates already, updates that match no
            layer, tensors that do not fit; each named.
    """
    folder = Path(folder)
    rank, alpha = _rank_and_alpha(folder)
    tables = _tables(model)
    _check_base(model, folder)
    stored = read_safetensors(folder / _WEIGHTS)
    matched = [{name: _our_path(name, _by_module(*table)) for name in stored} for table in tables]
    # architectures of the same weights differ in the names: the file is of the one that it fits best
    paths = min(matched, key=lambda paths: sum(path is None for path in paths.values()))
    unknown = next((name for name, path in paths.items() if path is None), None)
    if unknown is not None:
        raise ValueError(f"{folder / _WEIGHTS}: {unknown} matches no layer of this {type(model).__name__}")
    tensors: dict[str, Any] = {str(paths[name]): tensor for name, tensor in stored.items()}
    targets = tuple(sorted({path.split("/")[-2] for path in tensors if "/lora_" in path}))
    lora = dataclasses.replace(model.adaptation, lora_rank=rank, lora_alpha=alpha, lora_targets=targets)
    encoder = encoder_like(model, model.config, lora)
    copy = _with_encoder(model, encoder)
    variables = {p: v for p, v in named_weights(copy).items() if p in tensors or "/lora_" in p}
    flipped = {path for path in tensors if path.endswith("kernel") or "/lora_" in path}
    shapes = {path: t.shape[::-1] if path in flipped else t.shape for path, t in tensors.items()}

    def read(path: str) -> np.ndarray:
        value = np.asarray(tensors[path].read(), np.float32)
        return value.T if path in flipped else value

    assign(variables, shapes, read, str(folder / _WEIGHTS))
    return copy


def _rank_and_alpha(folder: Path) -> tuple[int, float]:
    """What adapter_config.json says of the updates."""
    if not (folder / _CONFIG).is_file():
        raise FileNotFoundError(f"{folder} has no {_CONFIG}; is it a folder of PEFT?")
    settings = read_json(folder / _CONFIG)
    try:
        if settings.get("peft_type") != "LORA" or settings.get("use_dora") or settings.get("bias", "none") != "none":
            raise ValueError("only LORA without biases and without DoRA is supported")
        if settings.get("alpha_pattern") or settings.get("rank_pattern"):
            raise ValueError("ranks and scales that differ from layer to layer are not supported")
        rank, alpha = int(settings["r"]), float(settings["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / _CONFIG}: {error!r}") from None
    return rank, alpha * rank**0.5 if settings.get("use_rslora") else alpha  # scaled by α / √r


def _check_base(model: Any, folder: Path) -> None:
    if model.adaptation.lora_rank:
        raise ValueError("the model has LoRA updates already; merge_lora makes them part of it")
    own = getattr(model, "labels", None)
    labels = json.loads((folder / _LABELS).read_text("utf-8")) if (folder / _LABELS).is_file() else own
    if labels != own:
        raise ValueError(f"{folder} is for the labels {labels}, the model has {own}")


def _peft_type(model: Any) -> str:
    """What PEFT calls the task.

    Raises:
        ValueError: it has no name for it.
    """
    task = task_of_class(type(model))
    if task is None or task.peft_type is None:
        known = ", ".join(task.model.__name__ for task in registered() if task.peft_type is not None)
        raise ValueError(f"a {type(model).__name__} has no LoRA format; one of {known} has")
    return task.peft_type


def _tables(model: Any, model_type: str | None = None) -> list[tuple[Architecture, Head, dict[str, str]]]:
    """The architectures that have the model without its LoRA updates, with their heads and their names.

    Raises:
        ValueError: none has such a model.
    """
    if model_type is not None and model_type not in ARCHITECTURES:
        raise ValueError(f"model_type={model_type!r}; choose one of {sorted(ARCHITECTURES)}")
    _peft_type(model)
    found, refusals = [], []
    for architecture in candidates(model) if model_type is None else [ARCHITECTURES[model_type]]:
        try:
            head, _, rules = fit(model, architecture)
        except ValueError as error:
            refusals.append(str(error))
        else:
            found.append((architecture, head, _single(rules)))
    if not found:
        raise ValueError(f"no architecture of Transformers has such a {type(model).__name__}: {'; '.join(refusals)}")
    return found


def _single(rules: list[Rule]) -> dict[str, str]:
    """Their tensor → our weight, for the rules that have one of each: no other has an update of its own."""
    return {r.theirs[0]: r.ours[0] for r in rules if not r.tied and len(r.theirs) == len(r.ours) == 1}


def _by_module(architecture: Architecture, head: Head, names: dict[str, str]) -> dict[str, str]:
    """The paths of our weights by the names of their modules."""
    return {f"{'' if n in head.names else architecture.prefix}{n.removesuffix('.weight')}": o for n, o in names.items()}


def _is_head(theirs: str, ours: str, head: Head) -> bool:
    return theirs in head.names or ours.startswith("pooler/")


def _modules(names: dict[str, str], lora: Adaptation) -> set[str]:
    """The last parts of the names of the layers that have updates, which PEFT matches modules by."""
    modules = set()
    for theirs, ours in names.items():
        parts = ours.split("/")
        if ours.endswith("kernel") and parts[0].startswith("block_") and parts[-2] in lora.lora_targets:
            # the number of the block left out; "dense" alone would match the pooler too
            modules.add(theirs.removesuffix(".weight").split(".", 3)[-1])
    return modules


def _our_path(name: str, by_module: dict[str, str]) -> str | None:
    """The path of our weight for a tensor of PEFT; None if there is none."""
    name = name.removeprefix(_BASE).replace(".modules_to_save.default", "").replace(".modules_to_save", "")
    for letter in "AB":
        for ending in (f".lora_{letter}.weight", f".lora_{letter}.default.weight"):
            kernel = by_module.get(name.removesuffix(ending)) if name.endswith(ending) else None
            if kernel is not None and kernel.endswith("kernel"):
                return f"{kernel.removesuffix('kernel')}lora_{letter.lower()}"
    return by_module.get(name.removesuffix(".weight"))


def _with_encoder(model: Any, encoder: Encoder) -> Any:
    """The model again on another encoder, with its own head."""
    copy = type(model).from_config(model.get_config() | {"tokenizer": model.tokenizer, "encoder": encoder})
    inside = set(named_weights(encoder))
    variables = named_weights(copy)
    for path, weight in named_weights(model).items():
        if path not in inside:
            variables[path].assign(weight)
    return copy
