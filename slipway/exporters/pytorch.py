"""PyTorch to ONNX through torch.export and the dynamo exporter.

Sources: a `.pt2` program, or weights (safetensors, or a state dict that the safe loader takes) with
a factory that builds the module.
"""

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
from slipway.exporters.torch_programs import (
    as_source,
    convert,
    describe,
    own_output_names,
    trace,
)
from slipway.protocols import ExportRequest, ExportResult


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Export a PyTorch source; see `slipway.protocols.Exporter`."""
    torch.manual_seed(request.seed)
    loaded = load_source(request)
    program = (
        describe(loaded, request)
        if isinstance(loaded, torch.export.ExportedProgram)
        else describe(_trace(loaded, request), request)
    )
    cases = golden_cases(program.inputs, golden_samples(request), seed=request.seed)
    names = output_names(
        own_output_names(program, cases[0]),
        inputs=[tensor.name for tensor in program.inputs],
        asked=request.outputs,
    )
    golden = record_golden(cases, as_source(program, names))
    model_path = convert(program, names, request, scratch)
    return finish_export(
        model_path,
        golden,
        request=request,
        scratch=scratch,
        route="torch.onnx dynamo",
        tools=tool_versions("torch", "onnxscript", "onnx"),
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
