import json
import subprocess
import sys
import textwrap
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_plm as plm
from conftest import token_batch
from keras_plm import export
from keras_plm.export.saved_model import exporter as saved_model_module
from keras_plm.export.signature import example_rows
from keras_plm.export.tflite import converter as tflite_module
from keras_plm.export.verify import expected
from keras_plm.layers import ClassificationHead
from keras_plm.models import copy_model
from keras_plm.tasks.classification import ClassificationTask
from tests.tflite_operators import operands

from .conftest import LENGTH, TEXTS

SLOW = pytest.mark.slow


def run(classifier, path):
    rows = example_rows(classifier, TEXTS, LENGTH)
    batch = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return export.Artifact(path)(batch), expected(classifier, batch)["probabilities"]


@pytest.mark.parametrize("name", ["float32", "onnx", "onnx_fixed", "saved_model"])
def test_float_artifacts_equal_keras(classifier, artifacts, name):
    found, wanted = run(classifier, artifacts[name])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert (found.argmax(-1) == wanted.argmax(-1)).all()
    assert np.ptp(wanted[:, 0]) > 0.05  # the texts do get different answers


# three times what was measured; static int8 rounds the statistics of the layer norms too
@pytest.mark.parametrize("name,error", [("float16", 1e-3), ("dynamic_int8", 0.03), ("static_int8", 0.05)])
def test_quantized_artifacts_are_near(classifier, artifacts, name, error):
    found, wanted = run(classifier, artifacts[name])
    assert np.abs(found - wanted).max() < error
    assert (found.argmax(-1) == wanted.argmax(-1)).all()


def test_sizes_and_operators(classifier, artifacts):
    sizes = {name: path.stat().st_size for name, path in artifacts.items() if path.is_file()}
    assert sizes["float16"] < 0.75 * sizes["float32"] and sizes["dynamic_int8"] < sizes["float16"]
    for name in ("float32", "float16", "dynamic_int8", "static_int8"):
        operators = export.Artifact(artifacts[name]).operators()
        assert operators["FULLY_CONNECTED"] >= 6 * classifier.config.num_layers
        assert not [op for op in operators if op.startswith(("Flex", "CUSTOM", "VAR_HANDLE"))]


def test_sidecar(artifacts, classifier, tokenizer):
    folder = artifacts["dynamic_int8"].parent
    facts = json.loads((folder / "model.tflite.json").read_text())
    assert facts["settings"]["labels"] == ["cat", "dog", "heron"] and facts["quantization"] == "dynamic_int8"
    assert (folder / "model.tflite.vocab.txt").read_text("utf-8").split("\n")[:-1] == tokenizer.vocabulary
    assert sorted(p.name for p in folder.iterdir()) == ["model.tflite", "model.tflite.json", "model.tflite.vocab.txt"]


def test_inputs_go_by_name_whatever_their_order(classifier, artifacts, config):
    batch = token_batch(config, rows=2, length=LENGTH)
    backwards = dict(reversed(batch.items()))
    for name in ("float32", "onnx", "saved_model"):
        artifact = export.Artifact(artifacts[name])
        np.testing.assert_allclose(artifact(batch), artifact(backwards), atol=1e-5)
    with pytest.raises(ValueError, match=f"takes {LENGTH} tokens, not 11"):
        export.Artifact(artifacts["float32"])(token_batch(config))


def test_saved_model_in_a_process_that_has_never_heard_of_us(classifier, artifacts):
    program = """
    import json, sys
    sys.modules["keras_plm"] = None      # importing it would fail
    import tensorflow as tf, tensorflow_text
    loaded = tf.saved_model.load(sys.argv[1])
    out = loaded.signatures["serving_default"](text=tf.constant(json.loads(sys.argv[2])))
    print("OUT", json.dumps([out["probabilities"].numpy().tolist(), [l.decode() for l in out["label"].numpy()]]))
    """
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(program),
        str(artifacts["saved_model"]),
        json.dumps(TEXTS),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr[-2000:]
    line = next(line for line in result.stdout.splitlines() if line.startswith("OUT"))
    probabilities, labels = json.loads(line[3:])
    wanted = classifier.predict_probabilities(TEXTS, max_length=LENGTH)
    np.testing.assert_allclose(probabilities, wanted, atol=1e-5)
    assert labels == classifier.predict_labels(TEXTS, max_length=LENGTH)


