"""What a TPU needs: one shape for all batches, and a step in bfloat16 that XLA compiles as a whole."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_plm as plm
from keras_plm.recipes import Classify, Pretrain, PretrainDenoising, Translate
from keras_plm.recipes.training_method import TrainingMethod

SMALL = {"num_layers": 1, "hidden_dim": 32, "intermediate_dim": 48, "num_heads": 2, "max_sequence_length": 32}
DECODER = plm.DecoderConfig(**SMALL, vocabulary_size=53)
MODELS = {
    "encoder": lambda: plm.Classifier(replace(plm.TINY, vocabulary_size=53, **SMALL), ["a", "b"]),
    "decoder": lambda: plm.TextGenerator(DECODER),
    "encoder-decoder": lambda: plm.Seq2Seq(plm.EncoderDecoderConfig(vocabulary_size=53, **SMALL)),
}


class WithShapes(TrainingMethod):
    """Supervised training that notes the shapes of its batches."""

    def __init__(self):
        self.shapes = set()

    def compile(self, model, optimizer, loss, metrics, **options):
        self.options = options
        fit = model.fit

        def noted(batches, *arguments, **more):
            def note(batch):
                self.shapes.add(tuple(sorted((name, tuple(value.shape)) for name, value in batch[0].items())))

            for batch in batches.take(30):
                note(batch)
            return fit(batches, *arguments, **more)

        model.fit = noted
        return super().compile(model, optimizer, loss, metrics, **options)


def test_all_batches_have_one_shape(encoder, review_files, corpus_file, tmp_path):
    shared = {"precision": "float32", "verbose": 0, "batch_size": 8}
    rows = [{"source": "one two " * n, "target": "eins " * n} for n in (1, 2, 3, 4, 5) for _ in range(7)]
    config = plm.EncoderDecoderConfig(vocabulary_size=40, **{k: v for k, v in SMALL.items()})
    recipes = {
        "classify": lambda **more: Classify(
            start_from=encoder, train=review_files["train"], epochs=2, max_length=24, **shared, **more
        ),
        "translate": lambda **more: Translate(train=rows, config=config, epochs=2, max_length=24, **shared, **more),
        "pretrain": lambda **more: Pretrain(
            corpus=corpus_file, config=replace(plm.TINY, **SMALL), vocabulary_size=89, steps=3, max_length=24,
            steps_per_execution=2, **shared, **more,
        ),
    }  # fmt: skip
    for name, make in recipes.items():
        for static in (False, True):
            method = WithShapes()
            make(static_shapes=static, save_to=str(tmp_path / f"{name}{static}")).run(method)
            assert (len(method.shapes) == 1) == (static or name == "pretrain"), (name, static)
            assert method.options == {"steps_per_execution": 2 if name == "pretrain" else 1}
    with pytest.raises(ValueError, match="does not divide the 12 batches of an epoch; choose one of 1, 2, 3, 4, 6, 12"):
        recipes["classify"](steps_per_execution=5, save_to=str(tmp_path / "other")).run()
    with pytest.raises(ValueError, match="rows have different lengths: leave out static_shapes"):
        PretrainDenoising(corpus=corpus_file, noise="infilling", static_shapes=True)


@pytest.mark.parametrize("name", MODELS)
def test_xla_compiles_the_whole_step_in_bfloat16(name, xla):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = MODELS[name]()
    finally:
        keras.config.set_dtype_policy("float32")
    draw = np.random.default_rng(0)
    inputs = {key: draw.integers(1, 50, (4, 16)).astype("int32") for key in model.input}
    inputs |= {key: np.ones((4, 16), "int32") for key in inputs if "mask" in key}
    targets = draw.integers(0, 2, 4) if name == "encoder" else draw.integers(0, 50, (4, 16))
    model.compile(
        plm.training.AdamW(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True
    )
    losses = model.fit(inputs, targets, batch_size=4, epochs=3, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[2] < losses[0]
    assert tf.as_dtype(model.layers[-1].compute_dtype) in (tf.bfloat16, tf.float32)
