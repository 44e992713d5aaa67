"""Llama and similar models: rotary positions, RMS normalization, a gated feed-forward.

Llama (also SmolLM2): Touvron et al. 2023, https://arxiv.org/abs/2302.13971; Mistral: Jiang et al. 2023,
https://arxiv.org/abs/2310.06825; Qwen2: Yang et al. 2024, https://arxiv.org/abs/2407.10671.
"""

from dataclasses import replace
from typing import Any

from keras_plm.config import DecoderConfig
from keras_plm.models import Decoder
from keras_plm.tasks.text_generation import TextGenerator

from .architecture import Head, Stack
from .decoder_architecture import DecoderArchitecture, next_token_head
from .rules import Rule, kernel, weight

_SLIDING = "sliding_attention"
_SCALING = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def _rotary(theirs: dict[str, Any]) -> dict[str, Any]:
    """The rotary fields. Version 5 of Transformers has them in `rope_parameters`, older versions in two fields."""
    told = dict(theirs.get("rope_scaling") or theirs.get("rope_parameters") or {})
    base = told.get("rope_theta", theirs.get("rope_theta"))
    base = 10_000.0 if base is None else base
    if isinstance(base, bool) or not isinstance(base, int | float) or not base > 0:
        raise ValueError(f"rope_theta={base!r}; it must be a number above 0")
    kind = told.get("rope_type", told.get("type", "default"))
    if kind not in ("default", "llama3"):
        raise ValueError(f"rotary positions of type {kind!r} are not supported, only 'default' and 'llama3'")
    scaling: tuple[float, ...] = ()
    if kind == "llama3":
        told.setdefault(_SCALING[-1], theirs.get("max_position_embeddings"))
        wrong = [name for name in _SCALING if not isinstance(told.get(name), int | float)]
        if wrong:
            raise ValueError(f"rotary positions of type 'llama3' need numbers for {', '.join(wrong)}")
        scaling = tuple(float(told[name]) for name in _SCALING)
    return {"rotary_base": float(base), "rotary_scaling": scaling}


def _their_rotary(config: DecoderConfig) -> dict[str, Any]:
    told: dict[str, Any] = {"rope_theta": config.rotary_base, "rope_type": "default"}
    if config.rotary_scaling:
        told |= {"rope_type": "llama3", **dict(zip(_SCALING, config.rotary_scaling, strict=True))}
        told[_SCALING[-1]] = int(told[_SCALING[-1]])
    # also for older versions
    scaling = {name: value for name, value in told.items() if name != "rope_theta"} if config.rotary_scaling else None
    return {"rope_parameters": told, "rope_theta": config.rotary_base, "rope_scaling": scaling}


def _head_dim(theirs: dict[str, Any]) -> int | None:
    """None if it equals the width of the model divided by the number of heads."""
    given, heads = theirs.get("head_dim"), theirs.get("num_attention_heads", 32)
    return None if given is None or given * heads == theirs.get("hidden_size", 4_096) else given


def _groups(theirs: dict[str, Any]) -> int | None:
    given = theirs.get("num_key_value_heads")
    return None if given == theirs.get("num_attention_heads", 32) else given


def _read(theirs: dict[str, Any]) -> dict[str, Any]:
    return {
        **_rotary(theirs),
        "head_dim": _head_dim(theirs),
        "num_key_value_heads": _groups(theirs),
        "attention_bias": "all" if theirs.get("attention_bias") else "none",
        "tied": theirs.get("tie_word_embeddings", False),
    }


def _write(config: DecoderConfig) -> dict[str, Any]:
    return {
        **_their_rotary(config),
        "head_dim": config.width_per_head,
        "num_key_value_heads": config.num_key_value_heads or config.num_heads,
        "attention_bias": config.attention_bias == "all",
        "tie_word_embeddings": config.tied,
    }


def _read_mistral(theirs: dict[str, Any]) -> dict[str, Any]:
    # a missing field has the default of Transformers' class, not the value of the published models
    groups = {"num_key_value_heads": theirs.get("num_key_value_heads", 8)}
    return _read(theirs | groups) | {"attention_bias": "none", "window": theirs.get("sliding_window", 4_096)}


def _write_mistral(config: DecoderConfig) -> dict[str, Any]:
    return _write(config) | {"sliding_window": config.window}


