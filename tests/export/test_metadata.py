import io
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints.small_folders import byte_pair

import keras_plm as plm
from keras_plm import export
from keras_plm.export.tflite.metadata import with_metadata
from keras_plm.text import SpecialTokens, read_rows

ROOT = Path(__file__).parent.parent.parent
MEDIAPIPE = ROOT / ".venv-mediapipe" / "bin" / "python"
TEXTS = ["the cat sees", "", "THE HERON!", "a quiet film, unafraid. " * 9]


def test_files_are_inside_and_litert_runs_it_still(classifier, tmp_path):
    plain = export.to_tflite(classifier, tmp_path / "plain", max_length=23)
    path = export.to_tflite(classifier, tmp_path / "whole", max_length=23, metadata=True)
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        assert archive.read("vocab.txt") == classifier.tokenizer.files()["vocab.txt"]
        assert archive.read("labels.txt").decode().split() == classifier.labels
        # the same bytes at any time
        assert {file.date_time for file in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    ours, theirs = (export.load_artifact(one).predict_probabilities(TEXTS) for one in (path, plain))
    np.testing.assert_array_equal(ours, theirs)
    signature = export.Artifact(plain).signature
    assert with_metadata(plain.read_bytes(), classifier, signature) == with_metadata(
        plain.read_bytes(), classifier, signature
    )


def test_errors_come_before_the_work(config, tokenizer, tmp_path):
    special = SpecialTokens(cls="<s>")
    other = ["<s>" if piece == "[CLS]" else piece for piece in tokenizer.vocabulary]
    pairs = byte_pair()
    for labels, kind, words in [
        (["a", "b\nc"], tokenizer, "each label must be one line"),
        (["a", ""], tokenizer, "each label must be one line"),
        (None, tokenizer, "only single-label classifiers"),
        (["a", "b"], plm.WordPieceTokenizer(tokenizer.vocabulary, lowercase=False), "this vocabulary is cased"),
        (["a", "b"], plm.WordPieceTokenizer(other, special=special), r"tokens called \[CLS\]"),
        (["a", "b"], pairs, "not a BytePairTokenizer"),
    ]:
        model = plm.Classifier(replace(config, vocabulary_size=max(len(kind), len(tokenizer))), labels, kind)
        with pytest.raises(ValueError, match=words):
            export.to_tflite(model, tmp_path / "model.tflite", metadata=True)
    with pytest.raises(ValueError, match="only single-label classifiers"):
        export.to_tflite(plm.Tagger(config, ["O", "B-a"], tokenizer), tmp_path, metadata=True)
    with pytest.raises(ValueError, match="max_length=384"):
        export.to_tflite(plm.QuestionAnswerer(config, tokenizer), tmp_path, metadata=True)
    even = plm.Classifier(replace(config, hidden_dim=36), ["a", "b"], tokenizer)
    with pytest.raises(ValueError, match="four-bit weights"):
        export.to_tflite(even, tmp_path, "int4", metadata=True)
    with pytest.raises(ValueError, match="a file in int8x16 cannot be opened"):
        export.to_tflite(even, tmp_path, "int8x16", metadata=True, calibration=["the cat"])
    assert not list(tmp_path.iterdir())


def mediapipe(kind, path, texts):
    """Its answers; no network."""
    if not MEDIAPIPE.exists():
        pytest.skip("no .venv-mediapipe; `make test-all` makes it")
    command = [
        "unshare",
        "--net",
        "--map-root-user",
        str(MEDIAPIPE),
        str(Path(__file__).parent / "clients" / "mediapipe_client.py"),
    ]
    done = subprocess.run([*command, kind, str(path)], input=json.dumps(texts), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["float32", "float16", "dynamic_int8"])
def test_mediapipe_classifies_as_litert_does(classifier, tmp_path, scheme):
    path = export.to_tflite(classifier, tmp_path, scheme, max_length=23, metadata=True)
    answers = mediapipe("Classifier", path, TEXTS)
    theirs = [[row[label] for label in classifier.labels] for row in answers]
    # int8 activations are rounded at run time, in two versions of LiteRT's kernels
    tolerance = 0.05 if scheme == "dynamic_int8" else 1e-3
    np.testing.assert_allclose(theirs, export.load_artifact(path).predict_probabilities(TEXTS), atol=tolerance)


@pytest.mark.slow
def test_mediapipe_embeds_as_keras_does(config, tokenizer, tmp_path):
    model = plm.Embedder(config, tokenizer=tokenizer)
    path = export.to_tflite(model, tmp_path, max_length=23, metadata=True)
    theirs = mediapipe("Embedder", path, TEXTS)
    np.testing.assert_allclose(theirs, export.load_artifact(path).embed(TEXTS), atol=1e-5)


@pytest.mark.slow
def test_real_texts_in_mediapipe(tmp_path, real_data, minilm_classifier):
    """Sentences of sst2 through a MiniLM with a random head: each label is that of Keras."""
    model = minilm_classifier
    texts = read_rows(str(real_data / "sst2" / "test.tsv"), ["text"])["text"][:400]
    texts = [text for text in texts if text.isascii()]  # MediaPipe leaves the accents on the letters
    assert len(texts) > 300
    path = export.to_tflite(model, tmp_path, max_length=64, metadata=True)
    answers = mediapipe("Classifier", path, texts)
    theirs = [max(row, key=row.get) for row in answers]
    agreement = np.mean([a == b for a, b in zip(theirs, model.predict_labels(texts), strict=True)])
    assert agreement == 1.0
    assert len(set(theirs)) > 1
