"""Not a test: pre-trains for a few steps under the strategy named on the command line and prints the losses."""

import json
import os
import sys
from dataclasses import replace

import tensorflow as tf

mode, corpus, save_to, steps = sys.argv[1:5]
if mode == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras_plm as plm  # noqa: E402
from keras_plm.recipes import Pretrain, recipe  # noqa: E402
from keras_plm.training import is_chief, make_strategy  # noqa: E402


def noted(name):
    strategy = make_strategy(name)
    print("REPLICAS", strategy.num_replicas_in_sync, flush=True)
    return strategy


recipe.make_strategy = noted

model = Pretrain(
    corpus=corpus,
    validation=corpus,
    config=replace(
        plm.TINY,
        vocabulary_size=89,
        hidden_dim=32,
        intermediate_dim=48,
        dropout=0.0,
        attention_dropout=0.0,
    ),
    steps=int(steps),
    checkpoint_every=int(steps) // 3,
    validation_steps=2,
    max_length=32,
    batch_size=8,
    learning_rate=3e-3,
    clip_norm=0.5,  # low enough to act in most steps
    precision="float32",
    strategy=mode,
    save_to=save_to,
    verbose=0,
).run()
if is_chief():  # it writes the file
    with open(os.path.join(save_to, "history.csv")) as file:
        header, *rows = file.read().split()
    print(
        "HISTORY",
        json.dumps([dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]),
    )
