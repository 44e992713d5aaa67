"""Backbones, built from layers as graphs with named int32 inputs. Saving, loading and cloning of all models."""

from .atomic_files import check_free, replace_folder, whole_file, whole_folder
from .cloning import copy_head, copy_model, encoder_like, merge_lora, remake, weight_arrays
from .decoder import DECODER_INPUTS, Caches, Decoder, decoder_inputs
from .distiller import Distiller
from .encoder import INPUTS, Encoder, TokenInputs, check_same_config, given_or_new, pool_first, token_inputs
from .encoder_decoder import ENCODER_DECODER_INPUTS, EncoderDecoder, encoder_decoder_inputs
from .hidden_states import encoder_states, states_at
from .model_with_backbone import AnyModel, BackboneModel
from .next_token_model import OWN_CACHES, NextTokenModel
from .saving import (
    assign,
    check_shapes,
    check_sizes,
    load_folder,
    named_weights,
    save,
    set_weights,
)
from .tensor_files import (
    StoredTensor,
    inside,
    read_json,
    read_safetensors,
    stored_weights,
    write_json,
    write_tensors,
    write_weights,
)
from .tokenizer_assets import KeepsTokenizer, load_tokenizer, tokenizer_settings

__all__ = [
    "OWN_CACHES",
    "AnyModel",
    "DECODER_INPUTS",
    "INPUTS",
    "BackboneModel",
    "Caches",
    "Decoder",
    "Distiller",
    "ENCODER_DECODER_INPUTS",
    "Encoder",
    "EncoderDecoder",
    "encoder_decoder_inputs",
    "TokenInputs",
    "KeepsTokenizer",
    "NextTokenModel",
    "StoredTensor",
    "assign",
    "check_free",
    "check_same_config",
    "check_shapes",
    "check_sizes",
    "copy_head",
    "copy_model",
    "decoder_inputs",
    "encoder_like",
    "encoder_states",
    "states_at",
    "given_or_new",
    "inside",
    "load_folder",
    "load_tokenizer",
    "merge_lora",
    "named_weights",
    "pool_first",
    "read_json",
    "read_safetensors",
    "remake",
    "save",
    "set_weights",
    "stored_weights",
    "token_inputs",
    "tokenizer_settings",
    "weight_arrays",
    "whole_file",
    "whole_folder",
    "replace_folder",
    "write_json",
    "write_tensors",
    "write_weights",
]
