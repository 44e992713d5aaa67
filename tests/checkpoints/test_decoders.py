"""Decoders of Transformers with random weights: their logits, and their files both ways."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_plm as plm
from keras_plm.checkpoints.tokenizer_writer import write_tokenizer
from keras_plm.models import Decoder
from keras_plm.tasks.text_generation import TextGenerator
from keras_plm.text import SpecialTokens, Template
from keras_plm.text.byte_pair import BYTE_CHARACTERS, BytePairTokenizer

from . import random_weights

GOLDEN = np.load(Path(__file__).parent / "decoders.npz")
FACTS = json.loads(str(GOLDEN["facts"]))
CASES = list(random_weights.DECODERS)


def tokenizer():
    special = SpecialTokens(pad=None, unk=None, cls=None, sep=None, mask=None, bos="<s>", eos="</s>")
    vocabulary = [BYTE_CHARACTERS[0], "<s>", "</s>", *BYTE_CHARACTERS[1:]]
    filled = [*vocabulary, *(f"[unused{i}]" for i in range(random_weights.VOCABULARY - len(vocabulary)))]
    return BytePairTokenizer(filled, [], special, template=Template("A", None))


def write_folder(folder, case, **changes):
    """The folder as Transformers wrote it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(FACTS[case]["config"] | changes))
    weights = random_weights.weights(FACTS[case]["shapes"])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(tokenizer(), folder, 29)
    return weights


def answer(model):
    batch = random_weights.inputs("bert")
    return np.asarray(model({name: batch[name] for name in ("token_ids", "padding_mask")})), batch["padding_mask"] > 0


@pytest.mark.parametrize("case", CASES)
def test_answers_as_transformers_and_goes_back_unchanged(case, tmp_path):
    weights = write_folder(tmp_path / "theirs", case)
    model = plm.load(f"hf:{tmp_path / 'theirs'}")
    assert type(model) is (Decoder if case.endswith("bare") else TextGenerator)
    found, real = answer(model)
    np.testing.assert_allclose(found[real], GOLDEN[case][real], atol=1e-4)

    model_type = FACTS[case]["config"]["model_type"]
    # what has no biases, no window and own widths of heads has several: the first is taken
    plm.checkpoints.to_hugging_face(model, tmp_path / "ours", model_type)
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["architectures"] == [random_weights.DECODERS[case][0]]
    for name, value in random_weights.decoder_config(case).items():
        assert config.get(name) == value or name in ("max_window_layers", "sliding_window"), name
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    assert set(ours) == set(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    again = plm.load(f"hf:{tmp_path / 'ours'}")
    assert again.config == model.config
    np.testing.assert_array_equal(answer(again)[0], found)


@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith("bare")])
def test_greedy_texts_are_those_of_the_whole_model(case, tmp_path):
    write_folder(tmp_path / "theirs", case)
    model = plm.load(f"hf:{tmp_path / 'theirs'}")
    prompt = model.tokenizer.encode("a cat").token_ids
    ids = list(prompt)
    for _ in range(9):
        row = np.array([ids], "int32")
        ids.append(int(np.argmax(model({"token_ids": row, "padding_mask": np.ones_like(row)})[0, -1])))
    wanted = ids[len(prompt) :]
    wanted = wanted[: next((i for i, token in enumerate(wanted) if token == 2), 9)]
    assert model.generate(["a cat"], max_new_tokens=9) == [model.tokenizer.decode(wanted)]


@pytest.mark.slow
def test_transformers_reads_what_we_write(tmp_path):
    python = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
    if not python.is_file():
        pytest.skip("no environment with Transformers; `make test-all` makes it")
    script = Path(__file__).parent / "transformers_peer.py"
    subprocess.run([python, script, "decoders", tmp_path / "golden.npz"], check=True)
    again = np.load(tmp_path / "golden.npz")
    assert json.loads(str(again["facts"])).keys() == FACTS.keys()
    for case in CASES:
        np.testing.assert_allclose(again[case], GOLDEN[case], atol=1e-5, err_msg=case)
        write_folder(tmp_path / f"{case}-theirs", case)
        model = plm.load(f"hf:{tmp_path / f'{case}-theirs'}")
        plm.checkpoints.to_hugging_face(model, tmp_path / case, FACTS[case]["config"]["model_type"])
    subprocess.run([python, script, "read", *(tmp_path / case for case in CASES)], check=True)
    real = random_weights.inputs("bert")["padding_mask"] > 0
    for case in CASES:
        read = np.load(tmp_path / case / "theirs.npz")["logits"]
        np.testing.assert_allclose(read[real], GOLDEN[case][real], atol=1e-5, err_msg=case)