def _read_qwen2(theirs: dict[str, Any]) -> dict[str, Any]:
    groups = {"num_key_value_heads": theirs.get("num_key_value_heads", 32)}
    layers = theirs.get("num_hidden_layers", 32)
    first = theirs.get("max_window_layers", 28)
    kinds = theirs.get("layer_types") or [_SLIDING if i >= first else "full_attention" for i in range(layers)]
    window = theirs.get("sliding_window", 4_096) if theirs.get("use_sliding_window") else None
    if window is None or _SLIDING not in kinds:
        window = None
    elif set(kinds) != {_SLIDING}:
        raise ValueError("a window in some layers only (layer_types, max_window_layers) is not supported")
    return _read(theirs | groups) | {"attention_bias": "inputs", "window": window}


def _write_qwen2(config: DecoderConfig) -> dict[str, Any]:
    kind = "full_attention" if config.window is None else _SLIDING
    theirs = _write(config) | {"use_sliding_window": config.window is not None, "sliding_window": config.window}
    theirs |= {"max_window_layers": 0, "layer_types": [kind] * config.num_layers}
    return {name: value for name, value in theirs.items() if name != "attention_bias"}


def _linear(theirs: str, ours: str) -> tuple[Rule, ...]:
    """A kernel, and a bias if the model has one."""
    return (*kernel(f"{theirs}.weight", f"{ours}/kernel"), *weight(f"{theirs}.bias", f"{ours}/bias"))


LLAMA = DecoderArchitecture(
    model_type="llama",
    prefix="model.",
    fields={
        "vocab_size": ("vocabulary_size", 32_000),
        "hidden_size": ("hidden_dim", 4_096),
        "intermediate_size": ("intermediate_dim", 11_008),
        "num_hidden_layers": ("num_layers", 32),
        "num_attention_heads": ("num_heads", 32),
        "hidden_act": ("activation", "silu"),
        "max_position_embeddings": ("max_sequence_length", 2_048),
        "rms_norm_eps": ("layer_norm_epsilon", 1e-6),
        "attention_dropout": ("attention_dropout", 0.0),
    },
    fixed={"positions": "rotary", "norm": "rms", "gated": True, "feed_forward_bias": False, "dropout": 0.0},
    required={"mlp_bias": False},
    read=_read,
    write=_write,
    backbone=(*weight("embed_tokens.weight", "embedding/tokens"), *weight("norm.weight", "final_norm/gamma")),
    stacks=(
        Stack(
            rules=(
                *weight("layers.{i}.input_layernorm.weight", "block_{i}/self_attention_norm/gamma"),
                *_linear("layers.{i}.self_attn.q_proj", "block_{i}/self_attention/query"),
                *_linear("layers.{i}.self_attn.k_proj", "block_{i}/self_attention/key"),
                *_linear("layers.{i}.self_attn.v_proj", "block_{i}/self_attention/value"),
                *_linear("layers.{i}.self_attn.o_proj", "block_{i}/self_attention/output"),
                *weight("layers.{i}.post_attention_layernorm.weight", "block_{i}/feed_forward_norm/gamma"),
                *kernel("layers.{i}.mlp.gate_proj.weight", "block_{i}/feed_forward/gate/kernel"),
                *kernel("layers.{i}.mlp.up_proj.weight", "block_{i}/feed_forward/expand/kernel"),
                *kernel("layers.{i}.mlp.down_proj.weight", "block_{i}/feed_forward/contract/kernel"),
            )
        ),
    ),
    heads=(
        Head(their_class="LlamaForCausalLM", our_class=TextGenerator, rules=next_token_head()),
        Head(their_class="LlamaModel", our_class=Decoder),
    ),
    ignored=(".rotary_emb.inv_freq",),  # in files of older versions
)


def _named(name: str) -> tuple[Head, ...]:
    return tuple(replace(head, their_class=head.their_class.replace("Llama", name)) for head in LLAMA.heads)


MISTRAL = replace(
    LLAMA,
    model_type="mistral",
    fields=LLAMA.fields
    | {
        "intermediate_size": ("intermediate_dim", 14_336),
        "max_position_embeddings": ("max_sequence_length", 131_072),
    },
    required={},
    read=_read_mistral,
    write=_write_mistral,
    heads=_named("Mistral"),
)

QWEN2 = replace(
    LLAMA,
    model_type="qwen2",
    fields=LLAMA.fields
    | {
        "vocab_size": ("vocabulary_size", 151_936),
        "intermediate_size": ("intermediate_dim", 22_016),
        "max_position_embeddings": ("max_sequence_length", 32_768),
    },
    required={},
    read=_read_qwen2,
    write=_write_qwen2,
    heads=_named("Qwen2"),
)
