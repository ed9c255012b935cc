"""Whether a constant of the graph is too fine for float32: an offset, a mean, a scale.

A converter rounds a model's float64 numbers to float32. What that may cost is found by trying it:
each constant is moved by its last bit, in float64 otherwise.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from slipway.reports import Diagnosis
from slipway.samples.arrays import Array
from slipway.validation.comparing import measure
from slipway.validation.diagnosis.departures import reads
from slipway.validation.diagnosis.divergence import Opened
from slipway.validation.diagnosis.stepping import float64_values

SECONDS: Final = 20.0
_MOST: Final = 64
_SHARE: Final = 0.2
"""The last bit of one constant has to make up at least this part of the error."""


@dataclass(frozen=True)
class Constant:
    """A float32 constant: of the graph, or an attribute of one node."""

    node: onnx.NodeProto
    name: str
    attribute: bool


def find_rounded_constant(opened: Opened) -> Diagnosis | None:
    """The constant whose last bit moves the wrong outputs by as much as they are off."""
    error = _distance(opened.case.outputs, opened.values, opened)
    constants = list(_constants(opened.graph.graph))
    if not error or len(constants) > _MOST:
        return None
    exact = float64_values(opened.graph, opened.case.inputs, opened.values)
    deadline = time.monotonic() + SECONDS
    worst: tuple[float, Constant] | None = None
    for constant in constants:
        moved = float64_values(_moved(opened.graph, constant), opened.case.inputs, opened.values)
        effect = _distance(exact, moved, opened)
        if worst is None or effect > worst[0]:
            worst = effect, constant
        if time.monotonic() > deadline:
            break
    if worst is None or worst[0] < _SHARE * error:
        return None
    effect, constant = worst
    node = constant.node.name or constant.node.output[0]
    return Diagnosis(
        kind="float32-cliff",
        sentence=f"float32 holds {constant.name} of node {node} ({constant.node.op_type}) too "
        f"coarsely: its last bit alone moves the outputs by {effect:.2g}, and they are off by "
        f"{error:.2g}; subtract large offsets from the data before the model is trained",
        evidence={"constant": constant.name, "node": node, "moves by": effect, "off by": error},
    )


def _constants(graph: onnx.GraphProto) -> Iterator[Constant]:
    readers: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        for name in reads(node):
            readers.setdefault(name, node)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name in readers:
            yield Constant(readers[tensor.name], tensor.name, attribute=False)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.floats and node.output:
                yield Constant(node, attribute.name, attribute=True)


def _moved(graph: onnx.ModelProto, constant: Constant) -> onnx.ModelProto:
    """A copy whose constant is off by one in the last place, up and down by turns."""
    copied = onnx.ModelProto()
    copied.CopyFrom(graph)
    if not constant.attribute:
        tensor = next(t for t in copied.graph.initializer if t.name == constant.name)
        tensor.CopyFrom(
            numpy_helper.from_array(_nudged(numpy_helper.to_array(tensor)), tensor.name)
        )
        return copied
    for node in copied.graph.node:
        if list(node.output) == list(constant.node.output):
            found = next(a for a in node.attribute if a.name == constant.name)
            found.floats[:] = _nudged(np.array(found.floats, dtype=np.float32)).tolist()
    return copied


def _nudged(array: Array) -> Array:
    sides = np.where(np.arange(array.size) % 2, -np.inf, np.inf).reshape(array.shape)
    nudged: Array = np.nextafter(array, sides.astype(np.float32))
    return nudged


def _distance(first: Mapping[str, Array], second: Mapping[str, Array], opened: Opened) -> float:
    """The largest difference in the wrong outputs; 0 where they cannot be compared."""
    found = [
        measure(first[name], second[name], tolerance=opened.tolerance)
        for name in opened.wrong
        if name in first and name in second
    ]
    return max((f.max_abs for f in found if f.fault is None and not f.labels), default=0.0)
