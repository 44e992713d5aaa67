"""Warm-up requests: TF Serving runs them when it loads a model, so that the first request is not slow."""

from pathlib import Path

import tensorflow as tf

WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"


def write_warm_up(folder: Path, signature: str, requests: list[dict[str, tf.Tensor]]) -> None:
    """Write `assets.extra/tf_serving_warmup_requests` of a SavedModel: a TFRecord of `PredictionLog`.

    The three protocol-buffer messages around a tensor are encoded here. Their package, tensorflow-serving-api, has
    nothing else that we need.

    Args:
        folder: the SavedModel folder.
        signature: name of the signature to call.
        requests: batches; each has a tensor for every input.

    Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup
    """
    (folder / WARM_UP).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / WARM_UP)) as file:
        for request in requests:
            spec = _field(1, b"model") + _field(3, signature.encode())  # ModelSpec: name, signature_name
            inputs = b"".join(
                _field(2, _field(1, name.encode()) + _field(2, tf.make_tensor_proto(value).SerializeToString()))
                for name, value in request.items()
            )  # PredictRequest: map of inputs
            file.write(_field(6, _field(1, _field(1, spec) + inputs)))  # PredictionLog: predict_log: request


def _field(number: int, content: bytes) -> bytes:
    """A protocol-buffer field with bytes, a string or a message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    most = bytearray()
    while number > 127:
        most.append(number & 127 | 128)
        number >>= 7
    return bytes([*most, number])
