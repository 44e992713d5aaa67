"""Hugging Face folders ↔ our models."""

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_plm import models
from keras_plm.config import DecoderConfig, EncoderDecoderConfig
from keras_plm.layers import uninitialized
from keras_plm.models import (
    Decoder,
    Encoder,
    EncoderDecoder,
    StoredTensor,
    check_shapes,
    check_sizes,
    named_weights,
    read_json,
)
from keras_plm.tasks import Embedder
from keras_plm.tasks.registry import task_of_class
from keras_plm.text import ROBERTA_TEMPLATE, Tokenizer

from .albert import ALBERT
from .architecture import Architecture, Head
from .bart import BART, MARIAN
from .bert import BERT
from .distilbert import DISTILBERT
from .electra import ELECTRA
from .generation_options import read_generation_options, write_generation_options
from .gpt2 import GPT2
from .hub import snapshot
from .llama import LLAMA, MISTRAL, QWEN2
from .roberta import ROBERTA, XLM_ROBERTA
from .rules import Rule, our_paths, their_names
from .sentence_transformers import read_modules, write_modules
from .t5 import T5
from .tensors import stored_tensors
from .tokenizer_reader import read_tokenizer
from .tokenizer_writer import write_tokenizer

_ENCODERS = (BERT, DISTILBERT, ALBERT, ROBERTA, XLM_ROBERTA, ELECTRA)
_DECODERS = (GPT2, LLAMA, MISTRAL, QWEN2)
_ENCODER_DECODERS = (T5, BART, MARIAN)
ARCHITECTURES: dict[str, Architecture] = {a.model_type: a for a in (*_ENCODERS, *_DECODERS, *_ENCODER_DECODERS)}


def from_hugging_face(where: str | Path) -> keras.Model:
    """Load a model from a Hugging Face folder or repository, with its head and its tokenizer.

    No code from the folder is executed. The head determines the class: Encoder, Pretrainer (masked tokens, with or
    without next sentence), Classifier, Tagger, QuestionAnswerer, Decoder, TextGenerator, EncoderDecoder or Seq2Seq. A
    sentence-transformers folder gives an Embedder.

    Args:
        where: a folder, or a repository id ("sentence-transformers/all-MiniLM-L6-v2"). A repository is downloaded into
            Hugging Face's cache.

    Raises:
        FileNotFoundError: the folder, or its config, weights or tokenizer, does not exist.
        ImportError: `where` is a repository id, but huggingface_hub is not installed.
        ValueError: an architecture or option is not supported; a file is damaged; tensors are missing, unexpected or
            have a wrong shape (the message names them); a pickle calls a function; or a path is outside the folder.
    """
    folder = snapshot(where)
    modules = read_modules(folder)
    weights_folder = folder if modules is None else modules.folder
    theirs = read_json(weights_folder / "config.json")
    architecture = _architecture(theirs, weights_folder)
    stored = {_plain(name, architecture): tensor for name, tensor in stored_tensors(weights_folder).items()}
    stored = {name: tensor for name, tensor in stored.items() if not name.endswith(architecture.ignored)}
    of_heads = {name for head in architecture.heads for name in head.all_names}
    if modules is not None:  # some embedding models still contain their pre-training head
        stored = {name: tensor for name, tensor in stored.items() if name not in of_heads}
    try:
        wanted = None if modules is not None else _named_class(theirs)
        head = architecture.choose(set(stored), wanted)
        config = architecture.config(theirs, head, set(stored))
        check_sizes(config, sum(math.prod(tensor.shape) for tensor in stored.values()))
        if head.activation not in (None, config.activation):
            raise ValueError(f"{head.their_class} has {head.activation} in its head, but {config.activation} elsewhere")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{weights_folder / 'config.json'}: {error}") from None
    tokenizer = read_tokenizer(weights_folder, causal=isinstance(config, DecoderConfig))
    if modules is not None and modules.lowercase and not getattr(tokenizer, "lowercase", False):
        raise ValueError(f"{folder} lower-cases texts, but its tokenizer does not; this is not supported")
    options: dict[str, Any] = dict(head.options)
    our_class = head.our_class
    task = task_of_class(our_class)
    if modules is not None:
        our_class, options = Embedder, modules.options()
    elif task is not None and "labels" not in options:
        labels = _labels(theirs, head, stored, task.predicts_scores) if "labels" in task.setting_types else None
        options |= task.from_hugging_face(theirs, labels)
    if isinstance(config, DecoderConfig | EncoderDecoderConfig) and head.rules:
        options |= read_generation_options(weights_folder, theirs, tokenizer, config)
    rules = architecture.rules(config, head)
    if their_names(rules, tied=False) <= set(stored):  # otherwise one error names both missing and unexpected tensors
        kept = their_names(rules) | head.all_names
        more = {name for name in set(stored) - kept if name in of_heads or not architecture.belongs_to_backbone(name)}
        _leave_out(stored, more, str(weights_folder))
    with uninitialized():
        model = our_class(config, tokenizer=tokenizer, **options)
    _assign(model, rules, {n: t for n, t in stored.items() if n not in head.ignored}, str(weights_folder))
    return model


