"""Ranges of activations from texts, for a model that was not trained with fake quantization."""

import dataclasses
from collections import defaultdict

import numpy as np

from keras_plm.compression.activation_capture import watch
from keras_plm.layers.fake_quantization import kernel_scales, range_of
from keras_plm.models import remake, weight_arrays
from keras_plm.tasks import TaskModel
from keras_plm.text import TextRows
from keras_plm.training import dtype_policy


def with_ranges(model: TaskModel, rows: TextRows) -> TaskModel:
    """The quantization-aware twin of a model, as if a training had learned its ranges and nothing else.

    Args:
        model: a task model in float32, not quantization-aware.
        rows: texts like those that it will see; a range is the mean of those of batches of 16, padding left out.

    Source: Wu et al. 2020, §3.4, https://arxiv.org/abs/2004.09602
    Differs: a range ends at a multiple of the root mean square, see `FakeQuantization`, not at a percentile.
    """
    weights = weight_arrays(model)
    ranges = defaultdict(list)

    def see(path: str, inputs: np.ndarray, outputs: np.ndarray) -> None:
        layer = path.removesuffix("kernel")
        scaled = outputs / np.asarray(kernel_scales(weights[path], weights.get(layer + "bias")))
        for what, values in (("input", inputs), ("scaled", scaled)):
            ranges[f"{layer}round_{what}/range"].append(np.asarray(range_of(values)))

    watch(model, rows, [path for path in weights if path.endswith("kernel")], see)
    weights |= {path: np.mean(found, axis=0) for path, found in ranges.items()}
    with dtype_policy("float32"):
        aware = dataclasses.replace(model.adaptation, quantization_aware=True)
        return remake(model, weights.__getitem__, adaptation=aware)
