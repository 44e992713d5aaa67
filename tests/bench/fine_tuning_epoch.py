"""One contestant: epochs of fine-tuning a sentence classifier from one folder of weights; prints JSON.

    python fine_tuning_epoch.py keras_plm|keras_hub|transformers FOLDER TABLE fp32|bf16 ROWS

FOLDER is a BERT in Hugging Face's files, TABLE a .tsv with label and text. Batches of 32, AdamW, clipping. Two epochs,
of which the second is timed: compiling is not. Lengths are natural: our batches and Transformers' are of rows of like
length, padded to the longest; keras-hub's `fit` pads every row to 64, its way with strings.
"""

import csv
import json
import os
import sys
import tempfile
import time

BATCH, LONGEST = 32, 64


def table(path: str, rows: int) -> tuple[list[str], list[int]]:
    """Texts and labels."""
    with open(path, encoding="utf-8") as file:
        read = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:rows]
    return [row["text"] for row in read], [int(row["label"]) for row in read]


def keras_plm_epochs(folder, path, mixed, rows):
    """The recipe itself, without validation."""
    from keras_plm.recipes import Classify

    with tempfile.TemporaryDirectory() as work:
        timer = timer_of_epochs()
        recipe = Classify(
            start_from=f"hf:{folder}", train=path, limit_train_examples=rows, epochs=2, max_length=LONGEST, verbose=0,
            precision="mixed_bfloat16" if mixed else "float32", save_to=f"{work}/model", callbacks=[timer],
        )  # fmt: skip
        recipe.run()
    return timer.times


def timer_of_epochs():
    """A callback whose `times` are those of the epochs."""
    import keras

    class Timer(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.times: list[float] = []

        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.times.append(time.perf_counter() - self.start)

    return Timer()


def keras_hub_epochs(folder, path, mixed, rows):
    """`BertTextClassifier.fit` on strings."""
    import keras
    import keras_hub

    if mixed:
        keras.config.set_dtype_policy("mixed_bfloat16")
    texts, labels = table(path, rows)
    backbone = keras_hub.models.BertBackbone.from_preset(folder)
    tokenizer = keras_hub.models.BertTokenizer.from_preset(folder)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=LONGEST)
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor)
    optimizer = keras.optimizers.AdamW(5e-5, global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        model.fit(texts, labels, batch_size=BATCH, epochs=1, verbose=0)
        times.append(time.perf_counter() - start)
    return times


def transformers_epochs(folder, path, mixed, rows):
    """A plain loop, rows sorted by length in pools of 50 batches."""
    import numpy as np
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification, get_linear_schedule_with_warmup

    torch.set_num_threads(os.cpu_count() or 1)
    texts, labels = table(path, rows)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=2).train()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-5, weight_decay=0.01, fused=True)
    ids = tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]
    steps = -(-len(ids) // BATCH)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 5, 2 * steps)
    random = np.random.default_rng(0)
    lengths = np.array([len(row) for row in ids])
    times = []
    for _ in range(2):
        start = time.perf_counter()
        order = random.permutation(len(ids))
        pools = [order[i : i + 50 * BATCH] for i in range(0, len(order), 50 * BATCH)]
        order = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        batches = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        for index in random.permutation(len(batches)):
            rows_of = [ids[i] for i in batches[index]]
            width = max(map(len, rows_of))
            batch = torch.tensor([row + [0] * (width - len(row)) for row in rows_of])
            target = torch.tensor([labels[i] for i in batches[index]])
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
                loss = model(input_ids=batch, attention_mask=(batch != 0).long(), labels=target).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    name, folder, path, mode, rows = sys.argv[1:]
    times = globals()[f"{name}_epochs"](folder, path, mode == "bf16", int(rows))
    print(json.dumps({"seconds": times[1], "first_seconds": times[0]}))
