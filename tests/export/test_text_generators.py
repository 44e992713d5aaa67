"""Text generators on a phone: the artifact writes what the Keras model writes."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from keras_plm import export
from keras_plm.config import DecoderConfig
from keras_plm.export import verify_generation
from keras_plm.generation import GenerationSettings
from keras_plm.tasks import TEXT_GENERATION, TextGenerator, evaluate, generation_graph
from keras_plm.tasks.text_generation import string_graph
from keras_plm.text import AddedToken, BytePairTokenizer
from tests.tasks.test_text_generation import PROMPTS, make

LENGTH = 89


@pytest.fixture(scope="module", params=["gpt3", "llama"])
def pair(request, tmp_path_factory):
    model = make(request.param)
    path = export.to_tflite(model, tmp_path_factory.mktemp(request.param), max_length=LENGTH)
    return model, export.load_artifact(path)


def test_the_artifact_generates_the_same_texts(pair):
    model, artifact = pair
    assert artifact.longest_row == LENGTH
    for changes in (
        {"max_new_tokens": 64 - 13},
        {"do_sample": True, "seed": 3, "temperature": 0.7, "top_p": 0.9, "num_return_sequences": 2},
        {"num_beams": 3, "max_new_tokens": 9},
        {"stop_strings": ("e",), "repetition_penalty": 1.3},
        {"prompt_lookup_num_tokens": 3},
    ):
        settings = dataclasses.replace(GenerationSettings(max_new_tokens=21), **changes)
        assert artifact.generate(PROMPTS, settings) == model.generate(PROMPTS, settings)
    assert "".join(artifact.stream(PROMPTS[0], max_new_tokens=9)) == model.generate(PROMPTS[:1], max_new_tokens=9)[0]


def test_a_prompt_up_to_the_last_position(pair):
    """Prefill functions cannot write behind the end of the caches: the last tokens are read one by one."""
    model, artifact = pair
    prompt = "the " * 120
    for size in (16, 17, 80, LENGTH - 1):
        ids = model.texts_to_ids([prompt])[0][:size]
        session = artifact.open_session(1)
        found = session.read([ids])[0]
        batch = {"token_ids": np.array([ids]), "padding_mask": np.ones((1, size), "int32")}
        np.testing.assert_allclose(found, model.predict_on_batch(batch)[0, -1], rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="122 tokens"):
        artifact.generate([prompt])


def test_scores_of_texts(pair):
    model, artifact = pair
    for found, wanted in zip(artifact.score(PROMPTS), model.score(PROMPTS), strict=True):
        assert found.tokens == wanted.tokens
        np.testing.assert_allclose(found.log_probabilities, wanted.log_probabilities, rtol=0, atol=1e-4)
    rows = {"prompt": ["the", "a"], "completion": [" house", "b"]}
    examples = TEXT_GENERATION.read(rows, TEXT_GENERATION.columns)
    np.testing.assert_allclose(
        list(evaluate(artifact, examples).scores.values()), list(evaluate(model, examples).scores.values()), rtol=1e-4
    )


def test_the_file_fits_litert_lm(pair):
    """The names, and weights that are stored once for all functions."""
    model, artifact = pair
    runtime = artifact.artifact._runtime
    assert set(runtime.interpreter.get_signature_list()) == {"prefill_16", "decode"}
    assert set(runtime.empty) == {f"kv_cache_{kind}_{block}" for block in range(3) for kind in "kv"}
    operators = artifact.artifact.operators()
    assert "DYNAMIC_UPDATE_SLICE" in operators and all(name.isupper() for name in operators)
    assert artifact.artifact.size_bytes < 4 * model.count_params() + 150_000


@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param("float16", marks=pytest.mark.slow),
        "dynamic_int8",
        pytest.param("int4", marks=pytest.mark.slow),
        "int4+int8:embedding",
    ],
)
def test_quantized(scheme, tmp_path):
    model = make("qwen2", hidden_dim=64, intermediate_dim=256)
    whole = export.to_tflite(model, tmp_path / "whole.tflite", max_length=32).stat().st_size
    path = export.to_tflite(model, tmp_path / "small.tflite", scheme, max_length=32)
    assert path.stat().st_size < whole
    assert json.loads((tmp_path / "small.tflite.json").read_text())["quantization"] == scheme
    artifact = export.load_artifact(path)
    assert len(artifact.generate(PROMPTS, max_new_tokens=5)) == len(PROMPTS)
    # the embedding matrix of a tied head is stored once
    matrix = artifact.artifact._runtime.interpreter.get_tensor_details()
    shape = [model.config.vocabulary_size, model.config.hidden_dim]
    if scheme != "float16":  # the look-up needs a float32 copy, which LiteRT makes when it opens the file
        assert sum(list(tensor["shape"]) == shape for tensor in matrix) == 1


def test_calibrated_four_bits(tmp_path):
    """GPTQ of the kernels lowers the error of the logits on similar texts."""
    model, texts = (
        make("llama", hidden_dim=64, intermediate_dim=128),
        [f"the {a} is {b}" for a in PROMPTS for b in PROMPTS],
    )
    rows = [model.row_inputs(row.token_ids) for row in model.teacher_forced(texts, 32)]

    def error(name, calibration):
        path = export.to_tflite(model, tmp_path / name, "int4", max_length=32, calibration=calibration)
        artifact = export.Artifact(path)
        found = [artifact.outputs(row)["logits"] - model.predict_on_batch(row) for row in rows]
        return np.sqrt(np.mean([np.square(logits).mean() for logits in found]))

    assert error("fitted.tflite", texts * 9) < 0.9 * error("nearest.tflite", None)


def test_refused(tmp_path):
    model = make("gpt2")
    for scheme in ("static_int8", "int8x16"):
        with pytest.raises(ValueError, match="not for text generators"):
            export.to_tflite(model, tmp_path, scheme, calibration=["a text"])
    with pytest.raises(ValueError, match="max_length=98"):
        export.to_tflite(model, tmp_path, max_length=98)
    with pytest.raises(ValueError, match="WordPiece"):
        export.to_tflite(model, tmp_path, strings=True)
    with pytest.raises(ValueError, match="use to_tflite"):
        export.to_onnx(model, tmp_path / "other")
    with pytest.raises(ValueError, match="do not support text generators"):
        export.sensitivity(model, ["a text"])
    assert not list(tmp_path.iterdir())


def test_a_wrong_artifact_is_found(tmp_path):
    """The artifact of other weights, and one whose prefill is broken."""
    model = make("gpt2")
    artifact = export.Artifact(export.to_tflite(model, tmp_path, max_length=64))
    other = make("gpt2")
    kernel = other.decoder.blocks[1].feed_forward.expand.kernel
    kernel.assign(kernel * 1.5)
    with pytest.raises(export.ExportError, match="largest error"):
        verify_generation.verify_generation(other, artifact)
    read = artifact._runtime.read
    artifact._runtime.read = lambda ids, first, caches: read(ids[::-1], first, caches)
    with pytest.raises(export.ExportError, match="writes another text"):
        verify_generation.verify_generation(model, artifact)


@pytest.mark.parametrize("kind", ["gpt3", pytest.param("llama", marks=pytest.mark.slow)])
def test_saved_model(kind, tmp_path):
    """The graph tokenizes and generates; a row's text depends on this row only."""
    model = make(kind)
    artifact = export.Artifact(export.to_saved_model(model, tmp_path / "1", max_length=91))
    prompts = [*PROMPTS, "", "<|endoftext|>the"]
    count = len(prompts)
    greedy = {"temperature": [0.0] * count, "top_p": [1.0] * count, "seed": [0] * count}
    found = artifact.strings(prompt=prompts, max_new_tokens=[47] * count, **greedy)
    wanted = model.generate(prompts, max_new_tokens=47)
    assert [text.decode() for text in found["text"]] == wanted
    assert set(found["finish_reason"]) <= {b"length", b"stop"}
    limits = [3, 1, 0, 9, 5, 2]
    found = artifact.strings(prompt=prompts, max_new_tokens=limits, **greedy)
    for prompt, limit, text in zip(prompts, limits, found["text"], strict=True):
        assert text.decode() == (model.generate([prompt], max_new_tokens=limit)[0] if limit else "")
    sampled = {"temperature": [0.8] * count, "top_p": [0.9] * count, "seed": list(range(count))}
    together = artifact.strings(prompt=prompts, max_new_tokens=[7] * count, **sampled)["text"]
    for row in range(count):
        one = {name: values[row : row + 1] for name, values in sampled.items()}
        assert artifact.strings(prompt=prompts[row : row + 1], max_new_tokens=[7], **one)["text"][0] == together[row]
    likely = artifact.strings(prompt=prompts, max_new_tokens=[7] * count, **sampled | {"top_p": [0.0] * count})["text"]
    assert [text.decode() for text in likely] == model.generate(prompts, max_new_tokens=7)
    with pytest.raises(TypeError, match="no functions for generation; to_tflite"):
        export.load_artifact(artifact).generate(prompts)


