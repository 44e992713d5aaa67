"""Layers wired into graphs with named int32 inputs."""

from .answering import Answer, Answering
from .classifier import Classifier
from .classifying import Classifying
from .copying import copy_head, copy_model, encoder_like, merge_lora, remake, weight_arrays
from .distiller import Distiller
from .embedder import Embedder
from .embedding import Embedding
from .encoder import INPUTS, Encoder
from .internals import encoder_states
from .pooling import Pooling
from .prediction import TextModel, softmax
from .pretrainer import Pretrainer
from .question_answerer import QuestionAnswerer
from .saving import (
    assign,
    check_sizes,
    load_folder,
    load_tokenizer,
    named_weights,
    save,
    set_weights,
    tokenizer_settings,
    write_json,
    write_tensors,
)
from .tagger import Tagger
from .tagging import TaggedSpan, Tagging
from .whole import check_free, whole_file, whole_folder

__all__ = [
    "INPUTS",
    "Answer",
    "Answering",
    "Classifier",
    "Classifying",
    "Distiller",
    "Embedder",
    "Embedding",
    "Encoder",
    "Pooling",
    "Pretrainer",
    "QuestionAnswerer",
    "TaggedSpan",
    "Tagger",
    "Tagging",
    "TextModel",
    "assign",
    "check_free",
    "copy_head",
    "copy_model",
    "encoder_states",
    "encoder_like",
    "load_folder",
    "load_tokenizer",
    "merge_lora",
    "check_sizes",
    "named_weights",
    "remake",
    "save",
    "set_weights",
    "softmax",
    "tokenizer_settings",
    "weight_arrays",
    "whole_file",
    "whole_folder",
    "write_json",
    "write_tensors",
]
