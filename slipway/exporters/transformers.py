"""Hugging Face Transformers to ONNX: a folder with config.json and safetensors.

The golden set comes from the model itself. The dynamo exporter is tried first and the one that
traces second; whichever repeats the golden set at every shape is taken.
"""

import copy
import inspect
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

# Before the libraries look at them: nothing is ever fetched.
os.environ.update({"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"})

import numpy as np
import onnx
import torch
import transformers
from transformers import PreTrainedModel

from slipway.errors import CheckFailed, DataError, ExportFailed
from slipway.exporters.cleaning import check_dimensions, clean_model, finish_export, save_model
from slipway.exporters.naming import output_names
from slipway.exporters.opsets import convert_opset
from slipway.exporters.recording import (
    as_inputs,
    golden_cases,
    golden_samples,
    record_golden,
    tool_versions,
)
from slipway.exporters.routes import refusal
from slipway.exporters.torch_noise import own_noise
from slipway.exporters.torch_programs import Program, convert, describe, trace
from slipway.exporters.transformers_files import load_pretrained
from slipway.exporters.transformers_inputs import infer_inputs, made_up_cases
from slipway.exporters.wording import first_lines
from slipway.protocols import ExportRequest, ExportResult
from slipway.providers.sessions import Session
from slipway.providers.signature import model_inputs, read_graph
from slipway.reports import Finding, OutputNoise
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenSet
from slipway.specs import TensorSpec, Tolerance
from slipway.validation.diagnosis import diagnose
from slipway.validation.parity import check_parity

LEGACY_MAX_OPSET: Final = 20
# Only to choose between routes; the release judges by the spec's own tolerance.
_SAME: Final = Tolerance(rtol=1e-3, atol=1e-4)
# These heads make the decoder's inputs themselves: the whole model answers to input_ids alone.
_WHOLE: Final = ("ForSequenceClassification", "ForQuestionAnswering")


class Callee(torch.nn.Module):
    """A model with named inputs and a tuple of named outputs, called by position."""

    def __init__(self, inner: torch.nn.Module, inputs: Sequence[str]) -> None:
        super().__init__()
        self.inner = inner
        self.names = tuple(inputs)
        self.outputs: tuple[str, ...] = ()

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs in order."""
        answers = self.inner(**dict(zip(self.names, tensors, strict=True)))
        return tuple(answers[name] for name in self.outputs)

    def answer(self, feeds: Mapping[str, Array]) -> Mapping[str, torch.Tensor]:
        """All tensors that the model answers, by its own names."""
        arguments = {name: torch.from_numpy(feeds[name]) for name in self.names}
        try:
            with torch.no_grad():
                answers = self.inner(**arguments)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            shapes = {name: list(array.shape) for name, array in feeds.items()}
            raise DataError(
                f"the source model does not run on golden inputs of shape {shapes}: "
                f"{first_lines(error)}; give data.golden with inputs that it takes"
            ) from error
        return {
            name: value
            for name, value in answers.items()
            if isinstance(value, torch.Tensor) and name != "encoder_last_hidden_state"
        }


@dataclass(frozen=True)
class Opened:
    """A source that is ready to be run and exported."""

    callee: Callee
    names: tuple[str, ...]
    request: ExportRequest
    """With the inputs that were inferred where the spec names none."""
    cases: Sequence[Mapping[str, Array]]
    findings: tuple[Finding, ...]

    @property
    def example(self) -> Mapping[str, Array]:
        """What it is traced with: a batch of three, since torch.export would freeze one."""
        return self.cases[min(1, len(self.cases) - 1)]

    def answers(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Its outputs by the exported model's names."""
        return named_answers(self.callee, self.names, feeds)

    def program(self) -> Program:
        """Its program, as the dynamo exporter takes it.

        Raises:
            ExportFailed: when torch.export fails on it.
        """
        inputs = as_inputs(self.request.inputs)
        return describe(trace(self.callee, inputs, self.example, variadic=True), self.request)


def named_answers(
    callee: Callee, names: Sequence[str], feeds: Mapping[str, Array]
) -> dict[str, Array]:
    """What it answers, by the exported model's names for its outputs."""
    answers = callee.answer(feeds)
    return {name: answers[own].numpy() for name, own in zip(names, callee.outputs, strict=True)}


