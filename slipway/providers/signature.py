"""What a model takes and gives, read from its graph without loading weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, cast

import onnx
from google.protobuf.message import DecodeError

from slipway.errors import CheckFailed, SourceNotFound, UnreadableModel
from slipway.reports import TensorInfo
from slipway.specs import DType

DTYPES: Final[dict[int, DType]] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.BOOL: "bool",
    onnx.TensorProto.STRING: "string",
}


def read_graph(path: Path) -> onnx.ModelProto:
    """Parse a model's graph, leaving external data where it is.

    Raises:
        SourceNotFound: when there is no file.
        UnreadableModel: when it is no ONNX model.
    """
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except FileNotFoundError as error:
        raise SourceNotFound(f"no model at {path}") from error
    except (DecodeError, OSError, ValueError) as error:
        raise UnreadableModel(
            f"{path.name} is not a readable ONNX model ({error}); is the file complete?"
        ) from error
    if not model.graph.node and not model.graph.output:
        raise UnreadableModel(f"{path.name} holds no graph; is it an ONNX model?")
    return model


def model_inputs(model: onnx.ModelProto) -> tuple[TensorInfo, ...]:
    """The inputs that a caller must give: those that no initializer fills."""
    filled = {tensor.name for tensor in model.graph.initializer}
    return _describe(value for value in model.graph.input if value.name not in filled)


def model_outputs(model: onnx.ModelProto) -> tuple[TensorInfo, ...]:
    """The outputs, in the model's order."""
    return _describe(model.graph.output)


def _describe(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorInfo, ...]:
    described = []
    for value in values:
        if not value.type.HasField("tensor_type"):
            raise CheckFailed(f"{value.name} is a sequence or a map; only tensors can be served")
        tensor = value.type.tensor_type
        if tensor.elem_type not in DTYPES:
            name = onnx.TensorProto.DataType.Name(
                cast("onnx.TensorProto.DataType", tensor.elem_type)
            )
            raise CheckFailed(f"{value.name} has element type {name}, which no input data can have")
        described.append(
            TensorInfo(
                name=value.name,
                dtype=DTYPES[tensor.elem_type],
                shape=tuple(_size(dim) for dim in tensor.shape.dim),
            )
        )
    return tuple(described)


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None
