"""Post-training quantization: activation ranges from texts, for a model trained without fake quantization."""

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
    """A quantization-aware copy of a model with the same weights, and with activation ranges measured on texts.

    Args:
        model: a task model in float32, not quantization-aware.
        rows: texts similar to the texts in production. A range is the mean over batches of 16 rows, without padding.

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
