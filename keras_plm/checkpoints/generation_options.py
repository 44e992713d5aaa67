"""What a folder of Transformers says about generation: first and last tokens, and the chat template."""

from pathlib import Path
from typing import Any

from keras_plm.config import BackboneConfig, EncoderDecoderConfig
from keras_plm.models import read_json
from keras_plm.text import Tokenizer

_CHAT_TEMPLATE = "chat_template.jinja"
_STARTS = ("decoder_start_token_id", "forced_bos_token_id")


def read_generation_options(
    folder: Path, theirs: dict[str, Any], tokenizer: Tokenizer, config: BackboneConfig
) -> dict[str, Any]:
    """The keyword arguments of a `TextGenerator` or `Seq2Seq` from the files of a folder.

    Args:
        folder: the folder.
        theirs: the fields of its config.json.
        tokenizer: its tokenizer.
        config: our config of the model.

    Raises:
        ValueError: a value has the wrong type, or a token id is outside the vocabulary.
    """
    options: dict[str, Any] = {"end_tokens": _end_tokens(folder, theirs, tokenizer)}
    if isinstance(config, EncoderDecoderConfig):
        return options | {"start_tokens": _start_tokens(folder, theirs, tokenizer)}
    return options | {"chat_template": _chat_template(folder)}


def write_generation_options(model: Any, folder: Path) -> dict[str, Any]:
    """The inverse of `read_generation_options`. Returns fields of config.json, and writes the chat template."""
    fields: dict[str, Any] = {}
    if getattr(model, "end_tokens", ()):
        fields["eos_token_id"] = model.end_ids
    if getattr(model, "start_tokens", ()):
        if len(model.start_ids) > len(_STARTS):
            raise ValueError(f"Transformers has at most two start tokens, not {model.start_tokens}")
        fields |= dict(zip(_STARTS, model.start_ids, strict=False))
    if getattr(model, "chat_template", None) is not None:
        (folder / _CHAT_TEMPLATE).write_text(model.chat_template, "utf-8")
    return fields


def _end_tokens(folder: Path, theirs: dict[str, Any], tokenizer: Tokenizer) -> list[str]:
    """The tokens that end a text: `eos_token_id` in generation_config.json and in config.json, a number or a list."""
    path = folder / "generation_config.json"
    found: list[str] = []
    for source in (read_json(path) if path.is_file() else {}, theirs):
        ids = source.get("eos_token_id")
        for index in ids if isinstance(ids, list) else [] if ids is None else [ids]:
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(tokenizer):
                raise ValueError(f"{folder}: eos_token_id={ids!r:.60}; there are {len(tokenizer)} tokens")
            found.append(tokenizer.vocabulary[index])
    return [token for token in dict.fromkeys(found) if token != tokenizer.special.eos]


def _start_tokens(folder: Path, theirs: dict[str, Any], tokenizer: Tokenizer) -> list[str]:
    """The tokens that the decoder reads first: its start, and a first token that BART always writes."""
    path = folder / "generation_config.json"
    settings = theirs | (read_json(path) if path.is_file() else {})
    found = []
    for name in _STARTS:
        index = settings.get(name)
        if index is None and name == "forced_bos_token_id":
            continue
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(tokenizer):
            raise ValueError(f"{folder}: {name}={index!r:.60}; there are {len(tokenizer)} tokens")
        found.append(tokenizer.vocabulary[index])
    return found


def _chat_template(folder: Path) -> str | None:
    """The chat template of a folder: a file of its own, or a field of tokenizer_config.json."""
    path = folder / _CHAT_TEMPLATE
    if path.is_file():
        return path.read_text("utf-8")
    path = folder / "tokenizer_config.json"
    found = read_json(path).get("chat_template") if path.is_file() else None
    if isinstance(found, list):  # several templates, by name
        found = next(
            (one.get("template") for one in found if isinstance(one, dict) and one.get("name") == "default"), None
        )
    if not isinstance(found, str | None):
        raise ValueError(f"{path}: chat_template is a {type(found).__name__}; a text is needed")
    return found
