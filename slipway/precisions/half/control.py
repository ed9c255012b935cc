"""Control flow: which places of If, Loop and Scan hold one and the same value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import onnx

from slipway.precisions import graphs

_SCAN_WITHOUT_LENGTHS: Final = 9
"""The opset from which Scan's inputs are states and scanned values only."""


@dataclass(frozen=True)
class Tie:
    """Places of a control-flow node that hold one and the same value."""

    read: int | None
    """The node's input."""
    output: int | None
    """The node's output."""
    inside: tuple[tuple[onnx.GraphProto, int | None, int | None], ...]
    """Inner graphs, with the position of their input and of their output."""

    def names(self, node: onnx.NodeProto) -> Iterator[str]:
        """What the value is called inside and outside, but for the bodies' inputs."""
        if self.read is not None:
            yield node.input[self.read]
        if self.output is not None:
            yield node.output[self.output]
        for inner, _, result in self.inside:
            if result is not None:
                yield inner.output[result].name


def ties_of(node: onnx.NodeProto, opset: int) -> tuple[Tie, ...]:
    """The values that a control-flow node hands on; none for an operator that is unknown."""
    rule = _RULES.get(node.op_type)
    standard = node.domain in graphs.DEFAULT_DOMAINS and opset >= _SCAN_WITHOUT_LENGTHS
    return tuple(rule(node, _bodies(node))) if rule and standard else ()


def _bodies(node: onnx.NodeProto) -> Mapping[str, onnx.GraphProto]:
    return {a.name: a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH}


def _if(node: onnx.NodeProto, inner: Mapping[str, onnx.GraphProto]) -> Iterator[Tie]:
    branches = (inner["then_branch"], inner["else_branch"])
    for place in range(len(node.output)):
        yield Tie(None, place, tuple((branch, None, place) for branch in branches))


def _loop(node: onnx.NodeProto, inner: Mapping[str, onnx.GraphProto]) -> Iterator[Tie]:
    """After the trip count and the condition come the carried values, then what is stacked."""
    carried = len(node.input) - 2
    for place in range(carried):
        yield Tie(place + 2, place, ((inner["body"], place + 2, place + 1),))
    for place in range(carried, len(node.output)):
        yield Tie(None, place, ((inner["body"], None, place + 1),))


def _scan(node: onnx.NodeProto, inner: Mapping[str, onnx.GraphProto]) -> Iterator[Tie]:
    """States come first, then what is scanned and what is stacked."""
    scanned = next(a.i for a in node.attribute if a.name == "num_scan_inputs")
    carried = len(node.input) - scanned
    for place in range(carried):
        yield Tie(place, place, ((inner["body"], place, place),))
    for place in range(carried, len(node.input)):
        yield Tie(place, None, ((inner["body"], place, None),))
    for place in range(carried, len(node.output)):
        yield Tie(None, place, ((inner["body"], None, place),))


_RULES: Final = {"If": _if, "Loop": _loop, "Scan": _scan}
