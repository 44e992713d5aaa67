"""Encoder-decoders of Transformers with random weights: their logits, their texts, and their files both ways."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_plm as plm
from keras_plm.checkpoints.tokenizer_writer import write_tokenizer
from keras_plm.generation import GenerationSettings, LogitsProcessor, beam_search
from keras_plm.models import EncoderDecoder
from keras_plm.tasks import Seq2Seq
from keras_plm.text import SpecialTokens, Template
from keras_plm.text.byte_pair import BYTE_CHARACTERS, BytePairTokenizer

from . import random_weights

with np.load(Path(__file__).parent / "seq2seq.npz") as file:
    GOLDEN = dict(file)
FACTS = json.loads(str(GOLDEN["facts"]))
CASES = list(random_weights.SEQ2SEQ)
REAL = random_weights.seq2seq_inputs()["decoder_padding_mask"] > 0


def tokenizer():
    special = SpecialTokens(pad="<pad>", unk="<unk>", cls="<s>", sep="</s>", mask="<mask>")
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", *BYTE_CHARACTERS]
    filled = [*vocabulary, *(f"[unused{i}]" for i in range(random_weights.VOCABULARY - len(vocabulary)))]
    return BytePairTokenizer(filled, [], special, template=Template("cls A sep", "cls A sep sep B sep"))


def write_folder(folder, case, **changes):
    """The folder as Transformers wrote it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(FACTS[case]["config"] | changes))
    weights = random_weights.weights(FACTS[case]["shapes"])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(tokenizer(), folder, 29)
    return weights


@pytest.mark.parametrize("case", CASES)
def test_answers_as_transformers_and_goes_back_unchanged(case, tmp_path):
    weights = write_folder(tmp_path / "theirs", case)
    model = plm.load(f"hf:{tmp_path / 'theirs'}")
    assert type(model) is (EncoderDecoder if case.endswith("bare") else Seq2Seq)
    found = np.asarray(model(random_weights.seq2seq_inputs()))
    np.testing.assert_allclose(found[REAL], GOLDEN[case][REAL], atol=1e-4)

    plm.checkpoints.to_hugging_face(model, tmp_path / "ours")
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["architectures"] == [random_weights.SEQ2SEQ[case][0]]
    for name, value in random_weights.seq2seq_config(case).items():
        same = {"swish": "silu"}.get(value, value)
        assert name.endswith("token_id") or config[name] == same, name
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    assert set(ours) == set(weights)
    for name, value in weights.items():
        skipped = 2 * name.endswith("embed_positions.weight")  # BART does not use the first rows
        np.testing.assert_array_equal(ours[name][skipped:], value[skipped:], err_msg=name)
    again = plm.load(f"hf:{tmp_path / 'ours'}")
    assert again.config == model.config
    np.testing.assert_array_equal(np.asarray(again(random_weights.seq2seq_inputs())), found)
    if not case.endswith("bare"):
        assert again.start_tokens == model.start_tokens and again.end_ids == model.end_ids == [2]
    plm.save(model, tmp_path / "saved")
    np.testing.assert_array_equal(np.asarray(plm.load(tmp_path / "saved")(random_weights.seq2seq_inputs())), found)


@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith("bare")])
@pytest.mark.parametrize("beams", [1, 3])
def test_writes_as_transformers(case, beams, tmp_path):
    write_folder(tmp_path / "theirs", case)
    model = plm.load(f"hf:{tmp_path / 'theirs'}")
    settings = GenerationSettings(
        num_beams=beams, max_new_tokens=9, logit_bias={token: -np.inf for token in random_weights.SUPPRESSED}
    )
    sources = [ids[:9].tolist() for ids in random_weights.inputs("bert")["token_ids"][:2]]
    session = model.open_session(9, sources)
    processor = LogitsProcessor(settings, [], model.end_ids, None, random_weights.VOCABULARY)
    found = beam_search(session, [model.start_ids] * 2, settings, [9, 9], processor)
    for hypotheses, wanted in zip(found, FACTS[case][f"beams_{beams}"], strict=True):
        assert model.start_ids + hypotheses[0].token_ids == wanted[: 1 + len(hypotheses[0].token_ids)]