@SLOW
def test_pairs_and_regression(config, tokenizer, tmp_path):
    import tensorflow as tf

    model = plm.Classifier(config, None, tokenizer)
    path = export.to_saved_model(model, tmp_path / "1", max_length=LENGTH, pairs=True)
    loaded = tf.saved_model.load(str(path))
    out = loaded.signatures["serving_default"](first=tf.constant(["the cat"]), second=tf.constant(["a dog"]))
    wanted = model.predict_logits(["the cat"], ["a dog"])
    np.testing.assert_allclose(out["score"], wanted, atol=1e-5)
    comparison = export.compare(model, path, [("the cat", "a dog"), ("a", "b")], max_length=LENGTH)
    assert comparison.agreement is None and comparison.largest_error < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"activation": "gelu"}, {"normalize_first": True, "positions": "sinusoidal"}])
def test_every_kind_of_block_exports(config, tokenizer, tmp_path, change):
    model = plm.Classifier(replace(config, **change), ["a", "b"], tokenizer)
    paths = [export.to_tflite(model, tmp_path, max_length=LENGTH), export.to_onnx(model, tmp_path)]
    # in one folder, each with facts of its own
    assert [export.Artifact(path).signature.length for path in paths] == [LENGTH, None]
    with pytest.raises(FileExistsError, match=r"model.onnx exists; pass overwrite=True"):
        export.to_onnx(model, tmp_path)


def test_a_mixed_precision_model_exports_as_float32(config, tokenizer, tmp_path):
    from keras_plm.training import dtype_policy

    with dtype_policy("mixed_bfloat16"):
        model = plm.Classifier(config, ["a", "b"], tokenizer)
    found, _ = run(model, export.to_tflite(model, tmp_path / "x.tflite", max_length=LENGTH))
    copy = plm.Classifier(config, ["a", "b"], tokenizer)
    copy.set_weights(model.get_weights())
    np.testing.assert_allclose(found, run(copy, tmp_path / "x.tflite")[1], atol=1e-5)


def other_weights(model):
    return plm.Classifier(model.config, model.labels, model.tokenizer)


def constant(model):
    """Answers the same to everything, as a static int8 that has collapsed does."""
    copy = copy_model(model)  # the model that is converted may have fake quantization
    for weight in copy.weights[-2:]:
        weight.assign(0 * weight)
    return copy


@pytest.mark.parametrize("loss", [other_weights, constant])
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("scheme", ["float32", *(pytest.param(s, marks=SLOW) for s in ("dynamic_int8", "static_int8"))])
def test_lost_weights_leave_nothing_on_disk(classifier, config, tokenizer, tmp_path, monkeypatch, loss, fresh, scheme):
    # the probabilities of a fresh model hardly move from text to text: an absolute tolerance would let anything pass
    model = plm.Classifier(config, ["a", "b"], tokenizer) if fresh else classifier
    convert = tflite_module._convert
    monkeypatch.setattr(tflite_module, "_convert", lambda model, *arguments: convert(loss(model), *arguments))
    calibration = TEXTS * 3 if scheme == "static_int8" else None
    with pytest.raises(export.ExportError, match="differs from the model"):
        export.to_tflite(model, tmp_path / "new" / "model.tflite", scheme, LENGTH, calibration)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.slow