def test_a_saved_model_that_stops_at_once(tmp_path):
    """No text behind the end; hidden tokens, ids without a token, nothing to write, no prompts, broken weights."""
    special = AddedToken("<|im_start|>", special=True)
    base = make("gpt2").tokenizer
    tokenizer = BytePairTokenizer(
        [*base.vocabulary, "<|im_start|>"], base.merges, base.special, template=base.template, added=[special]
    )
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 32}
    config = DecoderConfig(vocabulary_size=len(tokenizer) + 7, tied=False, **sizes)
    model = TextGenerator(config, tokenizer)
    respond = string_graph.generate_function(model, 32)

    def written(prompts, limit):
        count = len(prompts)
        found = respond(
            tf.constant(prompts, tf.string), tf.fill([count], limit), tf.zeros(count), tf.ones(count),
            tf.zeros(count, tf.int32),
        )  # fmt: skip
        return found["text"].numpy().tolist()

    model.decoder.final_norm.gamma.assign(np.zeros(8))
    model.decoder.final_norm.beta.assign(np.ones(8))
    for favorite, wanted in (("<|endoftext|>", b""), ("<|im_start|>", b""), ("a", b"aaaa"), (None, b"")):
        kernel = np.zeros((8, config.vocabulary_size), "float32")
        kernel[:, config.vocabulary_size - 1 if favorite is None else tokenizer.id(favorite)] = 2.0
        kernel[:, tokenizer.id("<|endoftext|>")] += 1.0  # behind an id without a token, the end is next
        model.head.kernel.assign(kernel)
        assert written(["a", "the"], 4) == [wanted] * 2
        assert [text.encode() for text in model.generate(["a", "the"], max_new_tokens=4)] == [wanted] * 2
    assert written(["a", "b"], 0) == [b"", b""]
    artifact = export.Artifact(export.to_saved_model(model, tmp_path / "1"))
    empty = {name: [] for name in TEXT_GENERATION.string_function(model, None, 32, False)[1]}
    assert artifact.strings(**empty)["text"].shape == (0,)
    model.head.kernel.assign(np.full_like(kernel, np.nan))
    with pytest.raises(tf.errors.InvalidArgumentError, match="no numbers"):
        written(["a"], 3)
    with pytest.raises(export.ExportError, match="not finite"):
        export.to_saved_model(model, tmp_path / "2")


