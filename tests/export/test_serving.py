"""The requests that TF Serving warms up with, read by the field numbers of its protocol buffers."""

import tensorflow as tf
import tensorflow_text  # noqa: F401  operators of the SavedModel
from tensorflow.core.framework.tensor_pb2 import TensorProto

from keras_plm import export


def fields(content: bytes) -> list[tuple[int, bytes]]:
    """(number, content) of the fields of a message, all of which have a length."""

    def varint(at: int) -> tuple[int, int]:
        number = shift = 0
        while True:
            byte = content[at]
            number, shift, at = number | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                return number, at

    found, at = [], 0
    while at < len(content):
        key, at = varint(at)
        assert key & 7 == 2, key
        length, at = varint(at)
        found.append((key >> 3, content[at : at + length]))
        at += length
    return found


def test_warm_up_requests_can_be_answered(classifier, tmp_path):
    folder = export.to_saved_model(classifier, tmp_path / "1")
    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(file))]
    assert records
    served = tf.saved_model.load(str(folder))
    for record in records:
        ((log, predict),) = fields(record)
        ((request, content),) = fields(predict)
        assert (log, request) == (6, 1)  # PredictionLog.predict_log.request
        (spec_number, spec), *inputs = fields(content)
        assert spec_number == 1 and {number for number, _ in inputs} == {2}
        signature = dict(fields(spec))[3].decode()
        arguments = {}
        for _, entry in inputs:
            name, tensor = (dict(fields(entry))[number] for number in (1, 2))
            arguments[name.decode()] = tf.constant(tf.make_ndarray(TensorProto.FromString(tensor)))
        found = served.signatures[signature](**arguments)
        texts = [text.decode() for text in arguments["text"].numpy()]
        assert texts and found["label"].numpy().astype(str).tolist() == classifier.predict_labels(texts)