def test_a_saved_model_that_differs_is_removed(classifier, tmp_path, monkeypatch):
    function = saved_model_module.float32_function
    with monkeypatch.context() as patch:
        patch.setattr(saved_model_module, "float32_function", lambda model, *a: function(other_weights(model), *a))
        with pytest.raises(export.ExportError, match="differs from the model"):
            export.to_saved_model(classifier, tmp_path / "served", max_length=LENGTH)
    whole = ClassificationTask.string_function
    short = lambda self, model, serve, max_length, pairs: whole(self, model, serve, 5, pairs)  # noqa: E731
    monkeypatch.setattr(ClassificationTask, "string_function", short)
    with pytest.raises(export.ExportError, match="answers differently from the Keras model to strings"):
        export.to_saved_model(classifier, tmp_path / "served", max_length=LENGTH)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_scheme_that_did_nothing_is_an_error(config, tokenizer, tmp_path, monkeypatch):
    larger = replace(config, vocabulary_size=5_003, hidden_dim=66, intermediate_dim=256)
    model = plm.Classifier(larger, ["a", "b"], tokenizer)
    monkeypatch.setattr(tflite_module, "configure", lambda *arguments: None)
    with pytest.raises(export.ExportError, match="dynamic_int8 did not make the file smaller"):
        export.to_tflite(model, tmp_path, "dynamic_int8", LENGTH)
    monkeypatch.setattr(tflite_module, "finish", lambda content, *others: content)
    with pytest.raises(export.ExportError, match="int4 did not make the file smaller"):
        export.to_tflite(model, tmp_path, "int4", LENGTH)


@pytest.mark.parametrize("scheme", ["int4", pytest.param("int4_block32", marks=pytest.mark.slow)])
def test_four_bits(reviews, review_files, tmp_path, monkeypatch, scheme):
    path = export.to_tflite(reviews, tmp_path / scheme, scheme, LENGTH)
    found = export.compare(reviews, path, review_files["test"])
    assert found.keras_score > 0.9 and found.agreement > 0.9
    assert found.operators["EMBEDDING_LOOKUP"] == 1
    assert not [name for name in found.operators if name.startswith(("Flex", "CUSTOM"))]
    with monkeypatch.context() as patch:
        convert = tflite_module._convert
        patch.setattr(tflite_module, "_convert", lambda model, *arguments: convert(other_weights(model), *arguments))
        with pytest.raises(export.ExportError, match="the shift of probabilities"):
            export.to_tflite(reviews, tmp_path / "lost", scheme, LENGTH)
    eight = export.to_tflite(reviews, tmp_path / "eight", "dynamic_int8", LENGTH)
    assert path.stat().st_size < 0.85 * eight.stat().st_size


def test_activations_of_16_bits(reviews, review_files, tmp_path):
    rows = plm.text.read_rows(review_files["train"], ["text"])["text"]
    path = export.to_tflite(reviews, tmp_path, "int8x16", LENGTH, calibration=rows[:50])
    found = export.compare(reviews, path, review_files["test"])
    assert found.keras_score > 0.9 and found.agreement > 0.98
    products = operands(path, "FULLY_CONNECTED")
    assert {tuple(kinds[:2]) for kinds in products} == {("int16", "int8")} and len(products) == 14
    assert operands(path, "EMBEDDING_LOOKUP")[0][-1] == "int8"
    with pytest.raises(ValueError, match="int8x16 needs calibration"):
        export.to_tflite(reviews, tmp_path, "int8x16", overwrite=True)


@pytest.mark.slow
def test_parts_in_eight_bits(reviews, tmp_path):
    """The types of the weights of each product, and of the table, as the scheme says."""
    eight = {"embedding": 1, "block_0": 6, "block_1": 6, "head": 2}
    for parts in (["embedding"], ["block_1"], ["block_0", "head"]):
        path = export.to_tflite(reviews, tmp_path, f"int4+int8:{','.join(parts)}", LENGTH, overwrite=True)
        found = [kinds[-1] for name in ("EMBEDDING_LOOKUP", "FULLY_CONNECTED") for kinds in operands(path, name)]
        assert len(found) == sum(eight.values())
        assert found.count("int8") == sum(eight[part] for part in parts), (parts, found)
    with pytest.raises(
        ValueError, match=r"has no \['block_2'\]; its parts: \['embedding', 'block_0', 'block_1', 'head'\]"
    ):
        export.to_tflite(reviews, tmp_path, "int4+int8:block_2")
    with pytest.raises(ValueError, match="write 8-bit parts as in"):
        export.to_tflite(reviews, tmp_path, "float16+int8:block_1")


