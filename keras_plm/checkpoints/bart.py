"""BART and Marian, which have the same blocks.

BART: Lewis et al. 2020, https://arxiv.org/abs/1910.13461; Marian: Junczys-Dowmunt et al. 2018,
https://arxiv.org/abs/1804.00344.
"""

from dataclasses import replace
from typing import Any

from keras_plm.config import EncoderDecoderConfig
from keras_plm.models import EncoderDecoder
from keras_plm.tasks import Seq2Seq

from .architecture import Head, Stack
from .decoder_architecture import next_token_head
from .encoder_decoder_architecture import EncoderDecoderArchitecture, shared_embedding
from .rules import Rule, dense, norm, row, weight

_OLD = {"normalize_before": False, "add_final_layer_norm": False, "add_bias_logits": False}
_SAME = (("encoder_attention_heads", "decoder_attention_heads"), ("encoder_ffn_dim", "decoder_ffn_dim"))


def _read(theirs: dict[str, Any]) -> dict[str, Any]:
    defaults = {"encoder_attention_heads": 16, "encoder_ffn_dim": 4_096}
    for encoder, decoder in _SAME:
        first, second = (theirs.get(name, defaults[encoder]) for name in (encoder, decoder))
        if first != second:
            raise ValueError(f"{encoder}={first} and {decoder}={second}: different stacks are not supported")
    return {
        "num_decoder_layers": theirs.get("decoder_layers", 12),
        "scaled_embedding": theirs.get("scale_embedding", False),
        "tied": theirs.get("tie_word_embeddings", True),
    }


def _write(config: EncoderDecoderConfig) -> dict[str, Any]:
    return {
        "decoder_layers": config.decoder_layers,
        "decoder_attention_heads": config.num_heads,
        "decoder_ffn_dim": config.intermediate_dim,
        "scale_embedding": config.scaled_embedding,
        "tie_word_embeddings": config.tied,
        "is_encoder_decoder": True,
    }


def _write_marian(config: EncoderDecoderConfig) -> dict[str, Any]:
    return _write(config) | {"decoder_vocab_size": config.vocabulary_size}


def _attention(theirs: str, ours: str) -> tuple[Rule, ...]:
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "output"}
    return tuple(rule for a, b in names.items() for rule in dense(f"{theirs}.{a}", f"{ours}/{b}"))


def _feed_forward(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rule(theirs=(f"{theirs}.fc1.weight",), ours=(f"{ours}/feed_forward/expand/kernel",), transposed=True),
        *weight(f"{theirs}.fc1.bias", f"{ours}/feed_forward/expand_bias"),
        *dense(f"{theirs}.fc2", f"{ours}/feed_forward/contract"),
        *norm(f"{theirs}.final_layer_norm", f"{ours}/feed_forward_norm"),
    )


_STACKS = (
    Stack(
        rules=(
            *_attention("encoder.layers.{i}.self_attn", "encoder_block_{i}/attention"),
            *norm("encoder.layers.{i}.self_attn_layer_norm", "encoder_block_{i}/attention_norm"),
            *_feed_forward("encoder.layers.{i}", "encoder_block_{i}"),
        )
    ),
    Stack(
        num_layers="decoder_layers",
        rules=(
            *_attention("decoder.layers.{i}.self_attn", "decoder_block_{i}/self_attention"),
            *norm("decoder.layers.{i}.self_attn_layer_norm", "decoder_block_{i}/self_attention_norm"),
            *_attention("decoder.layers.{i}.encoder_attn", "decoder_block_{i}/cross_attention"),
            *norm("decoder.layers.{i}.encoder_attn_layer_norm", "decoder_block_{i}/cross_attention_norm"),
            *_feed_forward("decoder.layers.{i}", "decoder_block_{i}"),
        ),
    ),
)
_HEAD = (*next_token_head(), *row("final_logits_bias", "head/bias"))

BART = EncoderDecoderArchitecture(
    model_type="bart",
    prefix="model.",
    fields={
        "vocab_size": ("vocabulary_size", 50_265),
        "d_model": ("hidden_dim", 1_024),
        "encoder_ffn_dim": ("intermediate_dim", 4_096),
        "encoder_layers": ("num_layers", 12),
        "encoder_attention_heads": ("num_heads", 16),
        "activation_function": ("activation", "gelu"),
        "dropout": ("dropout", 0.1),
        "attention_dropout": ("attention_dropout", 0.0),
        "max_position_embeddings": ("max_sequence_length", 1_024),
    },
    fixed={
        "positions": "learned", "normalized_embedding": True, "layer_norm_epsilon": 1e-5, "head_bias": True,
        "relative_buckets": 32, "relative_distance": 128,
    },
    # fields of older versions; other values are other models, such as mBART's
    required=_OLD | {"normalize_embedding": True, "static_position_embeddings": False},
    read=_read,
    write=_write,
    backbone=(
        *weight("shared.weight", "embedding/tokens"),
        *shared_embedding(),
        *weight("encoder.embed_positions.weight", "embedding/positions", skipped_rows=2),
        *weight("decoder.embed_positions.weight", "decoder_embedding/positions", skipped_rows=2),
        *norm("encoder.layernorm_embedding", "embedding/norm"),
        *norm("decoder.layernorm_embedding", "decoder_embedding/norm"),
    ),
    stacks=_STACKS,
    heads=(
        Head(their_class="BartForConditionalGeneration", our_class=Seq2Seq, rules=_HEAD),
        Head(their_class="BartModel", our_class=EncoderDecoder),
    ),
)  # fmt: skip

MARIAN = replace(
    BART,
    model_type="marian",
    fields=BART.fields | {"vocab_size": ("vocabulary_size", 58_101)},
    fixed=BART.fixed | {"positions": "sinusoidal_halves", "normalized_embedding": False},
    required=_OLD
    | {
        "normalize_embedding": False,
        "static_position_embeddings": True,
        "share_encoder_decoder_embeddings": True,
    },
    write=_write_marian,
    backbone=(*weight("shared.weight", "embedding/tokens"), *shared_embedding()),
    heads=(
        Head(their_class="MarianMTModel", our_class=Seq2Seq, rules=_HEAD),
        Head(their_class="MarianModel", our_class=EncoderDecoder),
    ),
    ignored=(".embed_positions.weight",),  # sinusoids, in some files
)
