"""Not a test: trains with one recipe under a strategy, and prints losses, weights and answers.

    python run_under_strategy.py STRATEGY RECIPE DATA SAVE_TO

DATA has the models and tables that `test_strategies.py` wrote.
"""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

mode, name, data, save_to = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
if mode == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras_plm as plm  # noqa: E402
from keras_plm import recipes  # noqa: E402
from keras_plm.recipes import recipe as module  # noqa: E402
from keras_plm.tasks import evaluate, extract_summaries  # noqa: E402
from keras_plm.training import make_strategy  # noqa: E402

strategies = []


def noted(strategy):
    if not strategies:  # a process has one cluster
        strategies.append(make_strategy(strategy))
    return strategies[0]


module.make_strategy = noted

ENCODER = replace(
    plm.TINY, vocabulary_size=97, num_layers=1, hidden_dim=32, intermediate_dim=48, num_heads=2, max_sequence_length=64,
    dropout=0.0, attention_dropout=0.0,
)  # fmt: skip
DECODER = replace(
    plm.GPT_MINI, vocabulary_size=300, num_layers=1, hidden_dim=32, intermediate_dim=48, num_heads=2,
    max_sequence_length=64, dropout=0.0, attention_dropout=0.0,
)  # fmt: skip
SEQ2SEQ = plm.EncoderDecoderConfig(
    num_layers=1, num_heads=2, hidden_dim=32, intermediate_dim=64, vocabulary_size=60, normalize_first=True,
    dropout=0.0, attention_dropout=0.0,
)  # fmt: skip
shared = {
    "batch_size": 8, "learning_rate": 3e-3, "precision": "float32", "verbose": 0, "save_to": save_to, "strategy": mode,
    "clip_norm": 0.5,
}  # fmt: skip
pretraining = {"steps": 50, "checkpoint_every": 25, "max_length": 32, "corpus": str(data / "corpus.txt")}
tuning = {"epochs": 2, "dropout": 0.0, "max_length": 24, "start_from": str(data / "encoder")}
writing = {"epochs": 2, "dropout": 0.0, "max_length": 24, "start_from": str(data / "decoder")}
translating = {"epochs": 2, "dropout": 0.0, "max_length": 23, "config": SEQ2SEQ}


def table(name):
    return str(data / name)


classify = {**tuning, "train": table("labels.tsv"), "text_column": "text", "label_column": "label"}
RECIPES = {
    "Pretrain": lambda: recipes.Pretrain(**shared, **pretraining, config=ENCODER),
    "Pretrain packed": lambda: recipes.Pretrain(**shared, **pretraining, config=ENCODER, pack=True),
    "PretrainCausal": lambda: recipes.PretrainCausal(**shared, **pretraining, config=DECODER),
    "PretrainDenoising": lambda: recipes.PretrainDenoising(
        **shared, **pretraining, config=replace(SEQ2SEQ, vocabulary_size=200)
    ),
    "Classify": lambda: recipes.Classify(**shared, **classify),
    "Tag": lambda: recipes.Tag(**shared, **tuning, train=table("tags.conll")),
    "AnswerQuestions": lambda: recipes.AnswerQuestions(
        **shared, **tuning | {"max_length": 32}, overlap=4, train=table("questions.jsonl")
    ),
    "Embed": lambda: recipes.Embed(**shared, **tuning, train=table("pairs.tsv"), similarity="cosine"),
    "SummarizeExtractive": lambda: recipes.SummarizeExtractive(
        **shared, **tuning, train=table("summaries.jsonl")
    ),
    "FineTuneCausal": lambda: recipes.FineTuneCausal(**shared, **writing, train=table("completions.jsonl")),
    "Converse": lambda: recipes.Converse(**shared, **writing | {"max_length": 64}, train=table("chats.jsonl")),
    "Translate": lambda: recipes.Translate(
        **shared, **translating, train=table("translations.tsv"), source_column="en", target_column="de"
    ),
    "Summarize": lambda: recipes.Summarize(
        **shared, **translating, train=table("translations.tsv"), source_column="en", target_column="de"
    ),
    "Distill": lambda: recipes.Distill(
        recipe=recipes.Classify(**shared, **classify), teacher=str(data / "teacher"), hidden=1.0
    ),
}  # fmt: skip


def answers(model):
    """What the methods of a model say, as numbers and texts."""
    texts = ["the cat sees the dog", "a dog", "the heron hears the fox and the cat"]
    if name == "SummarizeExtractive":
        return extract_summaries(model, ["A cat sees.\nA dog. The fox."])
    if hasattr(model, "predict_probabilities"):
        return model.predict_probabilities(texts).tolist()
    if hasattr(model, "generate") and model.continues_prompts:
        return [*model.generate(texts[:2], max_new_tokens=5), *(found.total for found in model.score(texts[:2]))]
    if hasattr(model, "generate"):
        return model.generate(["one two", "ten"], max_new_tokens=5)
    if hasattr(model, "embed"):
        return model.embed(texts).tolist()
    if hasattr(model, "tag"):
        return [[f"{span.label} {span.start} {span.end}" for span in spans] for spans in model.tag(texts)]
    if hasattr(model, "answer"):
        return [model.answer("who ?", text).text for text in texts]
    return []


model = RECIPES[name]().run()
with strategies[0].scope():
    inside = plm.load(save_to)
    said = answers(inside)
    scores = {}
    if name in ("Classify", "Tag", "Translate"):
        chosen = RECIPES[name]()
        scores = evaluate(inside, chosen.read(chosen.train)).scores
history = [row.split(",") for row in (Path(save_to) / "history.csv").read_text().split()]
weights = np.concatenate([np.ravel(weight).astype("float64") for weight in model.get_weights()])
print("OUT", json.dumps({
    "replicas": strategies[0].num_replicas_in_sync,
    "losses": [float(row[history[0].index("loss")]) for row in history[1:]],
    "norm": float(np.linalg.norm(weights)),
    "weights": hashlib.sha256(weights.tobytes()).hexdigest(),
    "outside": answers(model),
    "inside": said,
    "scores": {key: float(value) for key, value in scores.items()},
}))  # fmt: skip
