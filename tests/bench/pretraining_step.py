"""One contestant: the MLM + NSP pre-training step with AdamW and clipping on random tokens; prints JSON.

python pretraining_step.py CONTESTANT SIZE BATCH LENGTH fp32|bf16 STEPS [jax]

The contestants are keras_plm, keras_hub, transformers and transformers_compiled (torch.compile). keras_hub also runs on
JAX: KERAS_BACKEND=jax.
"""

import functools
import json
import os
import statistics
import sys
import time

import numpy as np

LAYERS = {"mini": (4, 256), "small": (4, 512), "base": (12, 768)}  # layers, width
VOCABULARY = 30_522


def data(batch: int, length: int) -> dict[str, np.ndarray]:
    """Tokens, 15 % masked positions and their labels."""
    random = np.random.default_rng(0)
    positions = int(0.15 * length)
    return {
        "token_ids": random.integers(1_000, 30_000, (batch, length)).astype("int32"),
        "segment_ids": np.zeros((batch, length), "int32"),
        "padding_mask": np.ones((batch, length), "int32"),
        "mask_positions": np.stack([random.choice(length, positions, replace=False) for _ in range(batch)]).astype(
            "int32"
        ),
        "labels": random.integers(1_000, 30_000, (batch, positions)).astype("int32"),
        "next_sentence": random.integers(0, 2, (batch,)).astype("int32"),
    }


def keras_plm_step(size, rows, mixed):
    import keras

    import keras_plm as plm
    from keras_plm.training import AdamW, CrossEntropy

    if mixed:
        keras.config.set_dtype_policy("mixed_bfloat16")
    model = plm.Pretrainer(plm.SIZES[size])
    losses = {"masked_tokens": CrossEntropy(), "next_sentence": CrossEntropy()}
    model.compile(AdamW(1e-4, global_clipnorm=1.0), losses, jit_compile=False)
    inputs = {name: rows[name] for name in ("token_ids", "segment_ids", "padding_mask", "mask_positions")}
    labels = {"masked_tokens": rows["labels"], "next_sentence": rows["next_sentence"]}
    return lambda: model.train_on_batch(inputs, labels)


def keras_hub_step(size, rows, mixed):
    """keras-hub has no next-sentence head: its step does less."""
    import keras
    import keras_hub

    if mixed:
        keras.config.set_dtype_policy("mixed_bfloat16")
    layers, width = LAYERS[size]
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=layers,
        num_heads=width // 64,
        hidden_dim=width,
        intermediate_dim=4 * width,
        max_sequence_length=512,
    )
    model = keras_hub.models.BertMaskedLM(backbone, preprocessor=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # compile() would add an accuracy; without it the step is faster (on TensorFlow, jit is slower still)
    jit = keras.backend.backend() == "jax"
    model.compile(optimizer=keras.optimizers.AdamW(1e-4, clipnorm=1.0), loss=loss, weighted_metrics=[], jit_compile=jit)
    inputs = {name: rows[name] for name in ("token_ids", "segment_ids", "padding_mask", "mask_positions")}
    return lambda: model.train_on_batch(inputs, rows["labels"])


def transformers_step(size, rows, mixed, compiled=False):
    import torch
    from transformers import BertConfig, BertForPreTraining

    torch.set_num_threads(os.cpu_count())
    layers, width = LAYERS[size]
    config = BertConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64, intermediate_size=4 * width
    )
    model = BertForPreTraining(config)
    model.train()
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    ids = torch.tensor(rows["token_ids"]).long()
    labels = torch.full(ids.shape, -100)
    labels.scatter_(1, torch.tensor(rows["mask_positions"]).long(), torch.tensor(rows["labels"]).long())
    next_sentence = torch.tensor(rows["next_sentence"]).long()

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            output = forward(input_ids=ids, labels=labels, next_sentence_label=next_sentence)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return output.loss.item()

    return step


def main() -> None:
    name, size, batch, length, mode, steps = sys.argv[1:7]
    makers = {
        "keras_plm": keras_plm_step,
        "keras_hub": keras_hub_step,
        "transformers": transformers_step,
        "transformers_compiled": functools.partial(transformers_step, compiled=True),
    }
    make = makers[name]
    step = make(size, data(int(batch), int(length)), mode == "bf16")
    for _ in range(3):
        step()
    seconds = []
    for _ in range(int(steps)):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    tokens = int(batch) * int(length)
    print(json.dumps({"tokens_per_second": round(tokens / statistics.median(seconds), 1)}))


if __name__ == "__main__":
    main()