@pytest.mark.parametrize("case", ["t5", "bart"])
def test_texts(case, tmp_path):
    """Texts of different lengths share a batch; sampling, streams, scores."""
    write_folder(tmp_path / "theirs", case)
    model = plm.load(f"hf:{tmp_path / 'theirs'}")
    texts = ["a cat", "the house is", "b"]
    for settings in (
        GenerationSettings(max_new_tokens=7),
        GenerationSettings(max_new_tokens=7, num_beams=2),
        GenerationSettings(max_new_tokens=7, do_sample=True, seed=3, num_return_sequences=2),
    ):
        together = model.generate(texts, settings)
        assert together == [model.generate([text], settings)[0] for text in texts]
    assert "".join(model.stream(texts[0], max_new_tokens=7)) == model.generate(texts[:1], max_new_tokens=7)[0]
    scores = model.score(texts, ["x", "yz", ""])
    assert [len(score.tokens) for score in scores] == [3, 4, 2] and all(score.total < 0 for score in scores)
    long = "x" * (model.longest_row - 1)
    for settings, message in (
        ({"prompt_lookup_num_tokens": 2}, "prompt_lookup"),
        ({}, "text 0 has .* the model reads"),
    ):
        with pytest.raises(ValueError, match=message):
            model.generate([long], **settings)
    with pytest.raises(ValueError, match="a target has .* tokens"):
        model.score(texts[:1], [long + "xx"])
    with pytest.raises(ValueError, match="give the targets"):
        model.score(texts)


@pytest.mark.slow
def test_transformers_reads_what_we_write(tmp_path):
    python = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
    if not python.is_file():
        pytest.skip("no environment with Transformers; `make test-all` makes it")
    script = Path(__file__).parent / "transformers_peer.py"
    subprocess.run([python, script, "seq2seq", tmp_path / "golden.npz"], check=True)
    with np.load(tmp_path / "golden.npz") as file:
        again = dict(file)
    for case in CASES:
        np.testing.assert_allclose(again[case], GOLDEN[case], atol=1e-5, err_msg=case)
        write_folder(tmp_path / f"{case}-theirs", case)
        plm.checkpoints.to_hugging_face(plm.load(f"hf:{tmp_path / f'{case}-theirs'}"), tmp_path / case)
    subprocess.run([python, script, "read", *(tmp_path / case for case in CASES)], check=True)
    for case in CASES:
        read = np.load(tmp_path / case / "theirs.npz")["logits"]
        np.testing.assert_allclose(read[REAL], GOLDEN[case][REAL], atol=1e-5, err_msg=case)


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        ("t5", {"feed_forward_proj": "gated-gulu"}, "feed_forward_proj='gated-gulu' is not supported"),
        ("t5", {"decoder_start_token_id": 307}, "decoder_start_token_id=307; there are 307 tokens"),
        ("bart", {"normalize_before": True}, "normalize_before=True is not supported for bart, only False"),
        ("marian", {"normalize_embedding": True}, "normalize_embedding=True is not supported for marian"),
        ("bart", {"decoder_ffn_dim": 54}, "different stacks are not supported"),
        ("bart", {"decoder_start_token_id": None}, "decoder_start_token_id=None"),
        ("marian", {"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings=False"),
        ("t5", {"num_decoder_layers": 2}, "does not fit the model"),
        ("t5", {"relative_attention_max_distance": 4}, "relative_distance=4"),
        ("t5", {"relative_attention_num_buckets": 2}, "relative_buckets=2"),
        ("t5", {"relative_attention_num_buckets": 10**9, "relative_attention_max_distance": 10**9}, "has at least"),
    ],
)
def test_what_our_layers_do_not_do_is_refused(case, changes, message, tmp_path):
    write_folder(tmp_path / "theirs", case, **changes)
    with pytest.raises(ValueError, match=message):
        plm.load(f"hf:{tmp_path / 'theirs'}")


def test_a_forced_first_token_is_read_and_written(tmp_path):
    """BART's decoder begins with its start token and a token that is always written first."""
    write_folder(tmp_path / "theirs", "bart")
    (tmp_path / "theirs" / "generation_config.json").write_text(json.dumps({"forced_bos_token_id": 1}))
    model = plm.load(f"hf:{tmp_path / 'theirs'}")
    assert model.start_tokens == ("</s>", "<s>") and model.start_ids == [2, 1]
    plm.checkpoints.to_hugging_face(model, tmp_path / "ours")
    assert plm.load(f"hf:{tmp_path / 'ours'}").start_tokens == ("</s>", "<s>")
