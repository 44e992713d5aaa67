"""FLAN-T5-small from a package on the index, whose ONNX files have its weights in 8 bits."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import save_file

import keras_plm as plm
from keras_plm import export

HOME = Path(__file__).parents[2]
SPAN = HOME / ".checkpoints" / "traceforge_title_model" / "data" / "span"
GOLDEN = Path(os.environ.get("KERAS_PLM_DATA", HOME.parent / "shared")) / "checkpoints/golden/flan_t5_small_titler"
CONFIG = {
    "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "vocab_size": 32_128, "d_model": 512,
    "d_kv": 64, "d_ff": 1_024, "num_layers": 8, "num_decoder_layers": 8, "num_heads": 6,
    "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "decoder_start_token_id": 0, "pad_token_id": 0,
    "eos_token_id": 1,
}  # fmt: skip


def weights():
    """The tensors under their names in Transformers: a node of ONNX has the path of its layer in its name."""
    found = {}
    for side in ("encoder", "decoder"):
        graph = onnx.load(str(SPAN / f"{side}.onnx")).graph
        stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in graph.node:
            name = re.sub(r"^/(enc|m/decoder|m)/", "", node.name).replace("/", ".")
            if node.op_type == "MatMulInteger":
                layer = name.removesuffix(".MatMul_quant")
                path = "lm_head.weight" if layer == "lm_head" else f"{side}.{layer}.weight"
                found[path] = np.ascontiguousarray(_float(stored, node.input[1]).T)
            elif node.op_type == "Gather" and node.input[0].endswith("_quantized") and node.input[0] in stored:
                path = f"{side}.{name.removesuffix('.Gather')}.weight"
                found["shared.weight" if "embed_tokens" in path or ".shared." in path else path] = _float(
                    stored, node.input[0]
                )
        for name, values in stored.items():
            if "layer_norm.weight" in name:
                found[f"{side}.{re.sub(r'^(enc|m[.]decoder)[.]', '', name)}"] = values
    return found


def _float(stored, name):
    base = name.removesuffix("_quantized")
    zero = stored[f"{base}_zero_point"].astype("float32")
    return (stored[name].astype("float32") - zero) * stored[f"{base}_scale"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    if not SPAN.is_dir():
        pytest.skip("no packages in .checkpoints; `make .checkpoints/installed`")
    folder = tmp_path_factory.mktemp("flan")
    save_file(weights(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    shutil.copy(SPAN / "tokenizer.json", folder)
    return plm.load(f"hf:{folder}")


@pytest.mark.slow
def test_it_translates(model):
    text = "translate English to German: The house is wonderful."
    assert model.generate([text]) == ["Das Haus ist wunderbar."]
    assert model.generate([text], num_beams=4) == ["Das Haus ist wunderbar."]
    right, wrong = model.score([text] * 2, ["Das Haus ist wunderbar.", "Das Auto ist wunderbar."])
    assert right.total > wrong.total + 2


@pytest.mark.slow
def test_it_translates_on_a_phone_and_on_a_server(model, tmp_path):
    text, wanted = "translate English to German: The house is wonderful.", "Das Haus ist wunderbar."
    path = export.to_tflite(model, tmp_path / "phone", "dynamic_int8", max_length=64)
    assert path.stat().st_size < 85_000_000  # 77 M weights; one embedding matrix and one head
    artifact = export.load_artifact(path)
    assert artifact.generate([text]) == artifact.generate([text], num_beams=4) == [wanted]
    served = export.load_artifact(export.to_saved_model(model, tmp_path / "served", max_length=64)).artifact
    settings = {"max_new_tokens": [20], "temperature": [0.0], "top_p": [1.0], "seed": [0]}
    assert served.strings(source=[text], **settings)["text"].tolist() == [wanted.encode()]


@pytest.mark.slow
def test_the_texts_of_transformers(model):
    """Golden outputs: tokens, greedy texts, hidden states and logits of Transformers with the same weights."""
    if not GOLDEN.with_suffix(".json").is_file():
        pytest.skip(f"no golden outputs at {GOLDEN}; set KERAS_PLM_DATA")
    examples = json.loads(GOLDEN.with_suffix(".json").read_text())["examples"]
    texts = [example["text"] for example in examples]
    assert model.source_ids(texts) == [example["input_ids"] for example in examples]
    for example, found in zip(examples, model.generate(texts, max_new_tokens=20), strict=True):
        wanted = [i for i in example["fp32_dequantised_greedy_ids"][1:] if i != 1]
        assert found == model.tokenizer.decode(wanted)
    with np.load(GOLDEN.with_suffix(".npz")) as file:
        golden = dict(file)
    ids, decoder = golden["input_ids"].astype("int32"), golden["decoder_input_ids"].astype("int32")
    hidden = model.encoder_decoder.encode(ids, np.ones_like(ids))[0]
    np.testing.assert_allclose(hidden, golden["encoder_last_hidden"], rtol=0, atol=1e-3)
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "decoder_token_ids": decoder}
    logits = np.asarray(model(inputs | {"decoder_padding_mask": np.ones_like(decoder)}))[0]
    found = np.take_along_axis(logits, golden["top_ids"], -1)
    np.testing.assert_allclose(found, golden["top_logits"], rtol=0, atol=1e-2)
