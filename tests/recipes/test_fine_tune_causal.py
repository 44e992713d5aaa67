"""Fine-tuning of a decoder: on completions alone, on plain texts, and with LoRA."""

import json

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.commands.columns import columns_of
from keras_plm.recipes import Classify, FineTuneCausal
from keras_plm.tasks import TEXT_GENERATION, evaluate
from tests.tasks.test_text_generation import END, make

PAIRS = {"1+1=": "two", "2+1=": "three", "red": " blue", "the": " end"}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal") / "start"
    plm.save(make("llama"), folder)
    return str(folder)


@pytest.fixture
def settings(start, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in PAIRS.items()))
    return {
        "start_from": start, "train": str(path), "validation": str(path), "max_length": 13, "batch_size": 2,
        "learning_rate": 5e-3, "dropout": 0.0, "verbose": 0, "save_to": str(tmp_path / "model"),
    }  # fmt: skip


def test_it_learns_the_completions(settings):
    model = FineTuneCausal(**settings, epochs=30).run()
    assert model.generate(list(PAIRS), max_new_tokens=9) == list(PAIRS.values())
    assert model.config.max_sequence_length == 97
    again = plm.load(settings["save_to"])
    found = evaluate(again, TEXT_GENERATION.read(settings["train"], TEXT_GENERATION.columns))
    assert found.scores["token_accuracy"] == 1.0 and found.scores["perplexity"] < 1.1 and found.wrong == []
    assert found.rows[0]["prompt"] == "1+1=" and found.rows[0]["wanted"] == "two"


def test_only_completions_count_and_texts_are_apart(start):
    model = plm.load(start)
    examples = TEXT_GENERATION.read([{"prompt": p, "completion": c} for p, c in PAIRS.items()], TEXT_GENERATION.columns)
    rows = TEXT_GENERATION.rows(model, examples, 13)
    end = model.tokenizer.id(END)
    targets, seen = [], 0
    for inputs, target, weight in rows.packed.evaluation_dataset(2):
        counted = np.asarray(weight) > 0
        targets += np.asarray(target)[counted].tolist()
        seen += int((np.asarray(inputs["padding_mask"]) > 0).sum())
    wanted = [i for c in PAIRS.values() for i in [*model.tokenizer.encode(c).token_ids, end]]
    assert sorted(targets) == sorted(wanted)
    prompts = sum(len(model.tokenizer.encode(p).token_ids) for p in PAIRS)
    assert seen == prompts + len(wanted) - len(PAIRS)  # the last token of each text is a target only
    assert rows.num_truncated == 0 and len(rows) == 4
    sizes = rows.num_tokens
    assert TEXT_GENERATION.rows(model, examples, 6).num_truncated == (sizes > 7).sum() > 0


def test_lora_trains_only_its_updates(settings):
    model = FineTuneCausal(**settings, epochs=15, trainable="lora:4").run()
    start = {w.path: np.asarray(w) for w in plm.load(settings["start_from"]).weights}
    for weight in model.weights:
        if "lora" not in weight.path:
            np.testing.assert_array_equal(weight, start[weight.path], err_msg=weight.path)
    held = TEXT_GENERATION.read(settings["train"], TEXT_GENERATION.columns)
    before, after = (evaluate(m, held).scores["perplexity"] for m in (plm.load(settings["start_from"]), model))
    assert after < before / 2
    texts = model.generate(list(PAIRS), max_new_tokens=9)
    merged = plm.merge_lora(plm.load(settings["save_to"]))
    assert merged.generate(list(PAIRS), max_new_tokens=9) == texts


def test_lora_in_the_format_of_peft(settings, tmp_path):
    model = FineTuneCausal(**settings, epochs=2, trainable="lora:2").run()
    plm.checkpoints.save_lora(model, tmp_path / "peft")
    description = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (
        description["task_type"] == "CAUSAL_LM" and description["target_modules"] and not description["modules_to_save"]
    )
    again = plm.checkpoints.load_lora(plm.load(settings["start_from"]), tmp_path / "peft")
    assert again.generate(list(PAIRS), max_new_tokens=9) == model.generate(list(PAIRS), max_new_tokens=9)
    gpt2 = make("gpt2")
    adapted = plm.models.remake(gpt2, plm.models.weight_arrays(gpt2).get, adaptation=plm.Adaptation(lora_rank=2))
    with pytest.raises(ValueError, match="gpt2 has one layer for several of ours"):
        plm.checkpoints.save_lora(adapted, tmp_path / "lost")


def test_the_columns_of_the_training_are_known(settings, tmp_path):
    rows = [{"q": p, "a": c} for p, c in PAIRS.items()]
    fields = settings | {"train": rows, "validation": None}
    FineTuneCausal(**fields, prompt_column="q", completion_column="a", epochs=1).run()
    found = columns_of(settings["save_to"], plm.load(settings["save_to"]))
    assert (found.text, found.label) == ("q", "a")
    FineTuneCausal(**fields, prompt_column=None, completion_column="a", epochs=1, overwrite=True).run()
    found = columns_of(settings["save_to"], plm.load(settings["save_to"]))
    assert (found.text, found.label) == ("a", None)
    assert TEXT_GENERATION.recorded_columns({"text_column": "body"}) == {"text": "body", "label": None}


def test_plain_texts(settings, tmp_path):
    texts = {"text": ["the cat sat on the mat", "a dog", "the end of the world is near"] * 3}
    fields = settings | {"train": texts, "validation": None, "validation_split": 0.3, "load_best": True}
    columns = {"prompt_column": None, "completion_column": "text"}
    model = FineTuneCausal(**fields, **columns, epochs=3).run()
    assert "val_perplexity" in (tmp_path / "model" / "history.csv").read_text().splitlines()[0]
    before = plm.load(settings["start_from"])
    held = TEXT_GENERATION.read(texts, plm.tasks.Columns("text", label=None))
    assert evaluate(model, held).scores["perplexity"] < evaluate(before, held).scores["perplexity"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 1}, "num_layers is for encoders"),
        ({"quantization_aware": True}, "quantization_aware is for encoders"),
        ({"max_length": 98}, "max_length=98, but the model has 97 positions"),
        ({"completion_column": "prompt"}, "cannot contain both"),
        ({"completion_column": "reply"}, "reply"),
    ],
)
def test_refused(settings, changes, message):
    with pytest.raises(ValueError, match=message):
        FineTuneCausal(**settings | changes).run()


def test_an_encoder_is_refused(settings, tmp_path):
    config = plm.EncoderConfig(num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, vocabulary_size=300)
    plm.save(plm.Encoder(config, make("gpt2").tokenizer), tmp_path / "encoder")
    with pytest.raises(ValueError, match="starts from a model with a DecoderConfig"):
        FineTuneCausal(**settings | {"start_from": str(tmp_path / "encoder")}).run()
    with pytest.raises(ValueError, match="starts from a model with a EncoderConfig"):
        Classify(**settings | {"train": {"text": ["a", "b"], "label": ["x", "y"]}, "validation": None}).run()