def to_hugging_face(
    model: keras.Model, folder: str | Path, model_type: str | None = None, overwrite: bool = False
) -> None:
    """Write a folder that Transformers can load: config.json, model.safetensors and the files of the tokenizer.

    If an encoder has no pooler, Transformers adds a random one, unless you load it with `add_pooling_layer=False`.

    Args:
        model: a model of this package; an Embedder becomes a sentence-transformers folder.
        folder: the output folder.
        model_type: "bert", "distilbert", "albert", "roberta", "xlm-roberta", "electra", "gpt2", "llama", "mistral",
            "qwen2", "t5", "bart" or "marian"; None means the first architecture that supports the model.
        overwrite: replace an existing folder.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False.
        ValueError: no architecture of Transformers, or not the given one, supports the model.
    """
    if model_type is not None and model_type not in ARCHITECTURES:
        raise ValueError(f"model_type={model_type!r}; choose one of {sorted(ARCHITECTURES)}")
    if model.adaptation.lora_rank:
        raise ValueError("Transformers' files have no LoRA updates: use plm.merge_lora(model) first, or save_lora")
    if model.adaptation.quantization_aware:
        raise ValueError("Transformers' files have no activation ranges; use export.to_tflite for such a model")
    task = task_of_class(type(model))
    about_task = {} if task is None else task.to_hugging_face(model)
    refusals = []
    for architecture in candidates(model) if model_type is None else [ARCHITECTURES[model_type]]:
        try:
            head, theirs, rules = fit(model, architecture)
        except ValueError as error:
            refusals.append(str(error))
            continue
        break
    else:
        raise ValueError(f"no architecture of Transformers supports this model: {'; '.join(dict.fromkeys(refusals))}")
    with models.whole_folder(folder, overwrite) as temporary:
        if task is not None and task.sentence_encoder:
            write_modules(temporary, model)
        theirs |= about_task | {"architectures": [head.their_class], "dtype": "float32"}
        theirs = write_tokenizer(model.tokenizer, temporary, model.config.max_sequence_length) | theirs
        theirs |= write_generation_options(model, temporary)
        models.write_json(temporary / "config.json", theirs)
        models.write_weights(dict(_their_tensors(model, architecture, head, rules)), temporary)


def decoder_of(
    theirs: dict[str, Any],
    architecture: Architecture,
    stored: dict[str, StoredTensor],
    tokenizer: Tokenizer,
    source: str,
    **options: Any,
) -> Any:
    """Make a `TextGenerator` from a config and tensors in the layout of Transformers.

    Raises:
        ValueError: our layers do not support the config, or tensors do not fit (the message names them).
    """
    head = architecture.heads[0]
    try:
        config = architecture.config(theirs, head, set(stored))
        check_sizes(config, sum(math.prod(tensor.shape) for tensor in stored.values()))
        with uninitialized():
            model = head.our_class(config, tokenizer=tokenizer, **options)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{source}: {error}") from None
    _assign(model, architecture.rules(config, head), stored, source)
    return model


