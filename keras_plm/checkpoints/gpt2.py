"""GPT-2: Radford et al. 2019. Query, key and value are one layer, and kernels are not transposed."""

from typing import Any

from keras_plm.config import DecoderConfig
from keras_plm.models import Decoder
from keras_plm.tasks.text_generation import TextGenerator

from .architecture import Head, Stack
from .decoder_architecture import DecoderArchitecture, next_token_head
from .rules import Rule, norm, split, weight


def _dense(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (*weight(f"{theirs}.weight", f"{ours}/kernel"), *weight(f"{theirs}.bias", f"{ours}/bias"))


def _read(theirs: dict[str, Any]) -> dict[str, Any]:
    width = theirs.get("n_embd", 768)
    return {"intermediate_dim": theirs.get("n_inner") or 4 * width, "tied": theirs.get("tie_word_embeddings", True)}


def _write(config: DecoderConfig) -> dict[str, Any]:
    return {"n_inner": config.intermediate_dim, "tie_word_embeddings": config.tied}


GPT2 = DecoderArchitecture(
    model_type="gpt2",
    prefix="transformer.",
    fields={
        "vocab_size": ("vocabulary_size", 50_257),
        "n_embd": ("hidden_dim", 768),
        "n_layer": ("num_layers", 12),
        "n_head": ("num_heads", 12),
        "activation_function": ("activation", "gelu_new"),
        "resid_pdrop": ("dropout", 0.1),
        "attn_pdrop": ("attention_dropout", 0.1),
        "n_positions": ("max_sequence_length", 1_024),
        "layer_norm_epsilon": ("layer_norm_epsilon", 1e-5),
    },
    required={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    read=_read,
    write=_write,
    backbone=(
        *weight("wte.weight", "embedding/tokens"),
        *weight("wpe.weight", "embedding/positions"),
        *norm("ln_f", "final_norm"),
    ),
    stacks=(
        Stack(
            rules=(
                *norm("h.{i}.ln_1", "block_{i}/self_attention_norm"),
                *split(
                    "h.{i}.attn.c_attn",
                    [f"block_{{i}}/self_attention/{name}" for name in ("query", "key", "value")],
                    transposed=False,
                ),
                *_dense("h.{i}.attn.c_proj", "block_{i}/self_attention/output"),
                *norm("h.{i}.ln_2", "block_{i}/feed_forward_norm"),
                *weight("h.{i}.mlp.c_fc.weight", "block_{i}/feed_forward/expand/kernel"),
                *weight("h.{i}.mlp.c_fc.bias", "block_{i}/feed_forward/expand_bias"),
                *_dense("h.{i}.mlp.c_proj", "block_{i}/feed_forward/contract"),
            )
        ),
    ),
    heads=(
        Head(their_class="GPT2LMHeadModel", our_class=TextGenerator, rules=next_token_head()),
        Head(their_class="GPT2Model", our_class=Decoder),
    ),
    ignored=(".attn.bias", ".attn.masked_bias"),  # causal masks in files of older versions
)
