"""Programs that know nothing of this package answer real texts as the model does; no network.

All are skipped, by name, where what they need is not there; `make test-all` makes it, but for the browser, the compiler
and libusb, which are the machine's.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text
from tensorflow.core.protobuf import saved_model_pb2

import keras_plm as plm
from keras_plm import export
from keras_plm.export.signature import example_rows
from keras_plm.tasks import QUESTION_ANSWERING, task_of
from keras_plm.text import Questions, read_rows
from tests.export.test_encoder_decoders import make as make_translator
from tests.tasks.test_text_generation import make

ROOT = Path(__file__).parent.parent.parent
CLIENTS = Path(__file__).parent / "clients"
SERVING = ROOT / ".venv-serving" / "bin" / "python"
TASK_LIBRARY = ROOT / ".venv-task-library" / "bin" / "python"
WEB = ROOT / ".web"
OFFLINE = ["unshare", "--net", "--map-root-user"]
LENGTH = 64


@pytest.fixture(scope="module")
def texts(real_data):
    """250 sentences in letters that every client takes: MediaPipe leaves accents on them."""
    return [text for text in read_rows(str(real_data / "sst2" / "test.tsv"), ["text"])["text"] if text.isascii()][:250]


def offline(command, given, timeout=900):
    # tfmot, which other tests import, sets this variable; the environments of the clients have no tf_keras
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    options = {"capture_output": True, "text": True, "timeout": timeout, "env": environment}
    done = subprocess.run([*OFFLINE, *map(str, command)], input=given, **options)
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


@pytest.mark.slow
def test_a_c_program_asks_a_saved_model(minilm_classifier, texts, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    folder = export.to_saved_model(minilm_classifier, tmp_path / "1", max_length=LENGTH)
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    output, index = signature.outputs["probabilities"].name.split(":")
    tensorflow, program = Path(tf.__file__).parent, tmp_path / "client"
    libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{tensorflow}"]
    source = ["-Wall", "-Werror", CLIENTS / "saved_model_client.c", f"-I{tensorflow}/include"]
    subprocess.run(["gcc", *source, "-o", program, f"-L{tensorflow}", *libraries], check=True)
    operators = sorted((Path(tensorflow_text.__file__).parent / "python" / "ops").glob("_*.so"))
    command = [program, folder, signature.inputs["text"].name.split(":")[0], output, index, 3, *operators]
    lines = offline(command, "".join(f"{text}\n" for text in texts)).splitlines()
    found = np.array([line.split() for line in lines], "float32")
    np.testing.assert_allclose(found, minilm_classifier.predict_probabilities(texts, max_length=LENGTH), atol=1e-4)
    assert len(set(found.argmax(-1))) > 1


def same_numbers(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def same_tags(model, outputs):
    assert any(words[0] for words in outputs["words"])
    for words, tags in zip(outputs["words"], outputs["tags"], strict=True):
        count = len([word for word in words if word])
        assert tags[:count] == model.predict_tags([words[:count]])[0]


def same_texts(model, prompts, given, outputs):
    rows = zip(prompts, given["max_new_tokens"], outputs["text"], strict=True)
    whole = [row for row in rows if task_of(model).fits(model, *row[:2], model.longest_row)]
    assert whole or len(prompts) == 1
    assert all(model.generate([text], max_new_tokens=n) == [found] for text, n, found in whole)


def same_answers(model, given, outputs):
    found = {name: np.array(values) for name, values in outputs.items()}
    found["answer"] = np.array([text.encode() for text in outputs["answer"]], object)
    assert QUESTION_ANSWERING.wrong_strings(model, given, found, model.longest_row) is None


def same_labels(model, given, outputs):
    assert outputs["label"] == model.predict_labels(given["text"])


@pytest.mark.slow
def test_the_stubs_of_tf_serving(config, tokenizer, tmp_path):
    """Every task: the folder, the signatures, the warm-up requests and the answers, in TF Serving's own messages."""
    if not SERVING.exists():
        pytest.skip("no .venv-serving; `make test-all` makes it")
    cases = {
        "reviews": (plm.Classifier(config, ["a", "b"], tokenizer), same_labels),
        "several": (
            plm.Classifier(config, ["a", "b"], tokenizer, multi_label=True),
            lambda model, i, o: same_numbers(o["probabilities"], model.predict_probabilities(i["text"])),
        ),
        "score": (
            plm.Classifier(config, None, tokenizer),
            lambda model, i, o: same_numbers(o["score"], model.predict_logits(i["text"])),
        ),
        "pairs": (
            plm.Classifier(config, ["a", "b"], tokenizer, pairs=True),
            lambda model, i, o: same_numbers(o["probabilities"], model.predict_probabilities(i["first"], i["second"])),
        ),
        "tagger": (plm.Tagger(config, ["O", "B-X", "I-X"], tokenizer), lambda model, i, o: same_tags(model, o)),
        "reader": (plm.QuestionAnswerer(config, tokenizer), same_answers),
        "vectors": (
            plm.Embedder(config, tokenizer),
            lambda model, i, o: same_numbers(o["vectors"], model.embed(i["text"])),
        ),
        "writer": (make("llama"), lambda model, i, o: same_texts(model, i["prompt"], i, o)),
        "translator": (make_translator(), lambda model, i, o: same_texts(model, i["source"], i, o)),
    }
    for name, (model, _) in cases.items():
        export.to_saved_model(model, tmp_path / name / "1")
    lines = offline([SERVING, CLIENTS / "serving_client.py", *(tmp_path / name for name in cases)], "").splitlines()
    rows = list(map(json.loads, lines))
    assert [row["model"] for row in rows] == [name for name in cases for _ in range(2)]
    for row in rows:
        model, same = cases[row["model"]]
        same(model, row["inputs"], row["outputs"])