def test_rows_without_tokens(pair):
    _, artifact = pair
    for rows in (0, 2):
        nothing = {name: np.zeros((rows, 5), "int32") for name in ("token_ids", "padding_mask")}
        logits = artifact.artifact.outputs(nothing)["logits"]
        assert logits.shape == (rows, 5, artifact.artifact._runtime.vocabulary_size) and not logits.any()


def test_draws_of_a_saved_model():
    """Frequencies of 1,000 draws are within four standard errors, and top-p leaves out the other tokens."""
    logits = tf.math.log(tf.tile([[0.5, 0.25, 0.15, 0.1]], [1_000, 1]))
    ones = tf.ones(1_000)
    for temperature, top_p, wanted in (
        (1.0, 1.0, [0.5, 0.25, 0.15, 0.1]),
        (1.0, 0.7, [2 / 3, 1 / 3, 0, 0]),
        (0.5, 1.0, np.array([0.5, 0.25, 0.15, 0.1]) ** 2 / (np.array([0.5, 0.25, 0.15, 0.1]) ** 2).sum()),
    ):
        settings = generation_graph.GraphSettings(ones, temperature * ones, top_p * ones, tf.range(1_000))
        tokens = generation_graph._choose(logits, settings, tf.constant(3))
        found = np.bincount(tokens, minlength=4) / 1_000
        np.testing.assert_array_less(np.abs(found - wanted), 4 * np.sqrt(0.25 / 1_000))
        assert (found[np.array(wanted) == 0] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt3", "llama"])
def test_litert_lm(kind, tmp_path):
    """LiteRT-LM reads the bundle and writes the same 64 tokens as the Keras model."""
    litert_lm = pytest.importorskip("litert_lm")
    model = make(kind)
    path = export.to_litert_lm(model, tmp_path, "float32", LENGTH)
    greedy = litert_lm.SamplerConfig(top_k=1, temperature=1.0)
    begin = "<|endoftext|>"
    with litert_lm.Engine(
        str(path), backend=litert_lm.Backend.CPU(), max_num_tokens=88, cache_dir=":nocache"
    ) as engine:
        for prompt in PROMPTS[:2]:
            with engine.create_session(
                apply_prompt_template=False, sampler_config=greedy, max_output_tokens=64
            ) as session:
                session.run_prefill([prompt])
                text = session.run_decode().texts[0]
            # the runtime's texts are C strings: they end at a NUL, which random weights may write
            assert text == model.generate([begin + prompt], max_new_tokens=64)[0].partition("\0")[0]
            assert len(text) > 30
    with pytest.raises(FileExistsError):
        export.to_litert_lm(model, tmp_path, "float32", LENGTH)
    with pytest.raises(TypeError, match="has no task"):
        export.to_litert_lm(model.decoder, tmp_path / "other")
