"""What a .tflite computes with."""

from pathlib import Path

from tensorflow.lite.python import schema_py_generated as schema

_TYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if name.isupper()}
_OPERATORS = {number: name for name, number in vars(schema.BuiltinOperator).items() if name.isupper()}


def operands(path: Path, operator: str) -> list[tuple[str, ...]]:
    """The types of an operator's inputs of two axes and more, each time that it occurs, in the order of the file."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(path.read_bytes(), 0))
    (graph,) = model.subgraphs
    names = [_OPERATORS[code.builtinCode] for code in model.operatorCodes]
    return [
        tuple(_TYPES[graph.tensors[i].type] for i in found.inputs if i >= 0 and len(graph.tensors[i].shape) > 1)
        for found in graph.operators
        if names[found.opcodeIndex] == operator
    ]
