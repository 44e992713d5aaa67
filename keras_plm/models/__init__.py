"""Layers wired into graphs with named int32 inputs."""

from .classifier import Classifier
from .encoder import INPUTS, Encoder
from .pretrainer import Pretrainer
from .saving import check_free, load, save, whole_folder

__all__ = [
    "INPUTS",
    "Classifier",
    "Encoder",
    "Pretrainer",
    "check_free",
    "load",
    "save",
    "whole_folder",
]