@pytest.mark.parametrize("scheme", ["float32", "int8x16"])
def test_the_maximum_of_tokens(classifier, config, tokenizer, tmp_path, scheme):
    """Padding has no value of its own that a calibrated scale would have to hold."""
    model = plm.Embedder(config, tokenizer, "max", encoder=classifier.encoder)
    path = export.to_tflite(model, tmp_path, scheme, LENGTH, calibration=TEXTS * 3 if scheme == "int8x16" else None)
    found = export.load_artifact(path).embed(TEXTS)
    wanted = model.predict_texts(TEXTS, max_length=LENGTH)
    assert (found * wanted).sum(-1).min() > (0.999999 if scheme == "float32" else 0.99)


def test_layers_that_phones_do_not_have(config, tokenizer, tmp_path, monkeypatch):
    class Odd(ClassificationHead):
        def call(self, inputs, training=None):
            return keras.ops.erfinv(keras.ops.tanh(super().call(inputs, training=training)))

    monkeypatch.setattr("keras_plm.tasks.classification.keras_model.ClassificationHead", Odd)
    model = plm.Classifier(config, ["a", "b"], tokenizer)
    with pytest.raises(export.ExportError, match=r"converter refused the model: (.|\n)*Erfinv"):
        export.to_tflite(model, tmp_path / "there", max_length=LENGTH)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("operators", "words"),
    [
        ({"ADD": 1, "FlexErf": 1}, r"operators that phones do not have: \['FlexErf'\]"),
        ({"CUSTOM": 1}, r"operators that phones do not have: \['CUSTOM'\]"),
        ({"VAR_HANDLE": 3}, "the converter lost the weights"),
        ({"ADD": 1}, None),
    ],
)
def test_a_file_that_phones_cannot_run_is_refused(classifier, monkeypatch, tmp_path, operators, words):
    path = export.to_tflite(classifier, tmp_path, max_length=LENGTH)
    before = path.read_bytes()
    monkeypatch.setattr(tflite_module.Artifact, "operators", lambda self: operators)
    if words is None:
        export.to_tflite(classifier, tmp_path, max_length=LENGTH, overwrite=True)
    else:
        with pytest.raises(export.ExportError, match=words):
            export.to_tflite(classifier, tmp_path, max_length=LENGTH, overwrite=True)
    assert path.read_bytes() == before


