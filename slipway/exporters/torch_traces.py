"""What a PyTorch program computes inside, under the names that the dynamo exporter gives in ONNX.

The exporter calls each ONNX value after the node of the decomposed program that it stands for, so
that running that program node by node gives the source's values by name.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from slipway.exporters.pytorch import name_outputs, open_program
from slipway.exporters.torch_places import place_of
from slipway.exporters.torch_programs import Program, as_source, to_onnx
from slipway.exporters.tracing import finish_trace, golden_case
from slipway.protocols import ExportRequest, TraceRequest, TraceResult, TraceStep
from slipway.samples.arrays import Array


def trace(request: TraceRequest, scratch: Path) -> TraceResult:
    """Trace a PyTorch source; see `slipway.protocols.Tracer`."""
    program = open_program(request.export)
    case = golden_case(request)
    names = name_outputs(program, case.inputs, request.export)
    return finish_trace(
        request,
        record_program(program, names, case.inputs, request.export),
        source=as_source(program, names),
        scratch=scratch,
        by_name=True,
        training=program.training,
    )


def record_program(
    program: Program, names: tuple[str, ...], feeds: Mapping[str, Array], asked: ExportRequest
) -> list[tuple[TraceStep, Array]]:
    """Every value of a program for these inputs, by the names that its export gives them."""
    decomposed = to_onnx(program, names, asked).exported_program
    assert decomposed is not None  # noqa: S101 - it was exported from a program
    recorder = _Recorder(decomposed.module(check_guards=False))
    recorder.run_on(program, feeds)
    return list(recorder.steps(names))


class _Recorder(torch.fx.Interpreter):
    """Runs a program's graph and keeps every tensor."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[torch.fx.Node, Array] = {}

    def run_on(self, program: Program, feeds: Mapping[str, Array]) -> None:
        """Run on arrays by input name."""
        tensors = [torch.from_numpy(feeds[tensor.name].copy()) for tensor in program.inputs]
        with torch.no_grad():
            self.run(*tensors, enable_io_processing=False)

    def run_node(self, n: torch.fx.Node) -> Any:  # noqa: ANN401 - whatever a node makes
        """Run one node."""
        result = super().run_node(n)
        if n.op == "call_function" and isinstance(result, torch.Tensor):
            self.found[n] = result.detach().cpu().numpy().copy()
        return result

    def steps(self, outputs: tuple[str, ...]) -> Iterator[tuple[TraceStep, Array]]:
        """Values by the nodes' names, and the program's outputs by theirs."""
        for node, value in self.found.items():
            yield TraceStep(tensor=node.name, place=place_of(node)), value
        last = next(node for node in self.graph.nodes if node.op == "output")
        leaves = [leaf for leaf in pytree.tree_leaves(last.args[0]) if leaf in self.found]
        if len(leaves) == len(outputs):
            for name, node in zip(outputs, leaves, strict=True):
                yield TraceStep(tensor=name, place=place_of(node)), self.found[node]