def test_what_an_architecture_does_not_have_is_refused(tmp_path):
    write_folder(tmp_path / "llama", "llama")
    model = plm.load(f"hf:{tmp_path / 'llama'}")
    with pytest.raises(ValueError, match="gpt2 has no num_key_value_heads=2"):
        plm.checkpoints.to_hugging_face(model, tmp_path / "x", "gpt2")
    with pytest.raises(ValueError, match="bert has no TextGenerator"):
        plm.checkpoints.to_hugging_face(model, tmp_path / "x", "bert")
    with pytest.raises(ValueError, match="qwen2 has no attention_bias='none'"):
        plm.checkpoints.to_hugging_face(model, tmp_path / "x", "qwen2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_parameters": {"rope_type": "yarn"}}, "rotary positions of type 'yarn' are not supported"),
        ({"mlp_bias": True}, "mlp_bias=True is not supported for llama, only False"),
        ({"num_key_value_heads": 4}, "num_key_value_heads=4 does not divide num_heads=6"),
        ({"hidden_act": "gulu"}, "activation 'gulu' is not supported"),
        ({"intermediate_size": "53"}, "intermediate_dim='53'; it must be int"),
        ({"tie_word_embeddings": True}, "lm_head.weight differs from"),
        ({"head_dim": 8}, "does not fit the model"),
    ],
)
def test_what_our_layers_do_not_do_is_refused(changes, message, tmp_path):
    write_folder(tmp_path / "theirs", "llama", **changes)
    with pytest.raises(ValueError, match=message):
        plm.load(f"hf:{tmp_path / 'theirs'}")


def test_all_tokens_that_end_a_text_are_read_and_written(tmp_path):
    write_folder(tmp_path / "theirs", "gpt2", eos_token_id=[2, 9])
    (tmp_path / "theirs" / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 2]}))
    model = plm.load(f"hf:{tmp_path / 'theirs'}")
    vocabulary = model.tokenizer.vocabulary
    assert model.end_tokens == (vocabulary[7], vocabulary[9]) and model.end_ids == [2, 7, 9]
    plm.checkpoints.to_hugging_face(model, tmp_path / "ours")
    assert plm.load(f"hf:{tmp_path / 'ours'}").end_ids == [2, 7, 9]
    plm.save(model, tmp_path / "saved")
    assert plm.load(tmp_path / "saved").end_ids == [2, 7, 9]
    write_folder(tmp_path / "bad", "gpt2", eos_token_id=999)
    with pytest.raises(ValueError, match="eos_token_id=999; there are 307 tokens"):
        plm.load(f"hf:{tmp_path / 'bad'}")


def test_mistral_has_no_biases(tmp_path):
    """Whatever its config says: Transformers would leave them out."""
    write_folder(tmp_path / "theirs", "llama-3.1")
    model = plm.load(f"hf:{tmp_path / 'theirs'}")
    assert model.config.attention_bias == "all"
    with pytest.raises(ValueError, match="mistral has no attention_bias='all'"):
        plm.checkpoints.to_hugging_face(model, tmp_path / "x", "mistral")


def config_of(folder, case, **changes):
    write_folder(folder, case, **changes)
    return plm.load(f"hf:{folder}").config


def test_rotary_fields_are_read_as_transformers_does(tmp_path):
    old = {"rope_theta": 500.0, "rope_parameters": {"rope_type": "default"}}
    assert config_of(tmp_path / "a", "llama", **old).rotary_base == 500.0
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0}
    both = {"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}, "rope_scaling": scaling, "rope_theta": 9.0}
    found = config_of(tmp_path / "b", "llama", **both)
    assert found.rotary_scaling == (4.0, 1.0, 3.0, 29.0) and found.rotary_base == 9.0
    del scaling["factor"]
    with pytest.raises(ValueError, match="type 'llama3' need numbers for factor"):
        config_of(tmp_path / "c", "llama", rope_parameters=scaling)
    with pytest.raises(ValueError, match="rope_theta=0; it must be a number above 0"):
        config_of(tmp_path / "d", "llama", rope_parameters={"rope_theta": 0})


def test_windows_of_qwen2(tmp_path):
    window = {"use_sliding_window": True, "sliding_window": 5}
    kinds = ["sliding_attention", "full_attention"]
    assert config_of(tmp_path / "a", "qwen2", **window, max_window_layers=2, layer_types=None).window is None
    assert config_of(tmp_path / "b", "qwen2", **window, layer_types=kinds[:1] * 2).window == 5
    assert config_of(tmp_path / "c", "qwen2", **window | {"sliding_window": None}).window is None
    with pytest.raises(ValueError, match="a window in some layers only"):
        config_of(tmp_path / "d", "qwen2", **window, layer_types=kinds)


def test_one_spelling_for_each_shape():
    sizes = {"num_heads": 3, "hidden_dim": 33}
    assert plm.DecoderConfig(**sizes, num_key_value_heads=3, head_dim=11) == plm.DecoderConfig(**sizes)


def test_word_rules_that_no_file_tells(tmp_path):
    write_folder(tmp_path / "theirs", "qwen2")
    folder = tmp_path / "theirs"
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "</s>"})
    )
    with pytest.raises(ValueError, match="Qwen2Tokenizer splits words by a rule that is in tokenizer.json"):
        plm.load(f"hf:{folder}")


def test_control_tokens_are_not_text(tmp_path):
    write_folder(tmp_path / "theirs", "gpt2")
    path = tmp_path / "theirs" / "tokenizer.json"
    content = json.loads(path.read_text())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content["added_tokens"] += [
        {"id": 300, "content": "[unused42]", "special": True, **flags},
        {"id": 301, "content": "[unused43]", "special": False, **flags},
    ]
    path.write_text(json.dumps(content))
    tokenizer = plm.load(f"hf:{tmp_path / 'theirs'}").tokenizer
    assert tokenizer.vocabulary[300:302] == ["[unused42]", "[unused43]"]
    assert tokenizer.decode([*tokenizer.encode("a").token_ids, 300, 301]) == "a[unused43]"