def open_source(request: ExportRequest) -> Opened:
    """Load a folder, and find what its model takes and answers."""
    torch.manual_seed(request.seed)
    model = load_pretrained(request.path)
    inner, findings = _part_to_export(model)
    inputs = infer_inputs(model, inner, request.inputs)
    asked = {tensor.name: TensorSpec(dtype=tensor.dtype, shape=tensor.shape) for tensor in inputs}
    samples = golden_samples(request)
    cases = (
        made_up_cases(inputs, model, seed=request.seed)
        if samples is None
        else golden_cases(inputs, samples, seed=request.seed)
    )
    callee = Callee(inner, [tensor.name for tensor in inputs])
    callee.outputs = tuple(callee.answer(cases[0]))
    names = output_names(callee.outputs, inputs=callee.names, asked=request.outputs)
    request = request.model_copy(update={"inputs": asked})
    return Opened(callee, names, request, cases, tuple(findings))


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Export a Transformers folder; see `slipway.protocols.Exporter`."""
    with quiet():
        return _export(open_source(request), scratch)


def _export(source: Opened, scratch: Path) -> ExportResult:
    golden = record_golden(source.cases, source.answers)
    problems: dict[str, ExportFailed] = {}
    for route, write in ROUTES.items():
        try:
            path = write(source, scratch)
            check_dimensions(model_inputs(read_graph(path)), source.request)
            _check_agreement(path, golden)
        except ExportFailed as error:
            problems[route] = error
            continue
        return finish_export(
            path,
            golden,
            request=source.request,
            scratch=scratch,
            route=route,
            tools=tool_versions("transformers", "torch", "onnxscript", "onnx"),
            findings=[*source.findings, *(_fallback(f"{r}: {it}") for r, it in problems.items())],
            noise=_noise(source, golden),
        )
    name = type(source.callee.inner).__name__
    reasons = "; ".join(f"{route}: {error}" for route, error in problems.items())
    raise refusal(f"{name} was exported by no route. {reasons}", list(problems.values()))


def _noise(source: Opened, golden: GoldenSet) -> tuple[OutputNoise, ...]:
    def in_float64() -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
        wide = copy.deepcopy(source.callee).double()
        return partial(named_answers, wide, source.names)

    return own_noise(
        golden,
        weights=source.callee.state_dict().values(),
        float64=in_float64,
        one_thread=source.answers,
    )


def _part_to_export(model: PreTrainedModel) -> tuple[torch.nn.Module, list[Finding]]:
    """The whole model, or its encoder where the rest is a decoder that generates."""
    name = type(model).__name__
    takes = inspect.signature(model.forward).parameters
    if "decoder_input_ids" not in takes or name.endswith(_WHOLE):
        return model, []
    message = f"the encoder of {name} alone is exported; its decoder generates step by step"
    finding = Finding(level="warning", code="encoder-alone", message=message)
    return model.get_encoder(), [finding]


def _export_dynamo(source: Opened, scratch: Path) -> Path:
    return convert(source.program(), source.names, source.request, scratch)


def _export_legacy(source: Opened, scratch: Path) -> Path:
    path, request, callee = scratch / "model.onnx", source.request, source.callee
    axes = {
        name: {axis: size for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for name, spec in request.inputs.items()
    }
    example = source.example
    try:
        torch.onnx.export(
            callee,
            tuple(torch.from_numpy(np.ascontiguousarray(example[name])) for name in callee.names),
            path,
            dynamo=False,
            input_names=list(callee.names),
            output_names=list(source.names),
            dynamic_axes=axes,
            opset_version=min(request.opset, LEGACY_MAX_OPSET),
        )
    except Exception as error:
        raise ExportFailed(
            f"torch.onnx does not trace the model: {first_lines(error.__cause__ or error)}"
        ) from error
    model = onnx.load(path)
    for left_over in scratch.iterdir():
        if left_over.is_file():
            left_over.unlink()
    if request.opset > LEGACY_MAX_OPSET:
        model = convert_opset(model, request.opset)
    clean_model(model, dimensions={})
    save_model(model, path)
    return path


DYNAMO: Final = "torch.onnx dynamo"
ROUTES: Final = {DYNAMO: _export_dynamo, "torch.onnx legacy": _export_legacy}


def _check_agreement(path: Path, golden: GoldenSet) -> None:
    """Refuse a graph that answers otherwise than the model, with the cause where it can be told."""
    try:
        session = Session(path)
        report = check_parity(session, golden, tolerance=_SAME)
    except CheckFailed as error:
        raise ExportFailed(str(error)) from error
    if report.passed:
        return
    cause = diagnose(session, golden, _SAME, model=path)
    if cause is not None and cause.kind == "frozen-dimension":
        raise ExportFailed(f"{cause.sentence}; fix that size in the spec's inputs")
    reasons = [cause.sentence] if cause else [o.reason for o in report.outputs if o.reason]
    raise ExportFailed(f"the exported graph answers otherwise: {reasons[0]}")


def _fallback(problem: str) -> Finding:
    return Finding(level="warning", code="route-failed", message=problem)


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of tracers and of models about themselves say nothing that parity does not."""
    log: Any = transformers.logging  # its functions have no types
    before = log.get_verbosity()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(before)