def test_no_room_leaves_nothing(classifier, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            export.to_tflite(classifier, tmp_path / "there", max_length=LENGTH)
        with pytest.raises(OSError, match="No space left"):
            export.to_saved_model(classifier, tmp_path / "there" / "1", max_length=LENGTH)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_errors(classifier, config, tokenizer, artifacts, tmp_path, monkeypatch):
    with pytest.raises(FileExistsError, match="exists; pass overwrite=True"):
        export.to_tflite(classifier, artifacts["float32"], max_length=LENGTH)
    with pytest.raises(ValueError, match="quantization='int3'; choose one of"):
        export.to_tflite(classifier, tmp_path, "int3")
    with pytest.raises(ValueError, match="an embedding matrix of even width, not 33"):
        export.to_tflite(classifier, tmp_path, "int4")
    even = plm.Classifier(replace(config, hidden_dim=36), ["a", "b"], tokenizer)
    with pytest.raises(ValueError, match="multiples of 32, not hidden_dim=36"):
        export.to_tflite(even, tmp_path, "int4_block32")
    sizes = replace(config, hidden_dim=96, intermediate_dim=64)
    adapted = plm.Encoder(sizes, tokenizer, plm.Adaptation(adapter_dim=5))
    narrow = plm.Classifier(sizes, ["a", "b"], tokenizer, adapted)
    with pytest.raises(ValueError, match="multiples of 32, not adapter_dim=5; int4 takes any"):
        export.to_tflite(narrow, tmp_path, "int4_block32")
    with pytest.raises(ValueError, match="static_int8 needs calibration"):
        export.to_tflite(classifier, tmp_path, "static_int8")
    with pytest.raises(ValueError, match="static_int8 needs calibration"):
        export.to_tflite(classifier, tmp_path, "static_int8", calibration=[])
    rounding = plm.Encoder(config, tokenizer, plm.Adaptation(quantization_aware=True))
    aware = plm.Classifier(config, ["a", "b"], tokenizer, rounding)
    with pytest.raises(ValueError, match="trained for static_int8 .* not for int4"):
        export.to_tflite(aware, tmp_path, "int4")
    with pytest.raises(ValueError, match="has learned its ranges"):
        export.to_tflite(aware, tmp_path, "static_int8", calibration=TEXTS)
    with pytest.raises(ValueError, match="max_length=999; the model takes 5 to 47"):
        export.to_tflite(classifier, tmp_path, max_length=999)
    with pytest.raises(TypeError, match="class Encoder has no task"):
        export.to_onnx(classifier.encoder, tmp_path)
    with pytest.raises(ValueError, match="has no tokenizer"):
        export.to_onnx(plm.Classifier(config, ["a", "b"]), tmp_path)
    with pytest.raises(ValueError, match="pairs=True is for a classifier of pairs, not for embedding"):
        export.to_saved_model(plm.Embedder(config, tokenizer), tmp_path / "pairs", pairs=True)
    with pytest.raises(ValueError, match="calibration has no texts"):
        export.to_tflite(even, tmp_path, "int4", calibration=[])
    with pytest.raises(ValueError, match="dynamic_int8 takes no calibration texts"):
        export.to_tflite(even, tmp_path, "dynamic_int8", calibration=TEXTS)
    for rows, words in [
        ("a quiet film", "calibration is one text or path"),
        (tmp_path, "calibration is one text or path"),
        ({"text": ["a"], "label": ["1"]}, "calibration is a table of text, label; give one of its columns"),
        ([{"token_ids": [1]}], r"calibration\[0\] is .{'token_ids'.*must be a text or a"),
        (np.zeros((3, LENGTH), "int32"), r"calibration\[0\] is '\[0 0 .*must be a text or a"),
        (["a", None], r"calibration\[1\] is 'None'; it must be a text"),
        ([("a", "b", "c")], r"calibration\[0\] is .*must be a text"),
        (["a", ("b", "c")], r"calibration has texts and pairs: calibration\[0\] is 'a', calibration\[1\] \('b', 'c'\)"),
        ([("b", "c"), "a"], "calibration has texts and pairs"),
    ]:
        with pytest.raises(ValueError, match=words):
            export.to_tflite(classifier, tmp_path, "static_int8", calibration=rows)
    with pytest.raises(ValueError, match="takes text, not first and second"):
        export.Artifact(artifacts["saved_model"]).strings(first=["a"], second=["b"])
    with pytest.raises(ValueError, match="pass lists of texts"):
        export.Artifact(artifacts["saved_model"]).strings(text="a quiet film")
    with pytest.raises(FileNotFoundError, match="no artifact at"):
        export.Artifact(tmp_path / "none.tflite")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'pip install "keras-plm\[onnx\]"'):
        export.Artifact(artifacts["onnx"])


def test_one_copy_and_one_conversion(classifier, tmp_path, monkeypatch):
    """An export copies the model once, into float32, and converts it once."""
    import tensorflow as tf

    from keras_plm.models import cloning

    counted = {"copies": 0, "conversions": 0}

    def counting(name, function):
        def counts(*arguments, **options):
            counted[name] += 1
            return function(*arguments, **options)

        return counts

    monkeypatch.setattr(cloning, "remake", counting("copies", cloning.remake))
    converter = tf.lite.TFLiteConverter.from_saved_model
    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_saved_model", counting("conversions", converter))
    export.to_tflite(classifier, tmp_path, "dynamic_int8", max_length=LENGTH)
    assert counted == {"copies": 1, "conversions": 1}
    export.to_saved_model(classifier, tmp_path / "1", max_length=LENGTH)
    assert counted == {"copies": 2, "conversions": 1}
