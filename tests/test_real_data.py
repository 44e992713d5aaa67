"""On real data (KERAS_PLM_DATA): part of `make test-all`, skipped where there is none."""

import re
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm import export
from keras_plm.recipes import Classify, Pretrain
from keras_plm.text import SentencePairs, TokenizedCorpus, read_documents, read_rows
from keras_plm.text.normalization import Normalizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def english(real_data, tmp_path_factory):
    """A small encoder, pre-trained for two minutes."""
    folder = tmp_path_factory.mktemp("english") / "model"
    Pretrain(
        corpus=str(real_data / "pretrain_en" / "*.train.txt.gz"),
        validation=str(real_data / "pretrain_en" / "books.dev.txt.gz"),
        config=replace(plm.TINY, dropout=0.0, attention_dropout=0.0, normalize_first=True),
        vocabulary_size=6_000,
        steps=1_500,
        checkpoint_every=500,
        batch_size=64,
        max_length=64,
        learning_rate=2e-3,
        save_to=str(folder),
        verbose=0,
    ).run()
    return folder


def test_pretraining_beats_the_unigram_twice(english):
    card = (english / "README.md").read_text()
    scores = dict(line.strip("| ").split(" | ")[:2] for line in card.splitlines() if line.startswith("| masked"))
    unigram = float(scores["masked_tokens_unigram_accuracy"])
    assert 0.03 < unigram < 0.09
    assert float(scores["masked_tokens_accuracy"]) > 2 * unigram


def test_chinese_from_end_to_end(real_data, tmp_path):
    model = Pretrain(
        corpus=str(real_data / "pretrain_zh" / "*.train.txt.gz"),
        config=replace(plm.TINY, normalize_first=True),
        vocabulary_size=8_000,
        steps=60,
        checkpoint_every=60,
        max_length=64,
        learning_rate=2e-3,
        save_to=str(tmp_path / "zh"),
        verbose=0,
    ).run()
    sentences = [s for d in read_documents(str(real_data / "pretrain_zh" / "wiki.test.txt.gz")) for s in d]
    ids = model.tokenizer(sentences).flat_values.numpy()
    assert (ids == model.tokenizer.id("[UNK]")).mean() < 0.02
    text = sentences[0]
    encoding = model.tokenizer.encode(text)
    for token, start, end in zip(encoding.tokens, encoding.starts, encoding.ends, strict=True):
        covered, _, _ = Normalizer().aligned(text[start:end])  # full-width punctuation stays what it is
        assert token in ("[UNK]", covered) or token.startswith("##"), (token, covered)
    folder = real_data / "chnsenticorp_hotel"
    reviews = Classify(
        start_from=str(tmp_path / "zh"),
        train=str(folder / "train.tsv"),
        test=str(folder / "dev.tsv"),
        limit_train_examples=3_000,
        epochs=3,
        learning_rate=1e-3,
        max_length=64,
        save_to=str(tmp_path / "hotel"),
        verbose=0,
    ).run()
    card = (tmp_path / "hotel" / "README.md").read_text("utf-8")
    assert float(re.search(r"test accuracy \| ([\d.]+)", card)[1]) > 0.75  # 70 % of the reviews are positive
    probabilities = reviews.predict_probabilities(
        ["房间很干净，服务很好，下次还会来。", "房间太差了，又脏又吵，不会再来。"]
    )
    assert probabilities[0, 1] > probabilities[1, 1]


def test_negatives_cannot_be_told_by_length(real_data, english):
    tokenizer = plm.load(english).tokenizer
    documents = read_documents(str(real_data / "pretrain_en" / "books.dev.txt.gz"))
    pairs = SentencePairs(TokenizedCorpus.from_documents(documents, tokenizer), 125)
    lengths, labels = [], []
    for seed in range(5):
        first, second, label = pairs.draw(np.arange(len(pairs)), (seed, 1))
        lengths.append(np.stack([first.lengths, second.lengths], 1))
        labels.append(label.numpy())
    lengths, labels = np.concatenate(lengths), np.concatenate(labels)
    assert abs(labels.mean() - 0.5) < 0.02
    from sklearn.tree import DecisionTreeClassifier

    half = len(labels) // 2
    tree = DecisionTreeClassifier(max_depth=6, random_state=0).fit(lengths[:half], labels[:half])
    assert tree.score(lengths[half:], labels[half:]) < 0.55


def test_sentiment_and_its_artifacts(real_data, english, tmp_path):
    folder = real_data / "sst2"
    model = Classify(
        start_from=str(english),
        train=str(folder / "train.tsv"),
        validation=str(folder / "dev.tsv"),
        epochs=3,
        learning_rate=1e-3,
        max_length=64,
        save_to=str(tmp_path / "sst2"),
        verbose=0,
    ).run()
    test = str(folder / "test.tsv")
    float32 = export.compare(model, export.to_tflite(model, tmp_path / "float32", max_length=64), test, limit=600)
    assert float32.keras_score > 0.65 and float32.agreement == 1.0 and float32.largest_error < 1e-4
    int8 = export.compare(model, export.to_tflite(model, tmp_path / "int8", "dynamic_int8", 64), test, limit=600)
    assert int8.agreement >= 0.98 and int8.artifact_score >= int8.keras_score - 0.01
    onnx = export.compare(model, export.to_onnx(model, tmp_path / "onnx"), test, limit=600, max_length=64)
    assert onnx.agreement == 1.0 and onnx.largest_error < 1e-4
    served = export.to_saved_model(model, tmp_path / "served", max_length=64)
    program = """
    import json, sys
    sys.modules["keras_plm"] = None
    import tensorflow as tf, tensorflow_text
    loaded = tf.saved_model.load(sys.argv[1])
    lines = sys.stdin.read().splitlines()
    out = loaded.signatures["serving_default"](text=tf.constant(lines))
    print("\\nOUT", " ".join(label.decode() for label in out["label"].numpy()))
    """
    texts = read_rows(test, ["text"], 600)["text"]
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(served)],
        input="\n".join(texts),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    labels = next(line for line in result.stdout.splitlines() if line.startswith("OUT")).split()[1:]
    assert labels == model.predict_labels(texts, max_length=64)
