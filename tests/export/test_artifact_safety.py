"""What an artifact must not get wrong without a word: threads, limits, files beside it, odd texts."""

import json
import shutil
import threading
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_plm as plm
from keras_plm import export

from .conftest import LENGTH, TEXTS

ODD = ["Ada\0 lived in London", "the \ufaf1\ufaf2 cat", "a [MASK] [SEP] [CLS] cat", "", "\0", "the cat " * 99]


@pytest.mark.parametrize("kind", ["float32", "dynamic_int8", "onnx", "saved_model"])
def test_every_thread_gets_the_answer_to_its_own_text(artifacts, kind, request):
    """`make test-all` asks a thousand times."""
    calls = 60 if "not slow" in request.config.getoption("-m") else 1_000
    model = export.load_artifact(artifacts[kind])
    texts = ["the cat", "a dog sees", "heron", "the otter follows the newt and the mole", "a", "cat " * 9, "!", "it is"]
    inputs = [plm.text.pack(model.tokenizer, plm.text.Spans.from_ragged(model.tokenizer([t])), None, LENGTH, LENGTH)
              for t in texts]  # fmt: skip
    inputs = [{name: value.numpy() for name, value in row.items()} for row in inputs]
    wanted = [model.artifact(row) for row in inputs]
    wrong = []

    def ask(own):
        for _ in range(calls):
            if not np.array_equal(model.artifact(inputs[own]), wanted[own]):
                wrong.append(own)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({values.tobytes() for values in wanted}) == 8 and not wrong


def test_a_text_longer_than_an_embedder_reads(config, tokenizer, tmp_path):
    keras.utils.set_random_seed(1)
    model = plm.Embedder(config, tokenizer, max_length=19)
    texts = [*TEXTS, "the cat sees the dog and " * 30]
    wanted = model.embed(texts)
    assert model.longest_row == 19
    served = export.Artifact(export.to_saved_model(model, tmp_path / "1"))
    np.testing.assert_allclose(served.strings(text=texts)["vectors"], wanted, atol=1e-5)
    for path in (export.to_tflite(model, tmp_path / "phone"), export.to_onnx(model, tmp_path / "onnx")):
        assert export.Artifact(path).signature.max_length == 19
        np.testing.assert_allclose(export.load_artifact(path).embed(texts), wanted, atol=1e-5)
    again = export.load_artifact(tmp_path / "onnx" / "model.onnx", max_length=400)
    np.testing.assert_allclose(again.embed(texts), wanted, atol=1e-5)


def test_a_prompt_is_before_every_text(config, tokenizer, tmp_path):
    keras.utils.set_random_seed(1)
    plain = plm.Embedder(config, tokenizer)
    model = plm.Embedder(config, tokenizer, prompt="the cat: ", encoder=plain.encoder)
    wanted = plain.embed([f"the cat: {text}" for text in TEXTS])
    np.testing.assert_allclose(model.embed(TEXTS), wanted, atol=1e-6)
    np.testing.assert_allclose(model.embed(TEXTS, prompt=""), plain.embed(TEXTS), atol=1e-6)
    plm.save(model, tmp_path / "model")
    assert plm.load(tmp_path / "model").prompt == "the cat: "
    served = export.to_saved_model(model, tmp_path / "1")
    np.testing.assert_allclose(export.Artifact(served).strings(text=TEXTS)["vectors"], wanted, atol=1e-5)
    np.testing.assert_allclose(export.load_artifact(served).embed(TEXTS), wanted, atol=1e-5)
    with pytest.raises(ValueError, match="strings=True does not add the model's prompt to a text"):
        export.to_tflite(model, tmp_path / "phone", strings=True)


def damage(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content + b"more\n",
        lambda content: content[: content[:-1].rindex(b"\n") + 1],
        lambda content: (
            content.replace(b"the\n", b"x\n", 1).replace(b"cat\n", b"the\n", 1).replace(b"x\n", b"cat\n", 1)
        ),
    ],
    ids=["one more", "one less", "two swapped"],
)
def test_a_vocabulary_of_another_model_is_refused(artifacts, tmp_path, change):
    shutil.copytree(artifacts["float32"].parent, tmp_path / "phone")
    shutil.copytree(artifacts["saved_model"], tmp_path / "1")
    for artifact, file in (("phone/model.tflite", "phone/model.tflite.vocab.txt"), ("1", "1/assets.extra/vocab.txt")):
        damage(tmp_path / file, change)
        with pytest.raises(ValueError, match="vocab.txt is not the file that the artifact was written with"):
            export.load_artifact(tmp_path / artifact)
        (tmp_path / file).unlink()
        with pytest.raises(FileNotFoundError, match="it belongs beside the artifact"):
            export.load_artifact(tmp_path / artifact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: "{", "is not a valid signature of an artifact"),
        (lambda facts: [facts], "it holds a list"),
        (lambda facts: {k: v for k, v in facts.items() if k != "task"}, r"missing fields: \['task'\]"),
        (lambda facts: facts | {"more": 1}, r"unknown fields: \['more'\]"),
        (lambda facts: facts | {"task": "Poet"}, "task is 'Poet'; it must be one of"),
        (lambda facts: facts | {"length": "23"}, "length is '23', a str"),
        (lambda facts: facts | {"length": True}, "length is True, a bool"),
        (lambda facts: facts | {"inputs": []}, "it must contain token_ids"),
        (lambda facts: facts | {"max_length": -1}, "max_length=-1; it must be at least 1"),
        (lambda facts: facts | {"quantization": "int3"}, "int3"),
        (lambda facts: facts | {"settings": {}}, "the settings of classification are"),
        (lambda facts: facts | {"settings": facts["settings"] | {"labels": [1]}}, r"labels is \[1\]; it is a list of"),
        (lambda facts: facts | {"tokenizer": {}}, "describes no valid tokenizer|unknown tokenizer"),
        (lambda facts: facts | {"tokenizer": {"class": "os"}}, "unknown tokenizer 'os'"),
    ],
)
def test_damaged_facts_are_named(artifacts, tmp_path, change, message):
    shutil.copytree(artifacts["float32"].parent, tmp_path / "phone")
    path = tmp_path / "phone" / "model.tflite.json"
    changed = change(json.loads(path.read_text()))
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(ValueError, match=message):
        export.load_artifact(tmp_path / "phone" / "model.tflite")


