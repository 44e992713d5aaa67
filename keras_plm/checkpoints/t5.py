"""T5, T5 1.1 and FLAN-T5: Raffel et al. 2020, https://arxiv.org/abs/1910.10683."""

from dataclasses import dataclass, replace
from typing import Any

from keras_plm.config import EncoderDecoderConfig
from keras_plm.models import EncoderDecoder
from keras_plm.tasks import Seq2Seq

from .architecture import ACTIVATIONS, THEIR_ACTIVATION, Head, Stack
from .decoder_architecture import next_token_head
from .encoder_decoder_architecture import EncoderDecoderArchitecture, shared_embedding
from .rules import Rule, kernel, weight

_HEAD = "lm_head.weight"


def _feed_forward(theirs: dict[str, Any]) -> tuple[bool, str]:
    """Whether the feed-forward is gated, and its activation: such as "relu" or "gated-gelu"."""
    named = str(theirs.get("feed_forward_proj", "relu"))
    gated, name = named.startswith("gated-"), named.removeprefix("gated-")
    if gated and name == "gelu":
        name = "gelu_new"  # as in the published models
    if name not in ACTIVATIONS:
        raise ValueError(f"feed_forward_proj={named!r} is not supported")
    return gated, ACTIVATIONS[name]


def _read(theirs: dict[str, Any]) -> dict[str, Any]:
    gated, activation = _feed_forward(theirs)
    scaled = theirs.get("scale_decoder_outputs", theirs.get("tie_word_embeddings", True))
    head_dim, heads = theirs.get("d_kv", 64), theirs.get("num_heads", 8)
    return {
        "gated": gated,
        "activation": activation,
        "tied": scaled,
        "scaled_head": scaled,
        "head_dim": None if head_dim * heads == theirs.get("d_model", 512) else head_dim,
        "num_decoder_layers": theirs.get("num_decoder_layers"),
        "attention_dropout": theirs.get("dropout_rate", 0.1),
        "max_sequence_length": theirs.get("n_positions") or 512,  # of the training; the model has no limit
    }


def _write(config: EncoderDecoderConfig) -> dict[str, Any]:
    name = "gelu" if config.gated and config.activation == "gelu_tanh" else THEIR_ACTIVATION[config.activation]
    return {
        "feed_forward_proj": f"gated-{name}" if config.gated else name,
        "tie_word_embeddings": config.tied,
        "scale_decoder_outputs": config.scaled_head,
        "d_kv": config.width_per_head,
        "num_decoder_layers": config.decoder_layers,
        "n_positions": config.max_sequence_length,
        "is_encoder_decoder": True,
    }


def _attention(theirs: str, ours: str) -> tuple[Rule, ...]:
    names = {"q": "query", "k": "key", "v": "value", "o": "output"}
    return tuple(rule for a, b in names.items() for rule in kernel(f"{theirs}.{a}.weight", f"{ours}/{b}/kernel"))


def _feed_forward_rules(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        *kernel(f"{theirs}.wi.weight", f"{ours}/expand/kernel"),  # without a gate
        *kernel(f"{theirs}.wi_0.weight", f"{ours}/gate/kernel"),
        *kernel(f"{theirs}.wi_1.weight", f"{ours}/expand/kernel"),
        *kernel(f"{theirs}.wo.weight", f"{ours}/contract/kernel"),
    )


def _bias(side: str) -> tuple[Rule]:
    theirs = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return weight(theirs, f"{side}_bias/biases")


@dataclass(frozen=True, kw_only=True)
class _T5(EncoderDecoderArchitecture):
    def config(self, theirs: dict[str, Any], head: Head, found: set[str]) -> EncoderDecoderConfig:
        # Version 5 of Transformers says in its files that the head is always tied. But the outputs of T5 1.1 are not
        # scaled, and its head has its own kernel.
        config = super().config(theirs, head, found)
        return replace(config, tied=config.scaled_head or _HEAD not in found)

    def rules(self, config: EncoderDecoderConfig, head: Head) -> list[Rule]:
        other = ".DenseReluDense.wi." if config.gated else ".DenseReluDense.wi_"
        return [rule for rule in super().rules(config, head) if other not in rule.theirs[0]]


T5 = _T5(
    model_type="t5",
    prefix="",
    fields={
        "vocab_size": ("vocabulary_size", 32_128),
        "d_model": ("hidden_dim", 512),
        "d_ff": ("intermediate_dim", 2_048),
        "num_layers": ("num_layers", 6),
        "num_heads": ("num_heads", 8),
        "relative_attention_num_buckets": ("relative_buckets", 32),
        "relative_attention_max_distance": ("relative_distance", 128),
        "dropout_rate": ("dropout", 0.1),
        "layer_norm_epsilon": ("layer_norm_epsilon", 1e-6),
    },
    fixed={
        "positions": "relative", "norm": "rms", "normalize_first": True, "attention_bias": "none",
        "feed_forward_bias": False, "scaled_embedding": False, "scaled_attention": False,
    },
    read=_read,
    write=_write,
    backbone=(
        *weight("shared.weight", "embedding/tokens"),
        *shared_embedding(),
        *_bias("encoder"),
        *_bias("decoder"),
        *weight("encoder.final_layer_norm.weight", "encoder_norm/gamma"),
        *weight("decoder.final_layer_norm.weight", "decoder_norm/gamma"),
    ),
    stacks=(
        Stack(
            rules=(
                *_attention("encoder.block.{i}.layer.0.SelfAttention", "encoder_block_{i}/attention"),
                *weight("encoder.block.{i}.layer.0.layer_norm.weight", "encoder_block_{i}/attention_norm/gamma"),
                *_feed_forward_rules("encoder.block.{i}.layer.1.DenseReluDense", "encoder_block_{i}/feed_forward"),
                *weight("encoder.block.{i}.layer.1.layer_norm.weight", "encoder_block_{i}/feed_forward_norm/gamma"),
            )
        ),
        Stack(
            num_layers="decoder_layers",
            rules=(
                *_attention("decoder.block.{i}.layer.0.SelfAttention", "decoder_block_{i}/self_attention"),
                *weight("decoder.block.{i}.layer.0.layer_norm.weight", "decoder_block_{i}/self_attention_norm/gamma"),
                *_attention("decoder.block.{i}.layer.1.EncDecAttention", "decoder_block_{i}/cross_attention"),
                *weight("decoder.block.{i}.layer.1.layer_norm.weight", "decoder_block_{i}/cross_attention_norm/gamma"),
                *_feed_forward_rules("decoder.block.{i}.layer.2.DenseReluDense", "decoder_block_{i}/feed_forward"),
                *weight("decoder.block.{i}.layer.2.layer_norm.weight", "decoder_block_{i}/feed_forward_norm/gamma"),
            ),
        ),
    ),
    heads=(
        Head(their_class="T5ForConditionalGeneration", our_class=Seq2Seq, rules=next_token_head()),
        Head(their_class="T5Model", our_class=EncoderDecoder),
    ),
    # in the first published files, without use
    ignored=("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",),
)  # fmt: skip
