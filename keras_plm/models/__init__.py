"""Layers wired into graphs with named int32 inputs."""

from .classifier import Classifier
from .embedder import Embedder
from .encoder import INPUTS, Encoder
from .pretrainer import Pretrainer
from .question_answerer import QuestionAnswerer
from .saving import (
    assign,
    check_free,
    load_folder,
    named_weights,
    save,
    tokenizer_settings,
    whole_folder,
    write_json,
    write_tensors,
)
from .tagger import Tagger

__all__ = [
    "INPUTS",
    "Classifier",
    "Embedder",
    "Encoder",
    "Pretrainer",
    "QuestionAnswerer",
    "Tagger",
    "assign",
    "check_free",
    "load_folder",
    "named_weights",
    "save",
    "tokenizer_settings",
    "whole_folder",
    "write_json",
    "write_tensors",
]
