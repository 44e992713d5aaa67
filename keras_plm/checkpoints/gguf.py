"""GGUF files → our models. The metadata becomes a Transformers config, and the tensors get Transformers' names."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_plm.models import StoredTensor
from keras_plm.text import (
    AddedToken,
    BytePairTokenizer,
    SentencePieceTokenizer,
    SpecialTokens,
    Template,
    Tokenizer,
)
from keras_plm.text.byte_pair_words import WordRule
from keras_plm.text.sentence_piece_model import BytePairs
from keras_plm.text.template import ROLES

from .decoder_architecture import DecoderArchitecture
from .gguf_file import read_gguf
from .gpt2 import GPT2
from .hugging_face import decoder_of
from .llama import LLAMA, QWEN2

_SHARED = {"token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight",
           "output.weight": "lm_head.weight"}  # fmt: skip
_LLAMA_BLOCK = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_GPT2_NAMES = {"token_embd.weight": "wte.weight", "position_embd.weight": "wpe.weight", "output_norm.weight":
               "ln_f.weight", "output_norm.bias": "ln_f.bias", "output.weight": "lm_head.weight"}  # fmt: skip
_GPT2_BLOCK = {
    "attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
}  # fmt: skip
# general.architecture → our architecture, tensor names outside of blocks, tensor names inside blocks, and Transformers'
# name of the blocks
_KINDS: dict[str, tuple[DecoderArchitecture, dict[str, str], dict[str, str], str]] = {
    "llama": (LLAMA, _SHARED, _LLAMA_BLOCK, "layers"),
    "qwen2": (QWEN2, _SHARED, _LLAMA_BLOCK, "layers"),
    "gpt2": (GPT2, _GPT2_NAMES, _GPT2_BLOCK, "h"),
}
# tokenizer.ggml.pre → the rule that splits words
_WORDS: dict[str, WordRule] = {
    "gpt-2": "gpt2", "smollm": "smollm", "qwen2": "qwen2", "llama-bpe": "llama3",
}  # fmt: skip
_CONTROL, _USER_DEFINED = 3, 4


def from_gguf(path: str | Path) -> Any:
    """Load a GGUF file as a `TextGenerator` with its tokenizer. The weights become float32.

    Args:
        path: a file with the architecture of Llama, Mistral, SmolLM2, Qwen2 or GPT-2. Its weights are F32, F16 or any
            quantization that the package `gguf` can dequantize (Q8_0, Q4_0, Q4_1, Q4_K and more).

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: the extra `gguf` is not installed.
        ValueError: the file is truncated, or its architecture, tokenizer or type of weights is not supported.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}")
    metadata, tensors = read_gguf(path)
    try:
        kind = metadata["general.architecture"]
        if kind not in _KINDS:
            raise ValueError(f"the architecture {kind!r} is not supported, only {', '.join(_KINDS)}")
        architecture, outside, inside, blocks = _KINDS[kind]
        tokenizer = _tokenizer(metadata)
        theirs = _config(metadata, kind, tensors)
        options = {"end_tokens": _end_tokens(metadata, tokenizer), "chat_template": _chat_template(metadata)}
    except KeyError as error:
        raise ValueError(f"{path} has no {error} in its metadata") from None
    except (TypeError, AttributeError, ArithmeticError, IndexError) as error:
        raise ValueError(f"{path} has damaged metadata: {error!r}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    stored = {}
    for name, tensor in tensors.items():
        named = _their_name(name, outside, inside, blocks)
        stored[named] = _as_theirs(named, tensor, kind, theirs)
    return decoder_of(theirs, architecture, stored, tokenizer, str(path), **options)


def _chat_template(metadata: dict[str, Any]) -> str | None:
    found = metadata.get("tokenizer.chat_template")
    if not isinstance(found, str | None):
        raise ValueError(f"tokenizer.chat_template is a {type(found).__name__}; a text is needed")
    return found


def _config(metadata: dict[str, Any], kind: str, tensors: dict[str, StoredTensor]) -> dict[str, Any]:
    """The fields of Transformers' config, from the metadata."""

    def size(name: str, default: Any = None) -> Any:
        full = f"{kind}.{name}"
        return metadata[full] if default is None else metadata.get(full, default)

    tied = "output.weight" not in tensors
    width, heads, vocabulary = (
        size("embedding_length"),
        size("attention.head_count"),
        tensors["token_embd.weight"].shape[0],
    )
    shared = {"vocab_size": vocabulary, "tie_word_embeddings": tied}
    if kind == "gpt2":
        return shared | {
            "n_embd": width, "n_head": heads, "n_layer": size("block_count"), "n_inner": size("feed_forward_length"),
            "n_positions": size("context_length"), "layer_norm_epsilon": size("attention.layer_norm_epsilon"),
        }  # fmt: skip
    _check_rotary(metadata, kind, size("attention.key_length", width // heads))
    if "rope_freqs.weight" in tensors:
        raise ValueError("rotary positions with a table of factors (rope_freqs) are not supported")
    return shared | {
        "hidden_size": width, "num_attention_heads": heads,
        "num_key_value_heads": size("attention.head_count_kv", heads),
        "head_dim": size("attention.key_length", width // heads), "num_hidden_layers": size("block_count"),
        "intermediate_size": size("feed_forward_length"), "max_position_embeddings": size("context_length"),
        "rms_norm_eps": size("attention.layer_norm_rms_epsilon"), "rope_theta": size("rope.freq_base", 10_000.0),
    }  # fmt: skip


def _check_rotary(metadata: dict[str, Any], kind: str, head_dim: int) -> None:
    """Raise ValueError for rotary positions that are scaled or cover only a part of a head, and for a window."""
    usual = {
        "rope.scaling.type": ("none",), "rope.scaling.factor": (0.0, 1.0), "rope.scale_linear": (0.0, 1.0),
        "rope.dimension_count": (head_dim,), "attention.sliding_window": (0,),
    }  # fmt: skip
    for name, allowed in usual.items():
        value = metadata.get(f"{kind}.{name}", allowed[0])
        if value not in allowed and not (name == "rope.scaling.type" and value == "linear"):  # then the factor counts
            raise ValueError(f"{kind}.{name}={value!r} is not supported, only {allowed[-1]!r}")


def _their_name(name: str, outside: dict[str, str], inside: dict[str, str], blocks: str) -> str:
    """Transformers' name of a tensor. Unknown names are unchanged, so that an error shows them."""
    if name in outside:
        return outside[name]
    block, _, rest = name.removeprefix("blk.").partition(".")
    layer, _, what = rest.partition(".")
    if name.startswith("blk.") and layer in inside:
        return f"{blocks}.{block}.{inside[layer]}.{what}"
    return name


def _as_theirs(name: str, tensor: StoredTensor, kind: str, theirs: dict[str, Any]) -> StoredTensor:
    """The tensor with rows and columns in the order of Transformers."""
    if kind == "gpt2" and name.startswith("h.") and len(tensor.shape) == 2:  # Transformers has (inputs, outputs)
        return StoredTensor(tensor.shape[::-1], lambda: tensor.read().T)
    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(
        name.rpartition(".")[0].rpartition(".")[2]
    )
    if kind == "llama" and heads is not None:
        # llama.cpp rotates neighboring rows, Transformers rotates halves: the order of the rows differs
        return StoredTensor(tensor.shape, partial(_halves, tensor, theirs[heads]))
    return tensor


def _halves(tensor: StoredTensor, heads: int) -> np.ndarray:
    value = tensor.read()
    pairs = value.reshape(heads, value.shape[0] // heads // 2, 2, *value.shape[1:])
    return pairs.swapaxes(1, 2).reshape(value.shape)


def _tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    model, rule = metadata["tokenizer.ggml.model"], str(metadata.get("tokenizer.ggml.pre"))
    pairs = model == "llama"  # SentencePiece's
    if not pairs and (model != "gpt2" or rule not in _WORDS):
        raise ValueError(f"the tokenizer {model!r} with the word rule {rule!r} is not supported")
    vocabulary = metadata["tokenizer.ggml.tokens"]
    named = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    spelled: dict[str, str | None] = dict.fromkeys(ROLES)
    for role, theirs in named.items():
        index = metadata.get(f"tokenizer.ggml.{theirs}_token_id")
        if index is not None:
            if not 0 <= index < len(vocabulary):
                raise ValueError(f"tokenizer.ggml.{theirs}_token_id is {index}, but there are {len(vocabulary)} tokens")
            spelled[role] = vocabulary[index]
    kinds = metadata.get("tokenizer.ggml.token_type") or []
    added = []
    for token, kind in zip(vocabulary, kinds, strict=False):
        if kind in (_CONTROL, _USER_DEFINED):
            if token.strip() != token:
                raise ValueError(f"the added token {token!r} begins or ends with white space, which is not supported")
            added.append(AddedToken(token, special=kind == _CONTROL))
    special = SpecialTokens(**spelled)
    if pairs:
        return _sentence_piece(metadata, special, added)
    llama3 = _WORDS[rule] == "llama3"
    template = Template("bos A" if metadata.get("tokenizer.ggml.add_bos_token", llama3) else "A", None)
    merges = metadata["tokenizer.ggml.merges"]
    options = {"nfc": rule == "qwen2", "ignore_merges": llama3}  # the file does not say; Transformers has them
    return BytePairTokenizer(vocabulary, merges, special, template=template, added=added, words=_WORDS[rule], **options)


def _end_tokens(metadata: dict[str, Any], tokenizer: Tokenizer) -> list[str]:
    """Tokens that end a turn or a message, in addition to `eos`."""
    ids = [metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eot", "eom")]
    tokens = [tokenizer.vocabulary[index] for index in ids if index is not None]
    return [token for token in dict.fromkeys(tokens) if token != tokenizer.special.eos]


def _sentence_piece(
    metadata: dict[str, Any], special: SpecialTokens, added: list[AddedToken]
) -> SentencePieceTokenizer:
    vocabulary, scores = (metadata[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores"))
    if len(scores) != len(vocabulary):
        raise ValueError(f"there are {len(scores)} scores for {len(vocabulary)} tokens")
    if metadata.get("tokenizer.ggml.add_space_prefix", True) is not True:
        raise ValueError("a tokenizer without a space before the text (add_space_prefix) is not supported")
    begins = metadata.get("tokenizer.ggml.add_bos_token", True)
    pairs = BytePairs(vocabulary, [float(score) for score in scores], b"")
    return SentencePieceTokenizer(pairs, special, template=Template("bos A" if begins else "A", None), added=added)
