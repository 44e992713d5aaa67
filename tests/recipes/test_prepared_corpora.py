"""Pre-training from a prepared corpus, and from text that is larger than the memory."""

import json
from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.models import tokenizer_settings
from keras_plm.recipes import Pretrain, PretrainCausal, PretrainDenoising, pretraining_texts
from keras_plm.text import PreparedCorpus, streamed_rows, write_shards
from keras_plm.text.token_shards import CORPUS
from keras_plm.training import Checkpoint

ENCODER = replace(plm.TINY, num_layers=1, hidden_dim=16, intermediate_dim=24, num_heads=2, max_sequence_length=32)
DECODER = replace(plm.GPT_MINI, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=24, max_sequence_length=32)
SEQ2SEQ = replace(
    plm.TRANSFORMER_TINY, num_layers=1, hidden_dim=16, intermediate_dim=24, num_heads=2,
    max_sequence_length=32,
)  # fmt: skip
SENTENCES = ["The cat sees the old dog.", "A dog sleeps under the tree.", "The bird sings.", "Nobody hears the bird."]
RECIPES = {Pretrain: ENCODER, PretrainCausal: DECODER, PretrainDenoising: SEQ2SEQ}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """One text per row, and the same as documents of sentences."""
    folder = tmp_path_factory.mktemp("corpus")
    draw = np.random.default_rng(0)
    texts = ["\n".join(draw.choice(SENTENCES, draw.integers(2, 9))) for _ in range(60)]
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    (folder / "a.txt").write_text("\n\n".join(texts))
    return folder


def recipe(kind, texts, folder, **changes):
    fields = {
        "corpus": str(texts / ("a.txt" if kind is Pretrain else "a.jsonl")), "config": RECIPES[kind], "steps": 6,
        "checkpoint_every": 3, "batch_size": 4, "max_length": 24, "vocabulary_size": 300, "verbose": 0,
        "precision": "float32", "save_to": str(folder), "learning_rate": 1e-2,
    }  # fmt: skip
    return kind(**fields | changes)


def prepared(kind, model, corpus, folder):
    """The texts of a recipe as shards."""
    folder.mkdir()
    read = recipe(kind, corpus, folder).read(str(corpus / ("a.txt" if kind is Pretrain else "a.jsonl")))
    documents = pretraining_texts.as_documents(read)
    tokenizer = model.tokenizer
    shards = tuple(write_shards(documents, tokenizer, folder, "shard", 700))
    for name, content in tokenizer.files().items():
        (folder / name).write_bytes(content)
    level = "sentences" if kind is Pretrain else "texts"
    description = PreparedCorpus(folder, level, tokenizer_settings(tokenizer), shards)
    (folder / CORPUS).write_text(description.description())
    return str(folder)


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


@pytest.mark.parametrize("kind", RECIPES)
def test_a_small_prepared_corpus_trains_as_its_text(kind, corpus, tmp_path):
    plain = recipe(kind, corpus, tmp_path / "plain").run()
    folder = prepared(kind, plain, corpus, tmp_path / "shards")
    own = {"corpus": folder, "vocabulary_size": None}
    assert equal(plain, recipe(kind, corpus, tmp_path / "prepared", **own).run())
    assert f"trained on | {folder} (60 " in (tmp_path / "prepared" / "README.md").read_text()


@pytest.mark.parametrize("kind", RECIPES)
def test_a_streamed_training_resumes(kind, corpus, tmp_path, monkeypatch):
    model = recipe(kind, corpus, tmp_path / "plain", steps=3).run()
    folder = prepared(kind, model, corpus, tmp_path / "shards")
    monkeypatch.setattr(pretraining_texts, "BLOCK_TOKENS", 600)
    own = {"corpus": folder, "vocabulary_size": None}
    whole = recipe(kind, corpus, tmp_path / "whole", **own).run()

    def killed(self, epoch, logs=None):
        original(self, epoch, logs)
        if epoch == 0:
            raise KeyboardInterrupt

    original = Checkpoint.on_epoch_end
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "on_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            recipe(kind, corpus, tmp_path / "resumed", **own).run()
    sizes = json.loads((tmp_path / "resumed.training" / "rows_24.json").read_text())
    assert len(sizes) > 2
    monkeypatch.setattr(streamed_rows, "track", None)  # rows are not counted again
    assert equal(whole, recipe(kind, corpus, tmp_path / "resumed", **own).run())


@pytest.mark.parametrize("kind", [Pretrain, PretrainCausal])
def test_large_texts_are_tokenized_to_disk(kind, corpus, tmp_path, monkeypatch):
    plain = recipe(kind, corpus, tmp_path / "plain").run()
    monkeypatch.setattr(pretraining_texts, "_IN_MEMORY", 1_000)
    assert equal(plain, recipe(kind, corpus, tmp_path / "large").run())
    assert not (tmp_path / "large.training").exists()
    assert " (60 " in (tmp_path / "large" / "README.md").read_text()


def test_what_does_not_fit_is_refused(corpus, tmp_path):
    model = recipe(Pretrain, corpus, tmp_path / "plain", steps=1).run()
    folder = prepared(Pretrain, model, corpus, tmp_path / "shards")
    with pytest.raises(
        ValueError, match="has documents as sentences, but this training needs texts: prepare it with --model decoder"
    ):
        recipe(PretrainCausal, corpus, tmp_path / "causal", corpus=folder, vocabulary_size=None).run()
    with pytest.raises(ValueError, match="has its own tokens: leave out vocabulary_size"):
        recipe(Pretrain, corpus, tmp_path / "other", corpus=folder).run()
    own = {"corpus": folder, "vocabulary_size": None}
    with pytest.raises(ValueError, match="has its own vocabulary: leave out vocabulary and lowercase"):
        recipe(Pretrain, corpus, tmp_path / "other", **own, lowercase=False).run()
    other = recipe(Pretrain, corpus, tmp_path / "other", vocabulary_size=50, steps=1).run()
    assert len(other.tokenizer) != len(model.tokenizer)
    with pytest.raises(ValueError, match="has the tokens of another tokenizer than"):
        recipe(
            Pretrain, corpus, tmp_path / "continued", **own, start_from=str(tmp_path / "other"), config=plm.SMALL
        ).run()
    recipe(Pretrain, corpus, tmp_path / "dry", **own, fast_dev_run=True).run()
