"""Latency of one row of 128 tokens on 1 and 2 threads, of the same weights made by us, by keras-hub and by onnxruntime.

    python tests/bench/phone_latency.py      (nothing else should run)

A MiniLM's sizes (6 blocks of 384) with random weights. The contestants take turns, so that a slow minute of the machine
meets all of them; the median of all calls. A table in Markdown, and how many operators of ours XNNPACK computes.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import keras_hub  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import tensorflow as tf  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402
from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: E402
from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: E402

import keras_plm as plm  # noqa: E402
from keras_plm import export  # noqa: E402

LENGTH, ROUNDS, CALLS = 128, 6, 15
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
OURS = ("float32", "dynamic_int8")


def models() -> tuple[keras.Model, plm.Classifier]:
    """keras-hub's classifier, and ours with the same weights."""
    # some draws, that of seed 0 too, take eight bits so badly that the exporter refuses them
    keras.utils.set_random_seed(1)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30_522, num_layers=6, num_heads=12, hidden_dim=384, intermediate_dim=1536,
        max_sequence_length=512,
    )  # fmt: skip
    theirs = keras_hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=None, activation="softmax")
    tokenizer = plm.WordPieceTokenizer([*SPECIAL, *(f"word{i}" for i in range(30_522 - len(SPECIAL)))])
    encoder = plm.checkpoints.from_keras_hub(backbone, tokenizer)
    ours = plm.Classifier(encoder.config, ["a", "b"], tokenizer, encoder=encoder)
    ours.head.dense.set_weights(theirs.output_dense.get_weights())
    return theirs, ours


def static_inputs() -> dict[str, keras.KerasTensor]:
    """One row of fixed length, for keras-hub's models."""
    names = ("token_ids", "segment_ids", "padding_mask")
    return {name: keras.Input((LENGTH,), batch_size=1, dtype="int32", name=name) for name in names}


def keras_hub_file(model: keras.Model, folder: Path, int8: bool) -> Path:
    """The way that keras-hub's users have: an exported SavedModel of fixed shape, and the converter."""
    inputs = static_inputs()
    if not (folder / "saved_model").exists():
        keras.Model(inputs, model(inputs)).export(folder / "saved_model", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path = folder / f"hub_{'int8' if int8 else 'float32'}.tflite"
    path.write_bytes(converter.convert())
    return path


def int8_onnx(path: Path) -> Path:
    """The same file as onnxruntime's own quantizer makes it dynamic int8."""
    prepared, quantized = path.with_suffix(".prepared.onnx"), path.with_suffix(".int8.onnx")
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    quantize_dynamic(prepared, quantized, weight_type=QuantType.QInt8)
    return quantized


def litert(path: Path, threads: int) -> Callable[[], np.ndarray]:
    """One call of a .tflite."""
    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.ones((1, LENGTH), "int32"))
    output = interpreter.get_output_details()[0]["index"]

    def call() -> np.ndarray:
        interpreter.invoke()
        return interpreter.get_tensor(output)  # two numbers

    return call


def onnx(path: Path, threads: int) -> Callable[[], np.ndarray]:
    """One call of an ONNX file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {node.name: np.ones((1, LENGTH), "int32") for node in session.get_inputs()}
    return lambda: session.run(None, feed)[0]


def main() -> None:
    """Make the files, and let them take turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        theirs, ours = models()
        # random weights take four bits and static int8 so badly that the exporter refuses them
        files = {f"keras_plm {scheme}": export.to_tflite(ours, folder / scheme, scheme, LENGTH) for scheme in OURS}
        onnx_file = export.to_onnx(ours, folder / "ours.onnx", max_length=LENGTH)
        files["onnxruntime float32"] = onnx_file
        files["onnxruntime dynamic int8"] = int8_onnx(onnx_file)
        files["keras-hub float32"] = keras_hub_file(theirs, folder, int8=False)
        files["keras-hub dynamic_int8"] = keras_hub_file(theirs, folder, int8=True)
        inputs, hub_onnx = static_inputs(), folder / "hub.onnx"
        static = keras.Model(inputs, theirs(inputs))
        static({name: np.ones((1, LENGTH), "int32") for name in inputs})  # what was never called is not exported
        static.export(hub_onnx, format="onnx", verbose=False)
        files["keras-hub, onnxruntime dynamic int8"] = int8_onnx(hub_onnx)
        calls = {
            (name, threads): (onnx if path.suffix == ".onnx" else litert)(path, threads)
            for name, path in files.items()
            for threads in (1, 2)
        }
        wanted = np.asarray(theirs({name: np.ones((1, LENGTH), "int32") for name in inputs}))
        for (name, _), call in calls.items():  # nobody is fast with another answer
            error = np.abs(call() - wanted).max()
            assert error < (0.1 if "int8" in name else 1e-3), f"{name} is {error} away from keras-hub's model"
        times: dict = {key: [] for key in calls}
        for _ in range(ROUNDS):
            for key, call in calls.items():
                call()
                for _ in range(CALLS):
                    start = time.perf_counter()
                    call()
                    times[key].append(1e3 * (time.perf_counter() - start))
        found = {key: float(np.median(values)) for key, values in times.items()}
        print("| artifact | MB | ms, 1 thread | ms, 2 threads | on XNNPACK |\n|---|---:|---:|---:|---:|")
        for name, path in files.items():
            share = ""
            if name.startswith("keras_plm"):
                artifact = export.Artifact(path)
                share = f"{artifact.delegated().total()} of {artifact.operators().total()}"
            print(
                f"| {name} | {path.stat().st_size / 1e6:.1f} | {found[name, 1]:.2f} | {found[name, 2]:.2f} | {share} |"
            )
        peers = ("onnxruntime dynamic int8", "keras-hub, onnxruntime dynamic int8", "keras-hub dynamic_int8")
        for peer in peers:
            ratios = [found["keras_plm dynamic_int8", threads] / found[peer, threads] for threads in (1, 2)]
            print(f"ours beside {peer}: {ratios[0]:.2f}× on 1 thread, {ratios[1]:.2f}× on 2")


if __name__ == "__main__":
    main()
