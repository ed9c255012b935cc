"""Where a graph first departs from what it should compute, on the way to a wrong output.

Values inside the graph are compared with others of the same name: the source model's own, where a
trace recorded them, or the same graph's in float64.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx

from slipway.samples.arrays import Array, Arrays
from slipway.specs import Tolerance
from slipway.validation.comparing import Difference, measure

_NUMBERS: Final = "fiub"


@dataclass(frozen=True)
class Departure:
    """The first node that departs: where it stands, and how far off it is."""

    position: int
    node: onnx.NodeProto
    tensor: str
    difference: Difference
    agreeing: int
    """How many values before it were compared, and agree."""


def first_departure(
    graph: onnx.GraphProto,
    expected: Mapping[str, Array],
    actual: Mapping[str, Array],
    *,
    wrong: Sequence[str],
    tolerance: Tolerance,
) -> Departure | None:
    """The first node, in the graph's order, that departs and that a wrong output comes from.

    A path upwards ends at a value that agrees: what is wrong above it has no part in the fault.

    Args:
        graph: The graph whose values these are.
        expected: What values should be, by tensor; those not known are passed over.
        actual: What they are.
        wrong: The outputs that failed.
        tolerance: What counts as agreeing, with `atol` in units of a tensor's own scale.
    """
    makers = {
        name: (index, node) for index, node in enumerate(graph.node) for name in node.output if name
    }
    found: dict[str, Difference] = {}
    seen: set[str] = set()
    pending = list(wrong)
    while pending:
        name = pending.pop()
        if name in seen or name not in makers:
            continue
        seen.add(name)
        if name in expected and name in actual:
            difference = differ(expected[name], actual[name], tolerance)
            if difference is None:
                continue
            found[name] = difference
        pending.extend(reads(makers[name][1]))
    if not found:
        return None
    first = min(found, key=lambda name: makers[name][0])
    position, node = makers[first]
    agreeing = sum(
        differ(expected[name], actual[name], tolerance) is None
        for name, (index, _) in makers.items()
        if index < position and name in expected and name in actual
    )
    return Departure(position, node, first, found[first], agreeing)


def differ(expected: Array, actual: Array, tolerance: Tolerance) -> Difference | None:
    """How two values of one tensor differ; None where they agree."""
    if expected.shape != actual.shape:
        if expected.size != actual.size:
            return measure(expected, actual, tolerance=tolerance)
        actual = actual.reshape(expected.shape)  # a view or a squeeze, which moves no value
    if expected.dtype.kind in _NUMBERS and actual.dtype.kind in _NUMBERS:
        expected, actual = expected.astype(np.float64), actual.astype(np.float64)
    found = measure(expected, actual, tolerance=_scaled(tolerance, expected))
    if found.fault is None and (found.worst is None or found.worst.excess <= 0):
        return None
    return found


def _scaled(tolerance: Tolerance, expected: Array) -> Tolerance:
    """Inside a graph values may be large, and one near zero is a difference of large ones."""
    if expected.dtype.kind != "f":
        return tolerance
    finite = expected[np.isfinite(expected)]
    scale = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
    return Tolerance(rtol=tolerance.rtol, atol=tolerance.atol * max(1.0, scale))


def wrong_outputs(expected: Arrays, actual: Arrays, tolerance: Tolerance) -> list[str]:
    """The outputs that do not agree."""
    return [
        name
        for name, array in expected.items()
        if name not in actual or differ(array, actual[name], tolerance) is not None
    ]


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, in its subgraphs too."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for other in inner.node:
                yield from reads(other)
            yield from (value.name for value in inner.output)
