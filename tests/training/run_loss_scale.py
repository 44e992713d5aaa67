"""Trains in float16 with loss scaling on one device or on several logical ones; prints losses and the factor as JSON.

python run_loss_scale.py DEVICES
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

import keras_plm as plm
from keras_plm.training import AdamW, CrossEntropy, loss_scale, repair_keras

loss_scale._GROWTH_STEPS = 5
loss_scale.INITIAL_SCALE = 2.0**60  # the first steps overflow


def main() -> None:
    count = int(sys.argv[1])
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
    keras.config.set_dtype_policy("mixed_float16")
    repair_keras()
    devices = [f"CPU:{index}" for index in range(count)]
    strategy = tf.distribute.MirroredStrategy(devices) if count > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        keras.utils.set_random_seed(0)
        config = plm.EncoderConfig(
            vocabulary_size=97, num_layers=1, hidden_dim=32, num_heads=2, intermediate_dim=48,
            max_sequence_length=12, dropout=0.0, attention_dropout=0.0,
        )  # fmt: skip
        model = plm.Classifier(config, ["a", "b"])
        optimizer = AdamW(3e-3, loss_scaling=True)
        model.compile(optimizer, CrossEntropy(), jit_compile=False, auto_scale_loss=False)
    ids = np.random.default_rng(0).integers(5, 97, (64, 12)).astype("int32")
    inputs = {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1}
    rows = tf.data.Dataset.from_tensor_slices((inputs, (ids[:, 0] % 2).astype("int32"))).batch(16).repeat()
    losses = model.fit(rows, epochs=12, steps_per_epoch=8, verbose=0).history["loss"]
    copies = [strategy.experimental_local_results(v.value) for v in [*model.weights, *optimizer.variables]]
    assert all(len(copy) == count for copy in copies)
    equal = all(np.array_equal(copy[0], other) for copy in copies for other in copy[1:])
    factor = float(optimizer._loss_scale.factor.numpy())
    print(json.dumps({"losses": losses, "factor": factor, "equal_copies": equal}))


if __name__ == "__main__":
    main()
