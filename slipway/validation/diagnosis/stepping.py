"""Every value inside a graph for one run: as onnxruntime computes it, and in float64.

float64 comes from ONNX's reference operators, node by node. A node that they do not have keeps
onnxruntime's own value, so that what follows it can still be judged.
"""

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from slipway.errors import CheckFailed
from slipway.providers.sessions import Session
from slipway.providers.signature import read_graph
from slipway.samples.arrays import Array, Arrays
from slipway.validation.replay import fit_case

SECONDS: Final = 30.0
"""What the reference operators, which are written in Python, may take."""
WEIGHT_BYTES: Final = 1_000_000_000
"""A model with more weights is not stepped through: in float64 they would take three times that."""
_FLOAT_ATTRIBUTES: Final = ("to", "dtype")

Values = dict[str, Array]


def open_graph(model: Path) -> onnx.ModelProto | None:
    """The model with its weights and without functions of its own; None where it is too large."""
    graph = read_graph(model)
    files = {
        model.parent / entry.value
        for tensor in graph.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    if sum(file.stat().st_size for file in (model, *files)) > WEIGHT_BYTES:
        return None
    if files:
        graph = onnx.load(model)
    return onnx.inliner.inline_local_functions(graph) if graph.functions else graph


def runtime_values(graph: onnx.ModelProto, inputs: Arrays, scratch: Path) -> Values | None:
    """What onnxruntime computes for every tensor, unoptimized; None where it does not run."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(graph)
    known = {value.name for value in exposed.graph.output}
    for node in exposed.graph.node:
        names = [name for name in node.output if name and name not in known]
        exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        known.update(names)
    path = scratch / "exposed.onnx"
    try:
        onnx.save(exposed, path)
        session = Session(path, optimization="none")
        feeds = fit_case(session.inputs, inputs)
        values: dict[str, Any] = {**feeds, **session.run(feeds)}
    except CheckFailed:  # a sequence or a map inside, which can be no output
        return None
    finally:
        path.unlink(missing_ok=True)
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def float64_values(
    graph: onnx.ModelProto,
    inputs: Arrays,
    known: Mapping[str, Array],
    *,
    seconds: float = SECONDS,
) -> Values:
    """The same in float64, as far as the time allowed reaches.

    Args:
        graph: The model.
        inputs: What it is run on.
        known: onnxruntime's values, for nodes that cannot be computed here.
        seconds: The time allowed.
    """
    wide = widen(graph)
    try:
        evaluator: Any = ReferenceEvaluator(wide)
    except Exception:  # noqa: BLE001 - an operator that it does not have, refused in any way
        return {}
    values: dict[str, Any] = {name: _wide(array) for name, array in inputs.items()}
    values |= {tensor.name: numpy_helper.to_array(tensor) for tensor in wide.graph.initializer}
    values[""] = None
    deadline = time.monotonic() + seconds
    for node, operator in zip(wide.graph.node, evaluator.rt_nodes_, strict=True):
        if time.monotonic() > deadline:
            break
        values.update(_step(node, operator, values, known))
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def _step(
    node: onnx.NodeProto,
    operator: Any,  # noqa: ANN401 - onnx's OpRun
    values: Mapping[str, Any],
    known: Mapping[str, Array],
) -> dict[str, Any]:
    """One node's outputs."""
    with _quiet():
        try:
            context = {"context": dict(values)} if operator.need_context() else {}
            outputs = operator.run(*(values[name] for name in node.input), **context)
            return dict(zip(node.output, map(_wide_if_array, outputs), strict=False))
        except Exception:  # noqa: BLE001 - reference operators raise whatever they like
            return {name: _wide(known[name]) for name in node.output if name in known}


def run_alone(
    node: onnx.NodeProto, graph: onnx.ModelProto, values: Mapping[str, Array]
) -> Values | None:
    """One node by ONNX's reference operator on these values, in their own types."""
    weights = {tensor.name: tensor for tensor in graph.graph.initializer}
    feeds = {
        name: values[name] if name in values else numpy_helper.to_array(weights[name])
        for name in node.input
        if name and (name in values or name in weights)
    }
    opsets = {entry.domain: entry.version for entry in graph.opset_import}
    with _quiet():
        try:
            outputs = ReferenceEvaluator(node, opsets=opsets).run(None, feeds)
        except Exception:  # noqa: BLE001 - as above
            return None
    return dict(zip(node.output, outputs, strict=False))


def widen(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose float32 constants, and casts to float32, are float64."""
    wide = onnx.ModelProto()
    wide.CopyFrom(graph)
    for inner in _graphs(wide.graph):
        for tensor in inner.initializer:
            _widen_tensor(tensor)
        for node in inner.node:
            _widen_node(node)
    return wide


def _widen_node(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name in _FLOAT_ATTRIBUTES and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.DOUBLE
        elif attribute.type == onnx.AttributeProto.TENSOR:
            _widen_tensor(attribute.t)
    if node.op_type != "Constant":
        return
    for attribute in list(node.attribute):
        if attribute.name in {"value_float", "value_floats"}:
            value = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            node.attribute.remove(attribute)
            tensor = numpy_helper.from_array(np.asarray(value, dtype=np.float64))
            node.attribute.append(helper.make_attribute("value", tensor))


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for inner in attribute.graphs:
                yield from _graphs(inner)


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _wide_if_array(value: Any) -> Any:  # noqa: ANN401 - an array, or a list of them
    return _wide(value) if isinstance(value, np.ndarray) else value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
