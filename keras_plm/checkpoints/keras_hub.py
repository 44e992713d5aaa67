"""Convert keras-hub backbones to our encoders."""

from typing import Any

import keras
import numpy as np

from keras_plm.config import EncoderConfig
from keras_plm.layers import uninitialized
from keras_plm.models import Encoder, assign, named_weights
from keras_plm.text import BERT_TEMPLATE, ROBERTA_TEMPLATE, BytePairTokenizer, Tokenizer, WordPieceTokenizer
from keras_plm.text.byte_pair import ROBERTA_TOKENS
from keras_plm.text.sentence_piece import Unigram

from .tokenizer_reader import from_sentence_piece

# Class → settings that its config does not contain.
_FIXED: dict[str, dict[str, Any]] = {
    "BertBackbone": {"activation": "gelu_tanh"},
    "DistilBertBackbone": {"activation": "gelu", "num_segments": 0, "has_pooler": False},
    "AlbertBackbone": {"activation": "gelu_tanh", "shared_layers": True},
    "RobertaBackbone": {"activation": "gelu", "num_segments": 0, "has_pooler": False, "layer_norm_epsilon": 1e-5},
    "XLMRobertaBackbone": {"activation": "gelu", "num_segments": 0, "has_pooler": False, "layer_norm_epsilon": 1e-5},
    "ElectraBackbone": {"activation": "gelu_tanh"},
}
_FIELDS = (
    "vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "embedding_dim", "dropout",
    "max_sequence_length", "num_segments",
)  # fmt: skip
# End of keras-hub's path → our path. keras-hub has a separate axis for the heads; the order of the numbers is the same.
_EMBEDDING = {
    "token_embedding/embeddings": "embedding/tokens",
    "position_embedding/embeddings": "embedding/positions",
    "segment_embedding/embeddings": "embedding/segments",
    "embeddings_layer_norm/gamma": "embedding/norm/gamma",
    "embeddings_layer_norm/beta": "embedding/norm/beta",
    "embedding_projection/kernel": "embedding/projection/kernel",
    "embedding_projection/bias": "embedding/projection/bias",
    "embeddings_projection/kernel": "embedding/projection/kernel",
    "embeddings_projection/bias": "embedding/projection/bias",
    "pooled_dense/kernel": "pooler/kernel",
    "pooled_dense/bias": "pooler/bias",
}
_BLOCK = {
    "self_attention_layer/query": "attention/query",
    "self_attention_layer/key": "attention/key",
    "self_attention_layer/value": "attention/value",
    "self_attention_layer/attention_output": "attention/output",
    "self_attention_layer_norm": "attention_norm",
    "feedforward_intermediate_dense": "feed_forward/expand",
    "feedforward_output_dense": "feed_forward/contract",
    "feedforward_layer_norm": "feed_forward_norm",
}


def from_keras_hub(backbone: keras.Model, tokenizer: Tokenizer | None = None) -> Encoder:
    """An encoder with the weights of a keras-hub backbone.

    Args:
        backbone: a BertBackbone, DistilBertBackbone, AlbertBackbone, RobertaBackbone, XLMRobertaBackbone or
            ElectraBackbone.
        tokenizer: the tokenizer of the ids, or None.

    Raises:
        TypeError: the backbone is of another class.
        ValueError: our layers do not support one of its options, or weights do not fit (the message names them).
    """
    kind = type(backbone).__name__
    if kind not in _FIXED:
        raise TypeError(f"a {kind} is not supported, only {', '.join(_FIXED)}")
    theirs = backbone.get_config()
    for name in ("num_groups", "num_inner_repetitions"):
        if theirs.get(name, 1) != 1:
            raise ValueError(f"{kind} with {name}={theirs[name]} is not supported, only 1")
    theirs["vocabulary_size"] = theirs.get("vocabulary_size") or theirs.pop("vocab_size")
    fields = {name: theirs[name] for name in _FIELDS if name in theirs}
    if fields.get("embedding_dim") == fields["hidden_dim"] and kind == "ElectraBackbone":
        del fields["embedding_dim"]
    config = EncoderConfig(**fields | {"attention_dropout": fields["dropout"]} | _FIXED[kind])
    with uninitialized():
        encoder = Encoder(config, tokenizer)
    variables = named_weights(encoder)
    weights = {_our_path(weight.path): weight for weight in backbone.weights}

    def shape(path: str) -> tuple[int, ...]:
        found = tuple(weights[path].shape)
        wanted = tuple(variables[path].shape) if path in variables else found
        return wanted if np.prod(found) == np.prod(wanted) else found

    def read(path: str) -> np.ndarray:
        return np.asarray(weights[path], np.float32).reshape(variables[path].shape)

    assign(variables, {path: shape(path) for path in weights}, read, kind)
    return encoder


def _our_path(theirs: str) -> str:
    for end, path in _EMBEDDING.items():
        if theirs.endswith(end):
            return path
    block, *_ = [part for part in theirs.split("/") if part.startswith(("transformer_layer_", "group_"))] or [""]
    number = 0 if block.startswith("group_") else block.removeprefix("transformer_layer_")
    for part, path in _BLOCK.items():
        if f"/{part}/" in theirs:
            name = theirs.rsplit("/", 1)[1]
            separator = "_" if (path, name) == ("feed_forward/expand", "bias") else "/"
            return f"block_{number}/{path}{separator}{name}"
    return theirs


def from_preset(name: str) -> Encoder:
    """Load the encoder and tokenizer of a keras-hub preset, which is downloaded into keras-hub's cache.

    Args:
        name: a name such as "bert_tiny_en_uncased", as for `keras_hub.models.Backbone.from_preset`.

    Raises:
        FileNotFoundError: the preset does not exist or was not reached.
        TypeError: the preset has another architecture.
    """
    import keras_hub

    try:
        backbone = keras_hub.models.Backbone.from_preset(name)
        tokenizer = keras_hub.models.Tokenizer.from_preset(name)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileNotFoundError(f"the preset {name!r} was not found or not reached: {reason}") from None
    return from_keras_hub(backbone, _our_tokenizer(tokenizer))


def _our_tokenizer(theirs: Any) -> Tokenizer:
    kind = type(theirs).__name__
    if hasattr(theirs, "merges"):
        pieces = sorted(theirs.vocabulary, key=theirs.vocabulary.__getitem__)
        template = ROBERTA_TEMPLATE if "Roberta" in kind else BERT_TEMPLATE
        merges = [merge for merge in theirs.merges if not merge.startswith("#version")]
        return BytePairTokenizer(pieces, merges, ROBERTA_TOKENS, theirs.add_prefix_space, template)
    if hasattr(theirs, "proto"):
        return from_sentence_piece(Unigram.from_bytes(theirs.proto, f"the model of the {kind}"), {})
    # keras-hub does not strip accents, but uncased models were trained without accents; our tokenizer strips them
    return WordPieceTokenizer(theirs.get_vocabulary(), theirs.lowercase)
