"""LoRA updates alone, in the format of the PEFT library: adapter_config.json and adapter_model.safetensors."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_plm.config import Adaptation
from keras_plm.models import (
    assign,
    named_weights,
    read_json,
    read_safetensors,
    remake,
    weight_arrays,
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
    """Write the LoRA updates and the head of a task model in PEFT's format, a few hundred kilobytes.

    Args:
        model: a Classifier, Tagger, QuestionAnswerer or TextGenerator with an `Adaptation` of `lora_rank` above 0.
        folder: the output folder.
        base: name of the checkpoint that the updates belong to, as information for readers of the folder.
        overwrite: replace an existing folder.
        model_type: architecture whose layer names are used: "bert", …. None means the first architecture that supports
            the model; for an ELECTRA with sizes that BERT also supports, this is BERT.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False.
        ValueError: there are no LoRA updates, or no architecture of Transformers supports the model.

    Differs: updates of a classifier with pooling "mean" or "max" can only be loaded by `load_lora`, because
        Transformers has no such classifiers.
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
        elif _is_head(theirs, ours, head) and not model.pretrained_head:
            value = np.asarray(weights[ours], np.float32)
            tensors[f"{_BASE}{prefix}{theirs}"] = np.ascontiguousarray(value.T if ours.endswith("kernel") else value)
    lost = sorted(
        {p.rpartition("/")[0] for p in weights if p.endswith("/lora_a")}
        - {o.rpartition("/")[0] for o in names.values()}
    )
    if lost:
        raise ValueError(
            f"{architecture.model_type} has one layer for several of ours, so PEFT has no name for the updates of "
            f"{lost[0]}; use plm.save, or plm.merge_lora and to_hugging_face"
        )
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
            if not model.pretrained_head
            else ()
        ),
    }
    with whole_folder(folder, overwrite) as temporary:
        write_json(temporary / _CONFIG, description)
        write_tensors(tensors, temporary / _WEIGHTS)
        write_json(temporary / _LABELS, getattr(model, "labels", None))


def load_lora(model: Any, folder: str | Path) -> Any:
    """A copy of a task model with the LoRA updates and the head from a folder. `merge_lora` merges the updates.

    Args:
        model: a Classifier, Tagger, QuestionAnswerer or TextGenerator with the checkpoint of the updates.
        folder: a folder that `save_lora` or PEFT wrote.

    Returns:
        A model with LoRA updates.

    Raises:
        FileNotFoundError: the folder does not exist, or a file in it is missing.
        ValueError: the adapter is of another kind or for other labels, the model already has updates, updates match no
            layer, or tensors do not fit. The message names them.
    """
    folder = Path(folder)
    rank, alpha = _rank_and_alpha(folder)
    tables = _tables(model)
    _check_base(model, folder)
    stored = read_safetensors(folder / _WEIGHTS)
    matched = [{name: _our_path(name, _by_module(*table)) for name in stored} for table in tables]
    # several architectures may have the same weights with other names; choose the one that fits the file best
    paths = min(matched, key=lambda paths: sum(path is None for path in paths.values()))
    unknown = next((name for name, path in paths.items() if path is None), None)
    if unknown is not None:
        raise ValueError(f"{folder / _WEIGHTS}: {unknown} matches no layer of this {type(model).__name__}")
    tensors: dict[str, Any] = {str(paths[name]): tensor for name, tensor in stored.items()}
    targets = tuple(sorted({path.split("/")[-2] for path in tensors if "/lora_" in path}))
    lora = dataclasses.replace(model.adaptation, lora_rank=rank, lora_alpha=alpha, lora_targets=targets)
    copy = remake(model, weight_arrays(model).get, adaptation=lora)
    variables = {p: v for p, v in named_weights(copy).items() if p in tensors or "/lora_" in p}
    flipped = {path for path in tensors if path.endswith("kernel") or "/lora_" in path}
    shapes = {path: t.shape[::-1] if path in flipped else t.shape for path, t in tensors.items()}

    def read(path: str) -> np.ndarray:
        value = np.asarray(tensors[path].read(), np.float32)
        return value.T if path in flipped else value

    assign(variables, shapes, read, str(folder / _WEIGHTS))
    return copy


def _rank_and_alpha(folder: Path) -> tuple[int, float]:
    """The rank and alpha of the updates, from adapter_config.json."""
    if not (folder / _CONFIG).is_file():
        raise FileNotFoundError(f"{folder} has no {_CONFIG}; is it a PEFT folder?")
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
        raise ValueError("the model already has LoRA updates; merge them first with plm.merge_lora")
    own = getattr(model, "labels", None)
    labels = json.loads((folder / _LABELS).read_text("utf-8")) if (folder / _LABELS).is_file() else own
    if labels != own:
        raise ValueError(f"{folder} is for the labels {labels}, but the model has {own}")


def _peft_type(model: Any) -> str:
    """The name of the task in PEFT.

    Raises:
        ValueError: PEFT does not have the task.
    """
    task = task_of_class(type(model))
    if task is None or task.peft_type is None:
        known = ", ".join(task.model.__name__ for task in registered() if task.peft_type is not None)
        raise ValueError(f"a {type(model).__name__} has no LoRA format; use one of {known}")
    return task.peft_type


def _tables(model: Any, model_type: str | None = None) -> list[tuple[Architecture, Head, dict[str, str]]]:
    """The architectures that support the model without its LoRA updates, with the head and the names of the weights.

    Raises:
        ValueError: no architecture supports the model.
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
        raise ValueError(f"no architecture of Transformers supports this {type(model).__name__}: {'; '.join(refusals)}")
    return found


def _single(rules: list[Rule]) -> dict[str, str]:
    """Hugging Face's tensor → our weight, for one-to-one rules. Only these weights can have LoRA updates."""
    return {r.theirs[0]: r.ours[0] for r in rules if not r.tied and len(r.theirs) == len(r.ours) == 1}


def _by_module(architecture: Architecture, head: Head, names: dict[str, str]) -> dict[str, str]:
    """Hugging Face's module name → path of our weight."""
    return {f"{'' if n in head.names else architecture.prefix}{n.removesuffix('.weight')}": o for n, o in names.items()}


def _is_head(theirs: str, ours: str, head: Head) -> bool:
    return theirs in head.names or ours.startswith("pooler/")


def _modules(names: dict[str, str], lora: Adaptation) -> set[str]:
    """The name endings of the layers with updates; PEFT matches modules by these endings."""
    modules = set()
    for theirs, ours in names.items():
        parts = ours.split("/")
        if ours.endswith("kernel") and parts[0].startswith("block_") and parts[-2] in lora.lora_targets:
            # the name after the number of the block; "dense" alone would also match the pooler
            modules.add(theirs.removesuffix(".weight").split(".", 3)[-1])
    return modules


def _our_path(name: str, by_module: dict[str, str]) -> str | None:
    """The path of our weight for a PEFT tensor; None if there is none."""
    name = name.removeprefix(_BASE).replace(".modules_to_save.default", "").replace(".modules_to_save", "")
    for letter in "AB":
        for ending in (f".lora_{letter}.weight", f".lora_{letter}.default.weight"):
            kernel = by_module.get(name.removesuffix(ending)) if name.endswith(ending) else None
            if kernel is not None and kernel.endswith("kernel"):
                return f"{kernel.removesuffix('kernel')}lora_{letter.lower()}"
    return by_module.get(name.removesuffix(".weight"))
