"""Not a test: fine-tunes with a compression field on two logical processors and prints what came of the kernels."""

import json
import sys

import numpy as np
import tensorflow as tf

encoder, train, save_to, field, value = sys.argv[1:]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_plm.compression.pruning import measured_sparsity  # noqa: E402
from keras_plm.recipes import Classify  # noqa: E402

model = Classify(
    encoder=encoder, train=train, epochs=3, batch_size=8, max_length=24, learning_rate=3e-3, strategy="mirrored",
    precision="float32", save_to=save_to, verbose=0, **{field: json.loads(value)},
).run()  # fmt: skip
kernel = model.encoder.blocks[0].feed_forward.expand.kernel.numpy()
print("OUT", json.dumps([measured_sparsity(model), len(np.unique(kernel))]))
