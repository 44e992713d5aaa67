"""Not a test: fine-tunes with a compression field on two logical processors and prints what came of the kernels."""

import json
import sys

import numpy as np
import tensorflow as tf

encoder, train, save_to, field, value = sys.argv[1:]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_plm.compression.pruning import measured_sparsity  # noqa: E402
from keras_plm.recipes import Classify, recipe  # noqa: E402
from keras_plm.training import make_strategy  # noqa: E402

replicas = []


def noted(name):
    strategy = make_strategy(name)
    replicas.append(strategy.num_replicas_in_sync)
    return strategy


recipe.make_strategy = noted

model = Classify(
    start_from=encoder, train=train, epochs=3, batch_size=8, max_length=24, learning_rate=3e-3, strategy="mirrored",
    precision="float32", save_to=save_to, verbose=0, **{field: json.loads(value)},
).run()  # fmt: skip
kernel = model.encoder.blocks[0].feed_forward.expand.kernel.numpy()
ranges = [float(np.abs(weight).max()) for weight in model.weights if weight.path.endswith("/range")]
print("OUT", json.dumps([replicas, measured_sparsity(model), len(np.unique(kernel)), ranges]))
