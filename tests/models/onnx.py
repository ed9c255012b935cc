"""ONNX files as other tools leave them: a trained net in a file, with external data, in parts."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from slipway.protocols import ExportRequest
from slipway.samples.arrays import Array
from slipway.specs import SourceSpec


def trained_weights() -> dict[str, Array]:
    """Two dense layers, trained for two hundred steps to tell which of three sums is largest."""
    random = np.random.default_rng(0)
    x = random.standard_normal((128, 4)).astype(np.float32)
    target = np.eye(3, dtype=np.float32)[x[:, :3].argmax(1)]
    first = random.standard_normal((4, 16)).astype(np.float32) * 0.5
    second = random.standard_normal((16, 3)).astype(np.float32) * 0.5
    for _ in range(200):
        hidden = np.maximum(x @ first, 0)
        scores = np.exp(hidden @ second)
        error = (scores / scores.sum(1, keepdims=True) - target) / len(x)
        back = error @ second.T * (hidden > 0)
        second -= hidden.T @ error
        first -= x.T @ back
    return {"first": first, "second": second}


def trained_net(*, opset: int = 18, ir_version: int = 10) -> onnx.ModelProto:
    """The net, with what a tool leaves in a graph: documentation and metadata."""
    nodes = [
        helper.make_node(
            "MatMul", ["x", "first"], ["sums"], name="a", doc_string="/home/me/net.py"
        ),
        helper.make_node("Relu", ["sums"], ["hidden"], name="b"),
        helper.make_node("MatMul", ["hidden", "second"], ["scores"], name="c"),
        helper.make_node("Softmax", ["scores"], ["probabilities"], name="d", axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(array, name) for name, array in trained_weights().items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    )
    model.producer_name = "another tool"
    model.metadata_props.add(key="trained in", value="/home/me")
    return model


def save_external(model: onnx.ModelProto, folder: Path, *, location: str = "weights.bin") -> Path:
    """The model as model.onnx in the folder, all of its weights in one file beside it."""
    onnx.save(
        model,
        folder / "model.onnx",
        save_as_external_data=True,
        location=location,
        size_threshold=0,
    )
    return folder / "model.onnx"


def move_weights(path: Path, location: str) -> None:
    """Let the model say that its external data is elsewhere."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())


def request_for(path: Path, **asked: Any) -> ExportRequest:
    """Ask for the release of an ONNX source."""
    return ExportRequest(source=SourceSpec(framework="onnx", uri=str(path)), path=path, **asked)
