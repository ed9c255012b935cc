"""What a Transformers model computes inside.

The dynamo route keeps the program's names, so that values are matched by them as a PyTorch
program's are. The one that traces has names of its own: there each module's outputs are recorded,
and found in the graph by their values.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from slipway.exporters.torch_traces import record_program
from slipway.exporters.tracing import finish_trace, golden_case
from slipway.exporters.transformers import DYNAMO, Opened, open_source, quiet
from slipway.protocols import TraceRequest, TraceResult, TraceStep
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenCase


def trace(request: TraceRequest, scratch: Path) -> TraceResult:
    """Trace a Transformers source; see `slipway.protocols.Tracer`."""
    with quiet():
        source, case = open_source(request.export), golden_case(request)
        by_name = request.route == DYNAMO
        steps = _values_by_name(source, case) if by_name else _values_of_modules(source, case)
        return finish_trace(request, steps, source=source.answers, scratch=scratch, by_name=by_name)


def _values_by_name(source: Opened, case: GoldenCase) -> list[tuple[TraceStep, Array]]:
    found = record_program(source.program(), source.names, case.inputs, source.request)
    # The module that gives the model its inputs by position is ours.
    return [
        (step.model_copy(update={"place": step.place.replace(" in inner.", " in ")}), value)
        for step, value in found
    ]


def _values_of_modules(source: Opened, case: GoldenCase) -> list[tuple[TraceStep, Array]]:
    recorder = _Recorder()
    with recorder.watching(source.callee.inner):
        source.answers(case.inputs)
    return [(step, value.numpy()) for step, value in recorder.found]


@dataclass
class _Recorder:
    """Keeps what every module gives, and which modules' values it takes."""

    found: list[tuple[TraceStep, torch.Tensor]] = field(default_factory=list)
    makers: dict[int, int] = field(default_factory=dict)

    @contextmanager
    def watching(self, model: torch.nn.Module) -> Iterator[None]:
        """Record all modules inside that are called meanwhile."""
        hooks = [
            module.register_forward_hook(self._hook(path), with_kwargs=True)
            for path, module in model.named_modules()
            if path
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, path: str) -> Any:  # noqa: ANN401 - torch's type of hooks
        def keep(module: Any, arguments: Any, keywords: Any, result: Any) -> None:  # noqa: ANN401
            taken = {
                self.makers[id(leaf)]
                for leaf in pytree.tree_leaves((arguments, keywords))
                if id(leaf) in self.makers
            }
            for leaf in pytree.tree_leaves(result):
                if not isinstance(leaf, torch.Tensor) or id(leaf) in self.makers:
                    continue
                step = TraceStep(
                    tensor=path,
                    place=f"{path} ({type(module).__name__})",
                    makes_from=tuple(sorted(taken)),
                )
                # Kept as it is: a tensor that is gone gives its id to another.
                self.makers[id(leaf)] = len(self.found)
                self.found.append((step, leaf))

        return keep
