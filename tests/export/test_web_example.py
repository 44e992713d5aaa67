"""examples/web: its tokenizer cuts as ours does, and its page answers as the model does."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import keras_plm as plm
from keras_plm import export
from tests.tasks.test_text_generation import PROMPTS, make

from .test_real_clients import CLIENTS, WEB, offline

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "web"


def check(vectors, vocabulary):
    if shutil.which("node") is None:
        pytest.skip("no node")
    return subprocess.run(["node", EXAMPLE / "check.mjs", vectors, vocabulary], capture_output=True, text=True)


@pytest.mark.parametrize("lowercase", [True, False])
def test_its_tokenizer_cuts_as_ours(tokenizer, tmp_path, lowercase):
    cut = plm.WordPieceTokenizer(tokenizer.vocabulary, lowercase=lowercase)
    path = export.write_tokenizer_vectors(cut, tmp_path / "vectors.json", ["The cat", "wrens and moles"])
    vectors = json.loads(path.read_text("utf-8"))
    rows = vectors["rows"]
    assert rows[0]["text"] == "The cat" and rows[0]["token_ids"] == cut.encode("The cat").token_ids
    (tmp_path / "vocab.txt").write_bytes(cut.files()["vocab.txt"])
    done = check(path, tmp_path / "vocab.txt")
    assert done.returncode == 0 and f"{len(rows)} of {len(rows)}" in done.stdout, done.stderr
    rows[0]["token_ids"][0] += 1
    path.write_text(json.dumps(vectors))
    done = check(path, tmp_path / "vocab.txt")
    assert done.returncode == 1 and f"{len(rows) - 1} of {len(rows)}" in done.stdout, done.stderr


def test_vectors_that_cannot_be_written(tokenizer, tmp_path):
    (tmp_path / "vectors.json").write_text("{}")
    with pytest.raises(FileExistsError, match=r"vectors.json exists"):
        export.write_tokenizer_vectors(tokenizer, tmp_path / "vectors.json")
    with pytest.raises(ValueError, match="texts is one text"):
        export.write_tokenizer_vectors(tokenizer, tmp_path / "none.json", "the cat")
    with pytest.raises(ValueError, match="has no tokenizer"):
        export.write_tokenizer_vectors(plm.Encoder(replace(plm.TINY, vocabulary_size=7)), tmp_path / "none.json")


@pytest.mark.slow
def test_a_real_vocabulary(minilm_classifier, real_data, tmp_path):
    from keras_plm.text import read_rows

    texts = read_rows(str(real_data / "sst2" / "test.tsv"), ["text"])["text"]
    texts += read_rows(str(real_data / "chnsenticorp_hotel" / "test.tsv"), ["text"])["text"][:200]
    path = export.write_tokenizer_vectors(minilm_classifier, tmp_path / "vectors.json", texts)
    (tmp_path / "vocab.txt").write_bytes(minilm_classifier.tokenizer.files()["vocab.txt"])
    done = check(path, tmp_path / "vocab.txt")
    assert done.returncode == 0, done.stderr[:2_000]


@pytest.mark.slow
def test_the_generator(tmp_path):
    """examples/web/generator.js in LiteRT.js: our tokens, and the greedy texts of the Keras model."""
    if shutil.which("node") is None or not (WEB / "installed").exists():
        pytest.skip("no node, or no .web; `make test-all` makes the last")
    page = tmp_path / "web"
    shutil.copytree(EXAMPLE, page)
    (page / "node_modules").symlink_to(WEB / "node_modules")
    (page / "package.json").write_text('{"type": "module"}')
    for kind in ("gpt3", "llama"):
        model = make(kind)
        path = export.to_tflite(model, tmp_path / kind, max_length=64)
        prompts = [*PROMPTS, "", "the " * 20]
        texts = [*PROMPTS, "don't  stop\n\n at 12 <|endoftext|>the 🙂", " ", "x"]
        given = json.dumps({"texts": texts, "prompts": prompts})
        found = json.loads(offline(["node", CLIENTS / "web" / "writer.mjs", page, path, 20], given).splitlines()[-1])
        assert found["ids"] == [model.tokenizer.encode(text).token_ids for text in texts]
        assert found["written"] == model.generate(prompts, max_new_tokens=20)
        assert found["drawn"]


def in_chromium(script, *arguments):
    """What a script prints that opens a page in headless Chromium, without a network."""
    browser = shutil.which("chromium")
    if shutil.which("node") is None or browser is None or not (WEB / "installed").exists():
        pytest.skip("no node, no chromium, or no .web; `make test-all` makes the last")
    start = f'ip link set lo up && CHROMIUM={browser} node "$@"'
    return json.loads(offline(["sh", "-c", start, "_", script, WEB, *arguments], "").splitlines()[-1])


@pytest.mark.slow
def test_the_page_that_writes(tmp_path):
    model = make("llama")
    export.to_tflite(model, tmp_path / "writer", max_length=64)
    shown = in_chromium(CLIENTS / "web" / "writer_page.mjs", EXAMPLE, tmp_path, "the cat")
    assert shown["bold"] == "the cat" and len(shown["text"]) > len("the cat")
    # the page writes until the text ends, or until the caches are full
    assert (
        shown["text"]
        == "the cat" + model.generate(["the cat"], max_new_tokens=64 - len(model.texts_to_ids(["the cat"])[0]))[0]
    )


@pytest.mark.slow
def test_the_page(config, tokenizer, classifier, tmp_path):
    reader = plm.QuestionAnswerer(config, tokenizer)
    for variable in reader.weights:
        if variable.path.endswith("kernel"):
            variable.assign(variable * 3)
    export.to_tflite(classifier, tmp_path / "classifier")
    path = export.to_tflite(reader, tmp_path / "reader")
    text, question, context = "The mole follows the newt & <b>", "Who sees?", "A wren sees 👍 the otter, unafraid."
    shown = in_chromium(CLIENTS / "web" / "example.mjs", EXAMPLE, tmp_path, text, question, context)
    probabilities = classifier.predict_probabilities([text])[0]
    lines = [
        f"{classifier.labels[i]} {100 * probabilities[i]:.1f} %" for i in np.argsort(-probabilities, kind="stable")
    ]
    assert [line.strip() for line in shown["labels"]["text"].splitlines() if line.strip()] == lines
    (row,) = export.signature.example_rows(reader, [(question, context)], config.max_sequence_length)
    outputs = export.Artifact(path).outputs(row)
    first, pieces = int(row["segment_ids"][0].argmax()), tokenizer.encode(context)
    scores = {
        (i, j): outputs["start"][0][first + i] + outputs["end"][0][first + j]
        for i in range(len(pieces.tokens))
        for j in range(i, min(i + 30, len(pieces.tokens)))
    }
    i, j = max(scores, key=scores.get)
    assert f"<mark>{context[pieces.starts[i] : pieces.ends[j]]}</mark>" in shown["answer"]["html"]
