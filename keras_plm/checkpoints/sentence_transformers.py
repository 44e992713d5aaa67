"""Folders of sentence-transformers: a chain of modules that starts with a Transformer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_plm.models import inside, read_json, write_json
from keras_plm.tasks import Embedder, Pooling

_MODULES = "modules.json"
_PROMPTS = "config_sentence_transformers.json"
# the files in which sentence-transformers looks for the limit, in its order
_LIMITS = [
    f"sentence_{name}config.json"
    for name in ("bert_", "roberta_", "distilbert_", "camembert_", "albert_", "xlm-roberta_", "xlnet_")
]


@dataclass(frozen=True)
class Modules:
    """The settings of the module chain.

    Attributes:
        folder: the folder of the Transformer.
        pooling: how token vectors are combined into one vector.
        normalize: whether the vector is scaled to length 1.
        max_length: longest text in tokens; None if no file has it.
        lowercase: whether texts are lower-cased before the tokenizer.
        prompt: a prefix for every text.
    """

    folder: Path
    pooling: Pooling
    normalize: bool
    max_length: int | None
    lowercase: bool
    prompt: str = ""

    def options(self) -> dict[str, Any]:
        """The keyword arguments of an Embedder."""
        return {
            "pooling": self.pooling,
            "normalize": self.normalize,
            "max_length": self.max_length,
            "prompt": self.prompt,
        }


def read_modules(folder: Path) -> Modules | None:
    """Read the module chain of a folder; None if it is not a sentence-transformers folder.

    Raises:
        ValueError: a module is not supported, the pooling is not mean, max or cls, the limit is not a number, the
            default prompt is missing, or a path is outside the folder.
    """
    path = folder / _MODULES
    if not path.is_file():
        return None
    try:
        chain = json.loads(path.read_text("utf-8"))
        names = [module["type"] for module in chain]
        kinds = {
            name.rsplit(".", 1)[-1]: inside(folder, module["path"]) for name, module in zip(names, chain, strict=True)
        }
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a list of modules: {error!r}") from None
    ours = all(name.startswith("sentence_transformers.") for name in names) and len(kinds) == len(names)
    if not ours or set(kinds) not in ({"Transformer", "Pooling"}, {"Transformer", "Pooling", "Normalize"}):
        raise ValueError(f"{path} has the modules {names}; supported are Transformer, Pooling, Normalize, once each")
    settings = read_json(kinds["Pooling"] / "config.json")
    used = {name for name, value in settings.items() if name.startswith("pooling_mode") and value is True}
    if isinstance(settings.get("pooling_mode"), str):  # newer versions
        used = {f"pooling_mode_{settings['pooling_mode']}"}
    pooling: dict[str, Pooling] = {
        "pooling_mode_mean_tokens": "mean", "pooling_mode_max_tokens": "max", "pooling_mode_cls_token": "cls",
        "pooling_mode_mean": "mean", "pooling_mode_max": "max", "pooling_mode_cls": "cls",
    }  # fmt: skip
    if len(used) != 1 or not used <= set(pooling):
        raise ValueError(f"{kinds['Pooling']} pools by {sorted(used)}; supported are mean, max and cls")
    prompt = _default_prompt(folder / _PROMPTS)
    if prompt and settings.get("include_prompt") is False:
        raise ValueError(f"{kinds['Pooling']} excludes the prompt from pooling (include_prompt=false): not supported")
    max_length, lowercase = _limit(kinds["Transformer"])
    return Modules(kinds["Transformer"], pooling[used.pop()], "Normalize" in kinds, max_length, lowercase, prompt)


def _limit(folder: Path) -> tuple[int | None, bool]:
    """Longest text in tokens, and whether texts are lower-cased, from the files that sentence-transformers reads."""
    path = next((folder / name for name in _LIMITS if (folder / name).is_file()), folder / _LIMITS[0])
    text = read_json(path) if path.is_file() else {}
    lowercase, limit = text.get("do_lower_case", False), text.get("max_seq_length")
    if not isinstance(lowercase, bool):
        raise ValueError(f"{path}: do_lower_case={lowercase!r} is neither true nor false")
    if limit is not None:
        return _positive(limit, "max_seq_length", path), lowercase
    config = read_json(folder / "config.json")
    settings = folder / "tokenizer_config.json"
    limit = read_json(settings).get("model_max_length") if settings.is_file() else None
    positions = config.get("max_position_embeddings")
    if limit is None or positions is None:
        return None, lowercase
    return min(
        _positive(limit, "model_max_length", settings),
        _positive(positions, "max_position_embeddings", folder / "config.json"),
    ), lowercase


def _positive(value: Any, name: str, path: Path) -> int:
    if isinstance(value, float) and value.is_integer():  # Transformers writes "no limit" as 1e30
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{path}: {name}={value!r} is not a number of tokens")
    return value


def _default_prompt(path: Path) -> str:
    """The prefix of every text; "" if there is none."""
    content = read_json(path) if path.is_file() else {}
    name, prompts = content.get("default_prompt_name"), content.get("prompts") or {}
    if name is None:
        return ""
    if not isinstance(prompts, dict) or not isinstance(prompts.get(name), str):
        raise ValueError(f"{path}: default_prompt_name={name!r} is not one of its prompts")
    return prompts[name]


def write_modules(folder: Path, model: Embedder) -> None:
    """Write the module chain of an Embedder."""
    chain = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * model.normalize
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(chain)
    ]
    for path, _ in chain[1:]:
        (folder / path).mkdir()
    write_json(folder / _MODULES, modules)
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": model.config.hidden_dim,
            "pooling_mode_cls_token": model.pooling == "cls",
            "pooling_mode_mean_tokens": model.pooling == "mean",
            "pooling_mode_max_tokens": model.pooling == "max",
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    write_json(folder / _LIMITS[0], {"max_seq_length": model.longest_row, "do_lower_case": False})
    if model.prompt:
        write_json(folder / _PROMPTS, {"prompts": {"default": model.prompt}, "default_prompt_name": "default"})
