"""Folders of sentence-transformers: a chain of modules of which the first is a Transformer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_plm.models import Embedder, write_json
from keras_plm.models.embedder import Pooling

from .tensors import inside, read_json

_MODULES = "modules.json"


@dataclass(frozen=True)
class Modules:
    """What the chain says.

    Attributes:
        folder: of the Transformer.
        pooling: how token vectors become one.
        normalize: whether that is scaled to length 1.
        max_length: longest text in tokens; None if it does not say.
        lowercase: texts are lower-cased before the tokenizer sees them.
    """

    folder: Path
    pooling: Pooling
    normalize: bool
    max_length: int | None
    lowercase: bool

    def options(self) -> dict[str, Any]:
        """The keyword arguments of an Embedder."""
        return {"pooling": self.pooling, "normalize": self.normalize, "max_length": self.max_length}


def read_modules(folder: Path) -> Modules | None:
    """The chain of a folder; None if it is not one of sentence-transformers.

    Raises:
        ValueError: a module that is not supported, a pooling other than mean or cls, a path that leads out of the
            folder.
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
        "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls",
        "pooling_mode_mean": "mean", "pooling_mode_cls": "cls",
    }  # fmt: skip
    if len(used) != 1 or not used <= set(pooling):
        raise ValueError(f"{kinds['Pooling']} pools by {sorted(used)}; supported are mean and cls")
    limits = kinds["Transformer"] / "sentence_bert_config.json"
    text = read_json(limits) if limits.is_file() else {}
    max_length = text.get("max_seq_length")
    if not isinstance(max_length, int | None):
        raise ValueError(f"{limits}: max_seq_length={max_length!r} is not a number")
    lowercase = bool(text.get("do_lower_case", False))
    return Modules(kinds["Transformer"], pooling[used.pop()], "Normalize" in kinds, max_length, lowercase)


def write_modules(folder: Path, model: Embedder) -> None:
    """The chain of an Embedder."""
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
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    limit = model.max_length or model.config.max_sequence_length
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False})
