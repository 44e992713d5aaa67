"""TFLite metadata: vocabulary and labels inside a `.tflite`, for MediaPipe Tasks and the TFLite Task Library."""

import io
import zipfile
from typing import Any

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema

from keras_plm.export.signature import Signature
from keras_plm.tasks import TaskModel
from keras_plm.text import WordPieceTokenizer

# Numbers from metadata_schema.fbs: file types, the type of the process unit, and the slot of each written field.
_LABELS, _VOCABULARY = 2, 5
_BERT_TOKENIZER = 4
_INPUT_NAMES = {"token_ids": "ids", "segment_ids": "segment_ids", "padding_mask": "mask"}
_OUTPUT_NAMES = {
    "probabilities": "probability",  # the Task Library crashes on any other name
    "vectors": "embedding",
    "start": "start_logits",
    "end": "end_logits",
}


def check_metadata(model: TaskModel, signature: Signature) -> None:
    """Raise ValueError if these runtimes would tokenize or answer differently than the model. The error says why."""
    problem = signature.spec.task_library_problem(signature.settings, signature.length) or _problem(model, signature)
    if problem is not None:
        raise ValueError(f"metadata=True is for MediaPipe Tasks and the TFLite Task Library: {problem}")


def _problem(model: TaskModel, signature: Signature) -> str | None:
    """What these runtimes do not support, for any task; None if all is supported."""
    tokenizer, labels, special = model.needs_tokenizer(), signature.labels, ("[CLS]", "[SEP]", "[UNK]", 0)
    if not isinstance(tokenizer, WordPieceTokenizer):
        return f"they support BERT's tokenizer, not a {type(tokenizer).__name__}"
    if not tokenizer.lowercase:
        return "they lower-case every text, but this vocabulary is cased"
    if (tokenizer.special.cls, tokenizer.special.sep, tokenizer.special.unk, tokenizer.pad_id) != special:
        return "they need [PAD] as token 0, and tokens called [CLS], [SEP] and [UNK]"
    if signature.quantization.startswith("int4"):
        return "MediaPipe 0.10.33 refuses four-bit weights"
    if (
        signature.scheme.by_litert
    ):  # LiteRT's quantizer stores large weights (256 kB) behind the model; `Pack` drops them
        return f"after metadata is added, a file in {signature.scheme} cannot be opened; use dynamic_int8"
    if labels is not None and any(len(label.splitlines()) != 1 or label != label.strip() for label in labels):
        return f"each label must be one line without white space around it, unlike some of these: {labels}"
    return None


def with_metadata(content: bytes, model: TaskModel, signature: Signature) -> bytes:
    """Add the vocabulary and labels to a `.tflite` file. Other runtimes can still read it.

    Args:
        content: content of the file, which has one signature.
        model: the model; its vocabulary is added.
        signature: the signature of the artifact.

    Source: the schema "M001" of TFLite's metadata; the files are a ZIP archive after the model.
    """
    files = dict(model.needs_tokenizer().files())
    if signature.labels is not None:
        files["labels.txt"] = "".join(f"{label}\n" for label in signature.labels).encode()
    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(_facts(parsed, signature))
    parsed.buffers.append(buffer)
    entry.name, entry.buffer = "TFLITE_METADATA", len(parsed.buffers) - 1
    parsed.metadata = [*(parsed.metadata or []), entry]
    builder = flatbuffers.Builder(len(content) + 100_000)
    builder.Finish(parsed.Pack(builder), b"TFL3")
    whole = io.BytesIO(bytes(builder.Output()))
    whole.seek(0, io.SEEK_END)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, file in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), file)  # the same bytes each time
    return whole.getvalue()


def _facts(parsed: Any, signature: Signature) -> bytes:
    """The metadata table. It lists tensors in the order of the graph, which differs from the signature's order."""
    graph, names = parsed.subgraphs[0], parsed.signatureDefs[0]
    name_of = {m.tensorIndex: m.name.decode() for m in (*names.inputs, *names.outputs)}
    builder = flatbuffers.Builder(1_024)
    inputs = [_tensor(builder, _INPUT_NAMES[name_of[i]]) for i in graph.inputs]
    labels = [("labels.txt", _LABELS)] if signature.labels is not None else []
    outputs = [_tensor(builder, _OUTPUT_NAMES[name_of[i]], labels) for i in graph.outputs]
    vocabulary = _vector(builder, [_file(builder, "vocab.txt", _VOCABULARY)])
    unit = _table(builder, 2, uint8={0: _BERT_TOKENIZER}, offsets={1: _table(builder, 1, offsets={0: vocabulary})})
    parts = {2: _vector(builder, inputs), 3: _vector(builder, outputs), 5: _vector(builder, [unit])}
    subgraphs = _vector(builder, [_table(builder, 10, offsets=parts)])
    name, version = builder.CreateString(signature.task), builder.CreateString("1.1.0")
    builder.Finish(_table(builder, 8, offsets={0: name, 3: subgraphs, 7: version}), b"M001")
    return bytes(builder.Output())


def _tensor(builder: Any, name: str, files: list[tuple[str, int]] | None = None) -> int:
    offsets = {0: builder.CreateString(name)}
    if files:
        offsets[6] = _vector(builder, [_file(builder, *file) for file in files])
    return _table(builder, 7, offsets=offsets)


def _file(builder: Any, name: str, kind: int) -> int:
    return _table(builder, 5, int8={2: kind}, offsets={0: builder.CreateString(name)})


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _table(
    builder: Any,
    slots: int,
    offsets: dict[int, int],
    int8: dict[int, int] | None = None,
    uint8: dict[int, int] | None = None,
) -> int:
    builder.StartObject(slots)
    for slot, value in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, value, 0)
    for slot, value in (int8 or {}).items():
        builder.PrependInt8Slot(slot, value, 0)
    for slot, value in (uint8 or {}).items():
        builder.PrependUint8Slot(slot, value, 0)
    return builder.EndObject()