@pytest.fixture(scope="module")
def task_library():
    if not TASK_LIBRARY.exists():
        pytest.skip("no .venv-task-library; `make test-all` makes it with Python 3.11")
    done = subprocess.run([TASK_LIBRARY, "-c", "import tflite_support.task"], capture_output=True, text=True)
    if "libusb" in done.stderr:
        pytest.skip("the Task Library needs libusb-1.0")
    return [TASK_LIBRARY, CLIENTS / "task_library_client.py"]


@pytest.mark.slow
def test_the_task_library_classifies(task_library, minilm_classifier, texts, tmp_path):
    path = export.to_tflite(minilm_classifier, tmp_path, max_length=LENGTH, metadata=True)
    rows = json.loads(offline([*task_library, "Classifier", path], json.dumps(texts)))
    found = [max(row, key=row.get) for row in rows]
    assert found == minilm_classifier.predict_labels(texts, max_length=LENGTH) and len(set(found)) > 1


@pytest.mark.slow
def test_the_task_library_answers_questions(task_library, minilm_classifier, real_data, tmp_path):
    """The best span of whole words between spaces, which is what the Task Library looks for, is the same."""
    encoder = minilm_classifier.encoder
    model = plm.QuestionAnswerer(encoder.config, encoder.tokenizer, encoder)
    kernel = next(weight for weight in model.weights if weight.path.endswith("head/dense/kernel"))
    start, noise = np.random.default_rng(0).normal(size=(2, encoder.config.hidden_dim))
    kernel.assign(np.stack([start, start + 0.5 * noise], 1))  # an answer ends near where it begins
    path = export.to_tflite(model, tmp_path, max_length=384, metadata=True)
    questions = Questions.read(str(real_data / "squad1" / "test.jsonl.gz")).head(200)
    contexts = [context[:400].rsplit(" ", 1)[0] for context in questions.contexts]  # one window
    rows = list(zip(questions.questions, contexts, strict=True))
    found = json.loads(offline([*task_library, "QuestionAnswerer", path], json.dumps(rows)))
    artifact = export.Artifact(path)
    wanted = [words_between_spaces(model, artifact, *row) for row in rows]
    same = np.mean([a.split() == b.split() for a, b in zip(found, wanted, strict=True)])
    assert sum(map(bool, wanted)) > 100
    assert same == 1.0, [pair for pair in zip(found, wanted, strict=True) if pair[0].split() != pair[1].split()][:5]


def words_between_spaces(model, artifact, question, context):
    """The Task Library's search: the five best starts with the five best ends, at most 32 tokens, whole words."""
    (row,) = example_rows(model, [(question, context)], 384)
    outputs = artifact.outputs(row)
    start, end = outputs["start"][0], outputs["end"][0]
    first = int(row["segment_ids"][0].argmax())
    words = [word for word in context.split(" ") if word]
    word_of = [i for i, word in enumerate(words) for _ in model.tokenizer([word]).to_list()[0]]
    inside = range(first, first + len(word_of))
    pairs = [
        (start[i] + end[j], i, j)
        for i in np.argsort(-start, kind="stable")[:5]
        for j in np.argsort(-end, kind="stable")[:5]
        if i in inside and j in inside and i <= j < i + 32
    ]
    if not pairs:
        return ""
    _, i, j = max(pairs)
    return " ".join(words[word_of[i - first] : word_of[j - first] + 1])


@pytest.mark.slow
def test_three_runtimes_of_the_web(minilm_classifier, texts, tmp_path):
    browser = shutil.which("chromium")
    if shutil.which("node") is None or browser is None:
        pytest.skip("no node, or no chromium")
    if not (WEB / "installed").exists():
        pytest.skip("no .web; `make test-all` makes it")
    export.to_tflite(minilm_classifier, tmp_path / "model.tflite", max_length=LENGTH, metadata=True)
    export.to_onnx(minilm_classifier, tmp_path / "model.onnx", max_length=LENGTH)
    rows = example_rows(minilm_classifier, texts, LENGTH)
    inputs = {name: [row[name][0].tolist() for row in rows] for name in rows[0]}
    (tmp_path / "rows.json").write_text(json.dumps({"texts": texts, "length": LENGTH, "inputs": inputs}))
    script = f'ip link set lo up && CHROMIUM={browser} node "$@"'
    command = ["sh", "-c", script, "_", CLIENTS / "web" / "run.mjs", WEB, tmp_path, "litert", "onnx", "mediapipe"]
    found = json.loads(offline(command, ""))
    # Nobody but the page's own server is asked. MediaPipe's task sends statistics once it has run for some while.
    others = [
        (name, url) for name, url in found["others"] if not url.startswith("https://odml.pa.googleapis.com/v1/log")
    ]
    assert not others and {name for name, _ in found["others"]} <= {"mediapipe"}
    wanted = minilm_classifier.predict_probabilities(texts, max_length=LENGTH)
    for name in ("litert", "onnx"):
        np.testing.assert_allclose(found["answers"][name], wanted, atol=1e-4)
    labels = [max(row, key=row.get) for row in found["answers"]["mediapipe"]]
    assert labels == [minilm_classifier.labels[i] for i in wanted.argmax(-1)] and len(set(labels)) > 1
