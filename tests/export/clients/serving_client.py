"""TF Serving's API over gRPC: its stubs ask a server of SavedModels that knows nothing of keras_plm.

    python serving_client.py FOLDER…

Each folder has the layout of TF Serving, NAME/VERSION. The warm-up requests of each model are read with TF Serving's
own messages, and sent. Prints a JSON line for each request: the name, the inputs and the outputs.
"""

import json
import sys
import tempfile
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  operators of the SavedModels
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata, as TF Serving does them: the newest version of each model."""

    def __init__(self, folders):
        newest = {folder.name: max(folder.iterdir(), key=lambda path: int(path.name)) for folder in folders}
        self.paths = newest
        self.models = {name: tf.saved_model.load(str(path)) for name, path in newest.items()}

    def Predict(self, request, context):  # noqa: N802
        function = self.models[request.model_spec.name].signatures[request.model_spec.signature_name]
        found = function(**{name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()})
        answer = predict_pb2.PredictResponse(model_spec=request.model_spec)
        for name, value in found.items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return answer

    def GetModelMetadata(self, request, context):  # noqa: N802
        path = self.paths[request.model_spec.name] / "saved_model.pb"
        saved = SavedModel.FromString(path.read_bytes())
        answer = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        answer.metadata["signature_def"].Pack(
            get_model_metadata_pb2.SignatureDefMap(signature_def=saved.meta_graphs[0].signature_def)
        )
        return answer


def values(tensors):
    """The tensors of a message as lists; strings as text."""
    arrays = {name: tf.make_ndarray(value) for name, value in tensors.items()}
    decode = np.vectorize(lambda text: text.decode("utf-8"), otypes=[object])
    return {
        name: (decode(array) if array.dtype == object and array.size else array).tolist()
        for name, array in arrays.items()
    }


def main():
    folders = [Path(folder) for folder in sys.argv[1:]]
    service = Service(folders)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    address = f"unix:{tempfile.mkdtemp()}/socket"  # works without any network
    server.add_insecure_port(address)
    server.start()
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address))
    for name, path in service.paths.items():
        question = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        question.model_spec.name = name
        signatures = get_model_metadata_pb2.SignatureDefMap()
        stub.GetModelMetadata(question, 60).metadata["signature_def"].Unpack(signatures)
        taken = signatures.signature_def["serving_default"]
        file = path / "assets.extra" / "tf_serving_warmup_requests"
        for record in tf.data.TFRecordDataset(str(file)):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            request.model_spec.name = name
            for key, value in request.inputs.items():
                declared = taken.inputs[key]
                assert value.dtype == declared.dtype and len(declared.tensor_shape.dim) == len(value.tensor_shape.dim)
            answer = stub.Predict(request, 300)
            assert set(answer.outputs) == set(taken.outputs), (set(answer.outputs), set(taken.outputs))
            print(json.dumps({"model": name, "inputs": values(request.inputs), "outputs": values(answer.outputs)}))
    server.stop(None)


if __name__ == "__main__":
    main()
