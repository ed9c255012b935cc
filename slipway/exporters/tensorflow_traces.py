"""What a SavedModel computes inside: each operator's output, in an order of the run.

tf2onnx names its tensors in its own way and turns layouts round, so that operators are found in the
exported graph by their values.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slipway.errors import ExportFailed
from slipway.exporters.tensorflow import open_source
from slipway.exporters.tensorflow_frozen import Frozen, inputs_of
from slipway.exporters.tensorflow_outputs import run_source
from slipway.exporters.tracing import finish_trace, golden_case
from slipway.protocols import TraceRequest, TraceResult, TraceStep
from slipway.samples.arrays import Array


def trace(request: TraceRequest, scratch: Path) -> TraceResult:
    """Trace a SavedModel; see `slipway.protocols.Tracer`."""
    source, given = open_source(request.export)
    case = golden_case(request)

    def answers(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(case.outputs, run_source(source.flat, feeds, given), strict=True))

    steps = list(_steps(source.freeze(given), case.inputs))
    return finish_trace(request, steps, source=answers, scratch=scratch, by_name=False)


def _steps(frozen: Frozen, feeds: Mapping[str, Array]) -> Iterator[tuple[TraceStep, Array]]:
    """Operators that give an array of floats, each with those before it that it takes values of."""
    nodes = [node for node in frozen.computing() if node.attr["T"].type or node.op == "While"]
    values = frozen.run(feeds, [f"{node.name}:0" for node in nodes])
    kept = {
        node.name: value
        for node, value in zip(nodes, values, strict=True)
        if np.ndim(value) and value.dtype.kind == "f"
    }
    if not kept:
        raise ExportFailed("no operator of the model gives an array of floats")
    number = {name: index for index, name in enumerate(kept)}
    graph = {node.name: node for node in frozen.graph.node}
    for name, value in kept.items():
        step = TraceStep(
            tensor=name,
            place=f"operator {name} ({graph[name].op})",
            makes_from=tuple(sorted(_makers(name, graph, number))),
        )
        yield step, value


def _makers(name: str, graph: Mapping[str, Any], number: Mapping[str, int]) -> set[int]:
    """The steps that an operator takes values of, through those that only move them."""
    found: set[int] = set()
    seen: set[str] = set()
    pending = list(inputs_of(graph[name]))
    while pending:
        one = pending.pop()
        if one in number:
            found.add(number[one])
        elif one not in seen:
            seen.add(one)
            pending += inputs_of(graph[one])
    return found
