"""PyTorch to ONNX through torch.export and the dynamo exporter.

Sources: a `.pt2` program, or weights (safetensors, or a state dict that the safe loader takes) with
a factory that builds the module.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from slipway.errors import SpecError
from slipway.exporters.cleaning import finish_export
from slipway.exporters.naming import output_names
from slipway.exporters.pytorch_files import load_source
from slipway.exporters.recording import (
    as_inputs,
    golden_cases,
    golden_samples,
    record_golden,
    tool_versions,
)
from slipway.exporters.torch_noise import torch_noise
from slipway.exporters.torch_programs import (
    Program,
    as_source,
    convert,
    describe,
    own_output_names,
    trace,
)
from slipway.protocols import ExportRequest, ExportResult
from slipway.reports import Finding
from slipway.samples.arrays import Array


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Export a PyTorch source; see `slipway.protocols.Exporter`."""
    program = open_program(request)
    cases = golden_cases(program.inputs, golden_samples(request), seed=request.seed)
    names = name_outputs(program, cases[0], request)
    golden = record_golden(cases, as_source(program, names))
    noise = torch_noise(program, names, golden)
    model_path = convert(program, names, request, scratch)
    return finish_export(
        model_path,
        golden,
        request=request,
        scratch=scratch,
        route="torch.onnx dynamo",
        tools=tool_versions("torch", "onnxscript", "onnx"),
        findings=_training(program),
        noise=noise,
    )


def _training(program: Program) -> list[Finding]:
    """What was saved in training mode gives other answers than the exported model may."""
    return [
        Finding(
            level="warning",
            code="training-mode",
            message="the program was saved in training mode; call model.eval() before it is saved",
            place=place,
        )
        for place in program.training
    ]


def open_program(request: ExportRequest) -> Program:
    """The source as a program, with the spec's names for what it takes."""
    torch.manual_seed(request.seed)
    loaded = load_source(request)
    if not isinstance(loaded, torch.export.ExportedProgram):
        loaded = _trace(loaded, request)
    return describe(loaded, request)


def name_outputs(
    program: Program, case: Mapping[str, Array], request: ExportRequest
) -> tuple[str, ...]:
    """The exported model's names for the program's outputs."""
    return output_names(
        own_output_names(program, case),
        inputs=[tensor.name for tensor in program.inputs],
        asked=request.outputs,
    )


def _trace(module: torch.nn.Module, request: ExportRequest) -> torch.export.ExportedProgram:
    """A module to a program with the spec's dynamic dimensions."""
    if not request.inputs:
        raise SpecError("a state dict does not say what the model takes: give inputs in the spec")
    module.eval()
    inputs = as_inputs(request.inputs)
    # Traced at a batch of three: torch.export would freeze sizes 0 and 1.
    cases = golden_cases(inputs, golden_samples(request), seed=request.seed)
    return trace(module, inputs, cases[min(1, len(cases) - 1)])
