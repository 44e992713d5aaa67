"""One contestant: bytes and latency of a MINI classifier as TFLite, float32 and dynamic int8; prints JSON.

python tflite_latency.py keras_plm|keras_hub
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

LENGTH = 128


def keras_plm_files(folder: Path) -> dict[str, Path]:
    import keras_plm as plm
    from keras_plm import export
    from keras_plm.text import SPECIAL_TOKENS

    letters = [chr(c) for c in range(97, 123)]
    pieces = [*SPECIAL_TOKENS, *letters, *(f"##{c}" for c in letters)]
    tokenizer = plm.WordPieceTokenizer([*pieces, *(f"[unused{i}]" for i in range(30_522 - len(pieces)))])
    model = plm.Classifier(plm.MINI, ["a", "b"], tokenizer)
    return {s: export.to_tflite(model, folder / s, s, LENGTH) for s in ("float32", "dynamic_int8")}


def keras_hub_files(folder: Path) -> dict[str, Path]:
    import keras
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30_522,
        num_layers=4,
        num_heads=4,
        hidden_dim=256,
        intermediate_dim=1024,
        max_sequence_length=512,
    )
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=None, activation="softmax")
    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = {name: keras.Input((LENGTH,), batch_size=1, dtype="int32", name=name) for name in names}
    static = keras.Model(inputs, model(inputs))
    static.export(folder / "saved_model", verbose=False)
    files = {}
    for scheme in ("float32", "dynamic_int8"):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
        if scheme == "dynamic_int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        files[scheme] = folder / f"{scheme}.tflite"
        files[scheme].write_bytes(converter.convert())
    return files


def main() -> None:
    make = {"keras_plm": keras_plm_files, "keras_hub": keras_hub_files}[sys.argv[1]]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for scheme, path in make(Path(folder)).items():
            interpreter = Interpreter(str(path), num_threads=1)
            interpreter.allocate_tensors()
            for detail in interpreter.get_input_details():
                interpreter.set_tensor(detail["index"], np.ones((1, LENGTH), "int32"))
            milliseconds = []
            for _ in range(120):
                start = time.perf_counter()
                interpreter.invoke()
                milliseconds.append(1e3 * (time.perf_counter() - start))
            figures[f"{scheme}_bytes"] = path.stat().st_size
            figures[f"{scheme}_p50_ms"] = round(float(np.median(milliseconds[20:])), 3)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
