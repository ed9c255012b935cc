"""Small models for the tests of validation: ONNX text, with weights put in by name."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from slipway.samples.arrays import Array

HEAD = '<ir_version: 10, opset_import: ["": 18]>'


def graph(text: str, *, head: str = HEAD, **weights: Array) -> onnx.ModelProto:
    """A model from ONNX text; keyword arguments become initializers."""
    model = parser.parse_model(f"{head}\n{text}")
    for name, array in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def linear(weight: Array | None = None, *, head: str = HEAD) -> onnx.ModelProto:
    """y = x w, with w four by two."""
    w = np.arange(8, dtype=np.float32).reshape(4, 2) if weight is None else weight
    return graph("g (float[n, 4] x) => (float[n, 2] y) { y = MatMul(x, w) }", head=head, w=w)


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Write a model as it is, hostile or not."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def external(model: onnx.ModelProto, folder: Path, *, location: str = "weights.bin") -> Path:
    """Write a model whose only weight lies in `weights.bin`, said to be at `location`."""
    tensor = model.graph.initializer[0]
    (folder / "weights.bin").write_bytes(tensor.raw_data)
    point_at(tensor, location=location, offset="0", length=str(len(tensor.raw_data)))
    return save(model, folder)


def point_at(tensor: onnx.TensorProto, **entries: str) -> None:
    """Make a tensor external."""
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