def _leave_out(stored: dict[str, StoredTensor], others: set[str], source: str) -> None:
    """Remove the tensors of other heads and of losses, with a warning. Unexpected tensors of blocks cause an error."""
    for name in others:
        del stored[name]
    if others:
        shown = ", ".join(sorted(others)[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        warnings.warn(f"{source}: left out {shown}, which the model does not have", stacklevel=3)


def _named_class(theirs: dict[str, Any]) -> str | None:
    named = theirs.get("architectures") or [None]
    if not isinstance(named, list) or not isinstance(named[0], str | None):
        raise ValueError(f"architectures={named!r} is not a list of names")
    return named[0]


def _architecture(theirs: dict[str, Any], folder: Path) -> Architecture:
    if str(theirs.get("model_type")) in ARCHITECTURES:
        return ARCHITECTURES[theirs["model_type"]]
    if "model_type" in theirs:
        supported = ", ".join(ARCHITECTURES)
        raise ValueError(f"{folder} has model_type {theirs['model_type']!r}; supported are {supported}")
    if "class" in theirs and "format" in theirs:
        raise ValueError(f"{folder} is a folder of keras_plm; load it without 'hf:'")
    return BERT  # the config.json of early BERT models has no model_type


def _plain(name: str, architecture: Architecture) -> str:
    """A tensor's name in the spelling of newer versions, without the prefixes of the encoder and of `DataParallel`."""
    name = name.removeprefix("module.").removeprefix(architecture.prefix)
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        name = f"{name.removesuffix(old)}{new}" if name.endswith(old) else name
    return name


def _labels(
    theirs: dict[str, Any], head: Head, stored: dict[str, StoredTensor], may_be_score: bool
) -> list[str] | None:
    """The names of the outputs; None for regression (one output, if the task supports regression)."""
    bias = next(rule.theirs[0] for rule in head.rules if rule.ours == ("head/dense/bias",))
    if bias not in stored:  # _assign raises the error
        return ["0", "1"]
    number = stored[bias].shape[0]
    kind = theirs.get("problem_type")
    if may_be_score and (kind == "regression" or number == 1 and kind != "multi_label_classification"):
        if number != 1:
            raise ValueError(f"a regression of {number} numbers is not supported")
        return None
    names = theirs.get("id2label") or {}
    if not isinstance(names, dict):
        raise ValueError(f"id2label is a {type(names).__name__}, not an object of names by number")
    labels = [str(names.get(str(i))) for i in range(number)]
    # an outdated file may have, for example, two names for fifty outputs
    fits = set(names) == {str(i) for i in range(number)} and len(set(labels)) == number
    return labels if fits else [f"LABEL_{i}" for i in range(number)]


def _assign(model: keras.Model, rules: list[Rule], stored: dict[str, StoredTensor], source: str) -> None:
    """Read the tensors into the model, rule by rule.

    If two copies of a matrix differ, this is an error, because our outputs are tied. If two copies of a bias differ,
    the decoder's own bias is used, as in Transformers. ALBERT's first release had both.
    """
    variables, stored = named_weights(model), dict(stored)
    shapes = {path: tuple(variable.shape) for path, variable in variables.items()}
    theirs_of = {path: rule.theirs[0] for rule in rules if not rule.tied for path in rule.ours}
    for rule in rules:
        if not rule.tied or rule.theirs[0] not in stored:
            continue
        copy, original = rule.theirs[0], theirs_of[rule.ours[0]]
        both = original in stored
        tensor = stored.pop(copy)
        if both and copy.endswith("bias"):
            stored[original] = tensor
        elif both and not np.array_equal(tensor.read(), stored[original].read()):
            raise ValueError(f"{source}: {copy} differs from {original}; untied outputs are not supported")
    read = [rule for rule in rules if not rule.tied]
    wanted = {
        name: shape
        for rule in read
        for name, shape in zip(rule.theirs, rule.their_shapes([shapes[path] for path in rule.ours]), strict=True)
    }
    check_shapes(wanted, {name: tensor.shape for name, tensor in stored.items()}, source)
    # The largest tensors first: while a tensor is read, it is in memory twice.
    for rule in sorted(read, key=lambda rule: -sum(math.prod(wanted[name]) for name in rule.theirs)):
        tensors = [np.asarray(stored[name].read(), np.float32) for name in rule.theirs]
        for path, value in zip(rule.ours, rule.to_ours(tensors, [shapes[path] for path in rule.ours]), strict=True):
            variables[path].assign(value)


def candidates(model: keras.Model) -> list[Architecture]:
    """The architectures to try, in order; only RoBERTa or XLM-RoBERTa if the tokenizer has RoBERTa's template."""
    if isinstance(model.config, DecoderConfig):
        return list(_DECODERS)
    if isinstance(model.config, EncoderDecoderConfig):
        return list(_ENCODER_DECODERS)
    if model.tokenizer is not None and model.tokenizer.template == ROBERTA_TEMPLATE:
        return [XLM_ROBERTA if "spiece.model" in model.tokenizer.filenames else ROBERTA]
    return [BERT, DISTILBERT, ALBERT, ELECTRA, *([ROBERTA] if model.tokenizer is None else [])]


def fit(model: keras.Model, architecture: Architecture) -> tuple[Head, dict[str, Any], list[Rule]]:
    """The head, the config and the rules with which an architecture has exactly the weights of this model.

    LoRA updates are ignored.

    Raises:
        ValueError: the architecture does not support the model.
    """
    config = model.config
    if type(config) is not architecture.config_class:
        raise ValueError(f"{architecture.model_type} has no {type(model).__name__}")
    theirs = architecture.their_config(config)
    pad = theirs.get("pad_token_id")
    if pad is not None and model.tokenizer is not None and model.tokenizer.pad_id != pad:
        raise ValueError(
            f"{architecture.model_type} pads with id {pad}, but this tokenizer with {model.tokenizer.pad_id}"
        )
    paths = {path for path in named_weights(model) if "/lora_" not in path}
    task = task_of_class(type(model))
    our_class: Any = Encoder if task is not None and task.sentence_encoder else type(model)
    for head in architecture.heads:
        rules = architecture.rules(config, head)
        if head.our_class is not our_class or our_paths(rules) != paths or "labels" in head.options:
            continue
        if architecture.has_head_of(model, head):
            return head, theirs, rules
    raise ValueError(f"{architecture.model_type} has no {our_class.__name__} with {architecture.what_fits}")


def _their_tensors(
    model: keras.Model, architecture: Architecture, head: Head, rules: list[Rule]
) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    variables = named_weights(model)
    bare = head.our_class in (Encoder, Decoder, EncoderDecoder)

    def read(rule: Rule, index: int) -> np.ndarray:
        return rule.to_theirs([np.asarray(variables[path], np.float32) for path in rule.ours])[index]

    for rule in rules:
        for index, name in enumerate(() if rule.tied else rule.theirs):
            full = name if bare or name in head.names else f"{architecture.prefix}{name}"
            yield full, partial(read, rule, index)
