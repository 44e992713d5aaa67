"""What others made goes through the recipes, `fit` and the exporters like our own."""

import numpy as np
import pytest
import tensorflow as tf

import keras_plm as plm
from keras_plm import export, recipes
from keras_plm.text import read_rows

from .small_folders import write_folder

SLOW = ["AlbertForMaskedLM", "DistilBertModel", "ElectraForPreTraining"]
STARTS = ["RobertaForMaskedLM", *SLOW]


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTS)
def test_classify_and_export(name, review_files, tmp_path):
    """Byte pairs and no pooler; shared blocks and SentencePiece; no segments; narrow tables and another pooler."""
    write_folder(tmp_path / "theirs", name)
    model = recipes.Classify(
        start_from=f"hf:{tmp_path / 'theirs'}",
        train=review_files["train"],
        epochs=6,
        learning_rate=3e-3,
        batch_size=16,
        max_length=21,
        dropout=0.0,
        save_to=str(tmp_path / "saved"),
        verbose=0,
    ).run()
    history = (tmp_path / "saved" / "history.csv").read_text().splitlines()
    losses = [float(line.split(",")[history[0].split(",").index("loss")]) for line in history[1:]]
    assert losses[-1] < losses[0] - 0.01, losses
    texts = read_rows(review_files["test"], ["text"])["text"]
    again = plm.load(tmp_path / "saved")
    np.testing.assert_allclose(again.predict_logits(texts), model.predict_logits(texts), atol=1e-4)

    assert export.compare(model, export.to_tflite(model, tmp_path / "phone"), texts).agreement == 1
    assert export.compare(model, export.to_onnx(model, tmp_path / "onnx"), texts, max_length=21).agreement == 1
    served = export.to_saved_model(model, tmp_path / "served" / "1")
    answers = tf.saved_model.load(str(served)).signatures["serving_default"](text=tf.constant(texts))
    assert [label.decode() for label in answers["label"].numpy()] == model.predict_labels(texts)
    beside = {path.name.removeprefix("model.tflite.") for path in (tmp_path / "phone").iterdir()}
    assert beside == {"model.tflite", "json", *model.tokenizer.filenames}

    plm.checkpoints.to_hugging_face(model, tmp_path / "back")
    back = plm.load(f"hf:{tmp_path / 'back'}")
    assert back.labels == ["cat", "dog"]
    np.testing.assert_allclose(back.predict_logits(texts), model.predict_logits(texts), atol=1e-4)


@pytest.mark.slow
def test_pretraining_goes_on_without_next_sentence(corpus_file, tmp_path):
    write_folder(tmp_path / "theirs", "RobertaForMaskedLM")
    model = recipes.Pretrain(
        corpus=corpus_file,
        validation=corpus_file,
        start_from=f"hf:{tmp_path / 'theirs'}",
        steps=6,
        checkpoint_every=3,
        validation_steps=2,
        max_length=21,
        learning_rate=1e-3,
        save_to=str(tmp_path / "saved"),
        verbose=0,
    ).run()
    assert not model.next_sentence and list(model.output) == ["masked_tokens"]
    history = (tmp_path / "saved" / "history.csv").read_text().splitlines()
    assert len(history) == 3 and "next_sentence" not in history[0]
    again = plm.load(tmp_path / "saved")
    assert isinstance(again.tokenizer, plm.BytePairTokenizer) and again.tokenizer.template == plm.text.ROBERTA_TEMPLATE


@pytest.mark.parametrize(
    "name", ["BertForTokenClassification", "BertForQuestionAnswering", "AlbertForPreTraining", "XLMRobertaModel"]
)
def test_saved_in_our_own_form(name, tmp_path):
    write_folder(tmp_path / "theirs", name)
    model = plm.load(f"hf:{tmp_path / 'theirs'}")
    plm.save(model, tmp_path / "ours")
    again = plm.load(tmp_path / "ours")
    assert type(again) is type(model) and again.get_config() == model.get_config()
    assert type(again.tokenizer) is type(model.tokenizer)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "Albert", "Roberta", "XLMRoberta", "Electra"])
def test_keras_hub_backbones(kind, tmp_path):
    import keras_hub

    sizes = {"num_layers": 2, "num_heads": 3, "hidden_dim": 33, "intermediate_dim": 53, "max_sequence_length": 23}
    sizes |= {"vocab_size" if kind == "Electra" else "vocabulary_size": 97, "dropout": 0.0}
    if kind in ("Albert", "Electra"):
        sizes["embedding_dim"] = 19
    backbone = getattr(keras_hub.models, f"{kind}Backbone")(**sizes)
    random = np.random.default_rng(0)
    for variable in backbone.weights:  # biases and norms too
        variable.assign_add(0.05 * random.normal(size=variable.shape))
    encoder = plm.checkpoints.from_keras_hub(backbone)
    ids = random.integers(5, 97, (3, 11)).astype("int32")
    mask = np.ones_like(ids)
    mask[-1, 7:] = 0
    batch = {"token_ids": ids, "segment_ids": (np.arange(11) > 4).astype("int32") * mask, "padding_mask": mask}
    theirs = backbone({name: batch[name] for name in backbone.input})
    ours = encoder(batch)
    hidden = theirs["sequence_output"] if isinstance(theirs, dict) else theirs
    np.testing.assert_allclose(ours["sequence_output"], hidden, atol=1e-5)
    if isinstance(theirs, dict):
        np.testing.assert_allclose(ours["pooled_output"], theirs["pooled_output"], atol=1e-5)


def test_keras_hub_presets(tmp_path):
    """A preset is a folder too."""
    import keras_hub

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "quiet", "film", "##s", "cafe"]
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=10, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=11, max_sequence_length=13
    )
    backbone.save_to_preset(str(tmp_path / "preset"))
    keras_hub.models.BertTokenizer(pieces, lowercase=True).save_to_preset(str(tmp_path / "preset"))
    encoder = plm.load(f"preset:{tmp_path / 'preset'}")
    assert encoder.tokenizer.encode("The quiet cafés").tokens == ["the", "quiet", "cafe", "##s"]
    with pytest.raises(FileNotFoundError, match="the preset '.*nowhere' was not found or not reached"):
        plm.load(f"preset:{tmp_path / 'nowhere'}")
    with pytest.raises(TypeError, match="a GPT2Backbone is not supported, only BertBackbone"):
        plm.checkpoints.from_keras_hub(keras_hub.models.GPT2Backbone(10, 1, 2, 8, 11))