@pytest.mark.parametrize("kind", ["float32", "onnx", "saved_model"])
def test_no_texts_have_no_answers(artifacts, kind):
    model = export.load_artifact(artifacts[kind])
    assert model.predict_labels([]) == [] and model.predict_probabilities([]).shape == (0, 3)
    empty = {name: np.zeros((0, LENGTH), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
    assert model.artifact(empty).shape == (0, 3)
    with pytest.raises(ValueError, match="of one shape"):
        model.artifact(empty | {"padding_mask": np.zeros((1, LENGTH), "int32")})
    if kind == "saved_model":
        assert model.artifact.strings(text=[])["label"].shape == (0,)


def test_odd_texts_are_answered_alike(classifier, artifacts):
    wanted = classifier.predict_probabilities(ODD, max_length=LENGTH)
    np.testing.assert_allclose(export.load_artifact(artifacts["float32"]).predict_probabilities(ODD), wanted, atol=1e-5)
    found = export.Artifact(artifacts["saved_model"]).strings(text=ODD)
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-5)


def test_a_tagger_and_a_reader_read_on_behind_a_nul(config, tokenizer, tmp_path):
    keras.utils.set_random_seed(2)
    tagger = plm.Tagger(config, ["O", "B-a", "I-a", "B-b", "I-b"], tokenizer, i_begins=True)
    text = "the\0 cat sees a dog"
    words = [span.text for span in plm.Tagger(config, ["x", "y"], tokenizer).tag([text])[0]]
    assert words == ["the", "cat", "sees", "a", "dog"]
    served = export.Artifact(export.to_saved_model(tagger, tmp_path / "tagger"))
    found = served.strings(text=[text, ""])
    assert [word.decode() for word in found["words"][0]] == words and found["starts"][0].tolist() == [0, 5, 9, 14, 16]
    assert [tag.decode() for tag in found["tags"][0]] == tagger.predict_tags([words])[0]
    reader = plm.QuestionAnswerer(config, tokenizer)
    served = export.Artifact(export.to_saved_model(reader, tmp_path / "reader"))
    contexts = [text, "the [SEP] cat [CLS] sees [MASK]", "cat " * 300]
    found = served.strings(question=["who ?"] * 3, context=contexts)
    for row, context in enumerate(contexts[:2]):
        (wanted,) = reader.candidate_answers(["who ?"], [context])[0][0][:1]
        assert found["score"][row] == pytest.approx(wanted[3], abs=1e-4) and found["answer"][row].decode() == wanted[0]


def test_a_model_of_pairs_exports_pairs(config, tokenizer, tmp_path):
    model = plm.Classifier(config, ["a", "b"], tokenizer, pairs=True)
    plm.save(model, tmp_path / "model")
    path = export.to_saved_model(plm.load(tmp_path / "model"), tmp_path / "1")
    assert set(export.Artifact(path).strings(first=["a"], second=["b"])) == {"probabilities", "label"}
    alone = export.to_saved_model(model, tmp_path / "2", pairs=False)
    assert export.Artifact(alone).strings(text=["a"])["label"].shape == (1,)


@pytest.mark.slow
def test_a_megabyte_of_text(config, tokenizer, tmp_path):
    """Linear in the text: eight times as much takes no more than about eight times as long."""
    import time

    model = plm.Tagger(replace(config, max_sequence_length=47), ["O", "B-a", "I-a"], tokenizer)
    served = export.Artifact(export.to_saved_model(model, tmp_path / "1"))
    seconds = []
    for size in (125_000, 1_000_000):
        text = ("the cat sees a dög, unafraid. " * 40_000)[:size]
        start = time.perf_counter()
        found = served.strings(text=[text])
        seconds.append(time.perf_counter() - start)
        assert found["words"].shape[1] <= 45
    assert seconds[1] < 24 * seconds[0]
