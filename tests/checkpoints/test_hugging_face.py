import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import keras_plm as plm
from keras_plm.checkpoints.tokenizer_reader import read_tokenizer

from . import random_weights
from .small_folders import GOLDEN as GOLDEN_FILE
from .small_folders import TEXTS, assert_same, byte_pair, golden_facts, our_answers, word_piece, write_folder

GOLDEN = np.load(GOLDEN_FILE)
PAIRS = [(model_type, name) for model_type, names in random_weights.CLASSES.items() for name in names]
OUR_CLASS = {
    "Model": "Encoder", "ForMaskedLM": "Pretrainer", "ForPreTraining": "Pretrainer",
    "ForSequenceClassification": "Classifier", "ForNextSentencePrediction": "Classifier",
    "ForTokenClassification": "Tagger", "ForQuestionAnswering": "QuestionAnswerer",
}  # fmt: skip


def golden(name: str) -> dict[str, np.ndarray]:
    return {key.split("/")[1]: GOLDEN[key] for key in GOLDEN if key.startswith(f"{name}/")}


@pytest.mark.parametrize("model_type,name", PAIRS, ids=[name for _, name in PAIRS])
def test_answers_as_transformers_and_goes_back_unchanged(model_type, name, tmp_path):
    facts = write_folder(tmp_path / "theirs", name)
    model = plm.load(f"hf:{tmp_path / 'theirs'}")
    ending = next(e for e in OUR_CLASS if name.endswith(e))
    replaced = name == "ElectraForPreTraining"  # its head is left out
    assert type(model).__name__ == ("Encoder" if replaced else OUR_CLASS[ending])
    if ending.endswith("Classification"):
        assert model.labels == ["cat", "dog", "heron"]
    batch = random_weights.inputs(model_type)
    if not replaced:
        assert_same(our_answers(model, batch), golden(name), batch["padding_mask"])

    plm.checkpoints.to_hugging_face(model, tmp_path / "ours")  # finds the architecture
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    ours, theirs = (load_file(tmp_path / side / "model.safetensors") for side in ("ours", "theirs"))
    if name == "BertForNextSentencePrediction":  # is a classifier like any other then
        ours = {key.replace("classifier", "cls.seq_relationship"): value for key, value in ours.items()}
    elif replaced:
        theirs = {k.removeprefix("electra."): v for k, v in theirs.items() if not k.startswith("discriminator")}
    else:
        assert config["architectures"] == [name] and config["model_type"] == model_type
        assert {k: config[k] for k in random_weights.config(model_type, name)} == {
            k: facts["config"][k] for k in random_weights.config(model_type, name)
        }
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        if "roberta" in model_type and "position_embeddings" in key:  # the rows before the first position
            value[:2] = 0
        np.testing.assert_array_equal(ours[key], value, err_msg=key)


@pytest.mark.slow
def test_transformers_reads_what_we_write(tmp_path):
    """Their classes on our folders, from the random weights and from a model of our own."""
    python = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
    if not python.is_file():
        pytest.skip("no environment with Transformers; `make peers` makes it")
    script = Path(__file__).parent / "transformers_peer.py"
    subprocess.run([python, script, "golden", tmp_path / "golden.npz"], check=True)
    again = np.load(tmp_path / "golden.npz")
    assert set(again) == set(GOLDEN) and json.loads(str(again["facts"])).keys() == golden_facts().keys()
    for key in set(again) - {"facts"}:
        np.testing.assert_allclose(again[key], GOLDEN[key], atol=1e-5, err_msg=key)

    models = {}
    for _, name in PAIRS:
        write_folder(tmp_path / "theirs" / name, name)
        models[name] = model = plm.load(f"hf:{tmp_path / 'theirs' / name}")
        plm.checkpoints.to_hugging_face(model, tmp_path / name)
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    subprocess.run([python, script, "read", *(tmp_path / name for name in models)], check=True)
    for (model_type, name), model in zip(PAIRS, models.values(), strict=True):
        batch = random_weights.inputs(model_type)
        assert_same(our_answers(model, batch), dict(np.load(tmp_path / name / "theirs.npz")), batch["padding_mask"])
        theirs = json.loads((tmp_path / name / "theirs.json").read_text())
        tokenizer = model.tokenizer
        for text in TEXTS:
            ids = tokenizer.encode(text).token_ids
            assert theirs[text] == [tokenizer.role_id("cls"), *ids, tokenizer.role_id("sep")], (name, text)
        packed = plm.text.TextRows.from_texts(tokenizer, TEXTS[:1], TEXTS[1:2]).evaluation_dataset(1)[0]
        row = next(iter(packed))
        assert theirs["pair"] == row["token_ids"].numpy()[row["padding_mask"].numpy() > 0].tolist(), name
        assert theirs["mask"] == tokenizer.mask_id


def test_tokenizers_in_files_of_their_own(tmp_path):
    """Without tokenizer.json: vocab.txt; vocab.json with merges.txt; a SentencePiece model, whose ids are shifted."""
    import sentencepiece

    for ours in (word_piece(), byte_pair()):
        folder = tmp_path / type(ours).__name__
        folder.mkdir()
        for name, content in ours.files().items():
            (folder / name).write_bytes(content)
        found = read_tokenizer(folder)
        assert type(found) is type(ours) and found.vocabulary == ours.vocabulary
        assert found(TEXTS).to_list() == ours(TEXTS).to_list()
    cased = tmp_path / "WordPieceTokenizer" / "tokenizer_config.json"
    cased.write_text(json.dumps({"do_lower_case": False, "tokenizer_class": "BertTokenizer"}))
    assert read_tokenizer(cased.parent)(["The"]).to_list() == [[word_piece().unk_id]]

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 3), model_writer=model, vocab_size=45, hard_vocab_limit=False, minloglevel=2
    )
    (tmp_path / "pieces").mkdir()
    (tmp_path / "pieces" / "sentencepiece.bpe.model").write_bytes(model.getvalue())
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    found = read_tokenizer(tmp_path / "pieces")
    texts = [*TEXTS, "a zebra"]
    wanted = [[i + 1 if i else found.unk_id for i in theirs.encode(text)] for text in texts]
    assert found(texts).to_list() == wanted and found.unk_id in wanted[-1]
    assert (found.role_id("cls"), found.pad_id, found.role_id("sep"), found.unk_id) == (0, 1, 2, 3)
    assert found.mask_id == len(found.vocabulary) - 1
