"""A small encoder, pre-trained on the text of the demo: what it knows of held-out text, and what its start is worth.

Both claims are robust: masked tokens are compared with what counting can do, and the start over five seeds.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_plm as plm
from keras_plm import recipes
from keras_plm.models import copy_model
from keras_plm.recipes.starting_model import starting_model
from keras_plm.text import LabeledTexts, Tokenizer, read_documents
from keras_plm.training import AdamW, LinearWarmupDecay, Precision

SIZES = replace(
    plm.TINY, vocabulary_size=5_000, num_layers=3, hidden_dim=192, num_heads=3, intermediate_dim=768, dropout=0.0,
    attention_dropout=0.0, normalize_first=True,
)  # fmt: skip
SEEDS = range(5)
LABELED = 200
LENGTH = 48


def show(folder: Path, seed: int, precision: Precision, console: Console) -> None:
    """Pre-train, and print both claims."""
    documents = (folder / "corpus.txt").read_text("utf-8").split("\n\n")
    held_out = documents[::25]
    (folder / "held_out.txt").write_text("\n\n".join(held_out), "utf-8")
    (folder / "own_corpus.txt").write_text("\n\n".join(d for d in documents if d not in set(held_out)), "utf-8")
    recipe = recipes.Pretrain(
        corpus=str(folder / "own_corpus.txt"), config=SIZES, steps=900, checkpoint_every=300, batch_size=64,
        max_length=LENGTH, learning_rate=1e-3, seed=seed, precision=precision, save_to=str(folder / "pretrained"),
    )  # fmt: skip
    model = recipe.run()
    known, unigram, bigram = masked_tokens(model, folder)
    console.print(
        f"masked tokens of held-out text: [bold]{known:.1%}[/] found; the most frequent one is right in {unigram:.1%}, "
        f"the one that most often follows the token before it in {bigram:.1%}"
    )
    scores = starts(model, folder)
    table = Table(title=f"what such a start is worth: {LABELED} labels, {len(SEEDS)} seeds", title_justify="left")
    for column in ("start", "chapters found: mean", "lowest", "highest"):
        table.add_column(column, justify="left" if column == "start" else "right")
    for start, found in scores.items():
        table.add_row(start, *(f"{value:.1%}" for value in (np.mean(found), min(found), max(found))))
    console.print(table)


def masked_tokens(model: plm.Pretrainer, folder: Path) -> tuple[float, float, float]:
    """The share of masked tokens of held-out text that the model finds, and that counts of the training text find."""
    tokenizer: Tokenizer = model.tokenizer
    lines = (folder / "own_corpus.txt").read_text("utf-8").split("\n")
    single, after = Counter[int](), dict[int, Counter[int]]()
    for row in tokenizer(lines).to_list():
        single.update(row)
        for first, second in zip(row, row[1:], strict=False):
            after.setdefault(first, Counter())[second] += 1
    usual = single.most_common(1)[0][0]
    follows = {first: counts.most_common(1)[0][0] for first, counts in after.items()}

    recipe = recipes.Pretrain(
        corpus=str(folder / "own_corpus.txt"), config=SIZES, max_length=LENGTH, batch_size=64, validation_steps=20,
        validation=str(folder / "held_out.txt"),
    )  # fmt: skip
    right, total = np.zeros(3), 0.0
    rows = recipe.validation_rows(model, read_documents(recipe.validation))
    for inputs, labels, weights in recipe.validation_batches(rows):
        wanted, counted = labels["masked_tokens"].numpy(), weights["masked_tokens"].numpy() > 0
        places = inputs["mask_positions"].numpy()
        before = np.take_along_axis(inputs["token_ids"].numpy(), np.maximum(places - 1, 0), 1)
        guesses = [model(inputs)["masked_tokens"].numpy().argmax(-1), np.full_like(wanted, usual)]
        guesses.append(np.vectorize(lambda token: follows.get(token, usual))(before))
        right += [((guess == wanted) & counted).sum() for guess in guesses]
        total += counted.sum()
    return tuple(right / total)


def starts(pretrained: plm.Pretrainer, folder: Path) -> dict[str, list[float]]:
    """Accuracy after the same fine-tuning from the pre-trained weights and from random ones, for each seed."""
    recipe = recipes.Classify(
        start_from=str(folder / "pretrained"), train=str(folder / "train.tsv"), test=str(folder / "test.tsv"),
        limit_train_examples=LABELED, epochs=6,
        pooling="mean", learning_rate=5e-4, max_length=LENGTH, verbose=0,
        dropout=0.0,
    )  # fmt: skip
    train, labeled, held_out = recipe.read_all()
    test = held_out["test"].head(600)
    assert isinstance(test, LabeledTexts)
    model = starting_model(recipe, labeled)
    rows = recipe.rows(model, train)
    steps = rows.num_steps(recipe.batch_size) * recipe.epochs
    model.compile(
        AdamW(LinearWarmupDecay(recipe.learning_rate, steps // 10, steps)), recipe.loss(model), jit_compile=False
    )
    model.optimizer.build(model.trainable_variables)
    fresh = [variable.numpy() for variable in model.optimizer.variables]
    learned = model.encoder.get_weights()
    found: dict[str, list[float]] = {"pre-trained": [], "random": []}
    for seed in SEEDS:
        for start, scores in found.items():
            keras.utils.set_random_seed(seed)
            random = plm.Classifier(model.config, model.labels, model.tokenizer, pooling="mean")
            model.set_weights(random.get_weights())
            if start == "pre-trained":
                model.encoder.set_weights(learned)
            for variable, value in zip(model.optimizer.variables, fresh, strict=True):
                variable.assign(value)
            model.fit(rows.training_dataset(recipe.batch_size, recipe.epochs, seed), epochs=1, shuffle=False, verbose=0)
            predicted = copy_model(model).predict_labels(test.first, max_length=LENGTH)
            scores.append(float(np.mean([a == b for a, b in zip(predicted, test.values, strict=True)])))
    return found
