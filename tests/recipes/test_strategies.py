"""Every recipe on one device, on two logical devices and in two processes: the same losses, weights and answers."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import keras_plm as plm
from keras_plm.text import learn_byte_pairs, read_documents
from tests.training.test_distribution import free_ports

SCRIPT = Path(__file__).with_name("run_under_strategy.py")
NAMES = (
    "Pretrain", "Pretrain packed", "PretrainCausal", "PretrainDenoising", "Classify", "Tag", "AnswerQuestions", "Embed",
    "SummarizeExtractive", "FineTuneCausal", "Converse", "Translate", "Summarize", "Distill",
)  # fmt: skip
NUMBERS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs", "ten": "zehn"}
ANIMALS = ("cat", "dog", "heron", "fox", "otter")


def lines(path, rows):
    path.write_text("\n".join(rows) + "\n", "utf-8")


@pytest.fixture(scope="module")
def data(corpus_file, tokenizer, tmp_path_factory):
    """Tables with 200 rows, which are 25 batches, and the models to start from."""
    folder = tmp_path_factory.mktemp("strategies")
    draw = random.Random(0)
    texts = [f"the {draw.choice(ANIMALS)} sees {'the ' * draw.randint(0, 4)}{draw.choice(ANIMALS)}" for _ in range(200)]
    objects = [json.dumps(row) for row in (
        {"prompt": text[:7], "completion": text[7:]} for text in texts
    )]  # fmt: skip
    lines(folder / "completions.jsonl", objects)
    chats = [
        {"messages": [{"role": "user", "content": text[:9]}, {"role": "assistant", "content": text[9:]}]}
        for text in texts
    ]
    lines(folder / "chats.jsonl", map(json.dumps, chats))
    lines(folder / "labels.tsv", ["text\tlabel", *(f"{text}\t{text.split()[1]}" for text in texts)])
    tags = ("\n".join(f"{word} {'B-X' if word in ANIMALS else 'O'}" for word in text.split()) + "\n" for text in texts)
    lines(folder / "tags.conll", tags)
    questions = (
        {"question": "who ?", "context": text, "answers": {"text": [text.split()[1]], "answer_start": [4]}}
        for text in texts
    )
    lines(folder / "questions.jsonl", map(json.dumps, questions))
    pairs = (f"{a}\t{b}\t{draw.random():.2f}" for a, b in zip(texts, texts[::-1], strict=True))
    lines(folder / "pairs.tsv", ["sentence1\tsentence2\tscore", *pairs])
    summaries = ({"text": f"{text}.\nA dog.", "summary": text} for text in texts[:100])
    lines(folder / "summaries.jsonl", map(json.dumps, summaries))
    rows = [draw.choices(list(NUMBERS), k=draw.randint(1, 4)) for _ in range(200)]
    translations = (f"{' '.join(row)}\t{' '.join(map(NUMBERS.get, row))}" for row in rows)
    lines(folder / "translations.tsv", ["en\tde", *translations])
    (folder / "corpus.txt").write_text(Path(corpus_file).read_text())

    small = {"num_layers": 1, "hidden_dim": 32, "intermediate_dim": 48, "num_heads": 2, "max_sequence_length": 64}
    config = replace(plm.TINY, vocabulary_size=len(tokenizer), **small)
    plm.save(plm.Pretrainer(config, tokenizer), folder / "encoder")
    plm.save(plm.Classifier(config, sorted({text.split()[1] for text in texts}), tokenizer), folder / "teacher")
    byte_pairs = learn_byte_pairs([" ".join(s for d in read_documents(corpus_file) for s in d)], 300)
    decoder = replace(plm.GPT_MINI, vocabulary_size=len(byte_pairs), **small)
    plm.save(plm.TextGenerator(decoder, byte_pairs), folder / "decoder")
    return folder


def start(mode, name, data, save_to, config=None):
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    if config:
        environment["TF_CONFIG"] = json.dumps(config)
    command = [sys.executable, str(SCRIPT), mode, name, str(data), str(save_to)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def result(process):
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output[-3000:]
    return json.loads(next(line for line in output.splitlines() if line.startswith("OUT")).removeprefix("OUT"))


def run(mode, name, data, folder):
    """What each process says."""
    folder.mkdir()
    if mode != "multi_worker":
        return [result(start(mode, name, data, folder / "model"))]
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    tasks = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in range(2)]
    return [result(process) for process in [start(mode, name, data, folder / "model", task) for task in tasks]]


def close(found, wanted, tolerance):
    """Whether two nested lists have the same texts, and numbers that differ by at most the tolerance."""
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(close(f, w, tolerance) for f, w in zip(found, wanted, strict=True))
    return found == wanted if isinstance(wanted, str) else abs(found - wanted) <= tolerance


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_under_every_strategy(data, tmp_path, name):
    (one,) = run("one", name, data, tmp_path / "one")
    assert one["replicas"] == 1 and one["losses"][-1] < one["losses"][0]
    assert close(one["inside"], one["outside"], 1e-6)
    for mode in ("mirrored", "multi_worker"):
        found = run(mode, name, data, tmp_path / mode)
        assert {row["weights"] for row in found} == {found[0]["weights"]}  # equal on both workers, bit by bit
        for row in found:
            assert row["replicas"] == 2
            assert row["losses"] == pytest.approx(one["losses"], abs=1e-4), mode
            assert row["norm"] == pytest.approx(one["norm"], rel=1e-5), mode
            for place in ("inside", "outside"):
                assert close(row[place], one["outside"], 2e-3), (mode, place)
            assert row["scores"] == pytest.approx(one["scores"], abs=1e-2), mode
