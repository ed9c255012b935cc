"""What skl2onnx's graphs need before they are ours: names, shapes, the opset asked for."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from slipway.errors import CheckFailed, ExportFailed
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array
from slipway.validation.replay import fit_case


def rename_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Give outputs our names; outputs beyond those that the source answers are dropped."""
    graph = model.graph
    if len(graph.output) < len(names):
        raise ExportFailed(
            f"skl2onnx gave {len(graph.output)} outputs, the model answers {', '.join(names)}"
        )
    kept = list(graph.output)[: len(names)]
    for value, name in zip(kept, names, strict=True):
        if value.name == name:
            continue
        _rename(graph, name, f"{name}_inner")
        _rename(graph, value.name, name)
        value.name = name
    del graph.output[:]
    graph.output.extend(kept)


def rename_inputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Give inputs their names back: skl2onnx calls one `label1` where its output is `label`."""
    for value, name in zip(model.graph.input, names, strict=True):
        if value.name != name:
            _rename(model.graph, name, f"{name}_inner")
            _rename(model.graph, value.name, name)
            value.name = name


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def name_batch(model: onnx.ModelProto) -> None:
    """skl2onnx leaves the batch dimension without a name."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_param = "batch"


def pin_opset(model: onnx.ModelProto, opset: int) -> None:
    """skl2onnx writes the lowest opset that its operators need; declare the one asked for.

    It was told that target and picked operators for it; the checker and parity judge the result.
    """
    for entry in model.opset_import:
        if entry.domain in {"", "ai.onnx"}:
            entry.version = max(entry.version, opset)
            return
    model.opset_import.append(onnx.helper.make_opsetid("", opset))


def fit_shapes(path: Path, feeds: Mapping[str, Array], answers: Mapping[str, Array]) -> None:
    """Give each output of the graph in a file the rank of the estimator's own answer.

    skl2onnx 1.20 answers (n, 1) where OneVsOneClassifier and QuadraticDiscriminantAnalysis answer
    (n,), and the other way round for SGDOneClassSVM.

    Raises:
        ExportFailed: when the graph does not load, or does not run on the feeds.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return  # an environment of the framework's own need not have it; parity tells the shapes
    try:
        session = Session(path, optimization="basic")
        texts = {name: it.astype(str) for name, it in feeds.items() if it.dtype.kind == "O"}
        found = session.run(fit_case(session.inputs, {**feeds, **texts}))
    except CheckFailed as error:
        raise ExportFailed(
            f"skl2onnx makes a graph that cannot be used: {error}; put another estimator in its "
            "place, or fit it to classes that are whole numbers"
        ) from error
    wanted = {
        name: answer.shape
        for name, answer in answers.items()
        if found[name].shape != answer.shape and found[name].size == answer.size
    }
    if not wanted:
        return
    model = onnx.load(path)
    for name, shape in wanted.items():
        _reshape(model.graph, name, shape)
    onnx.save(model, path)


def _reshape(graph: onnx.GraphProto, name: str, shape: Sequence[int]) -> None:
    inner = f"{name}_unshaped"
    _rename(graph, name, inner)
    target = np.array([-1, *shape[1:]], dtype=np.int64)
    graph.initializer.append(onnx.numpy_helper.from_array(target, f"{name}_shape"))
    graph.node.append(onnx.helper.make_node("Reshape", [inner, f"{name}_shape"], [name]))
    (value,) = (output for output in graph.output if output.name == name)
    kind = value.type.tensor_type.elem_type
    value.type.CopyFrom(onnx.helper.make_tensor_type_proto(kind, ["batch", *shape[1:]]))
