"""TensorFlow SavedModels to ONNX through tf2onnx: the folder's serving signature.

A SavedModel is a program. It is looked at before TensorFlow loads it: see `saved_models`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from slipway.errors import ExportFailed, SpecError, UnreadableModel
from slipway.exporters.cleaning import finish_export
from slipway.exporters.naming import output_names
from slipway.exporters.recording import golden_cases, golden_samples, record_golden, tool_versions
from slipway.exporters.routes import Route, choose_route
from slipway.exporters.saved_models import check_saved_model
from slipway.exporters.tensorflow_frozen import Frozen, freeze
from slipway.exporters.tensorflow_graphs import (
    Interface,
    convert_function,
    describe_input,
    graph_interface,
    placeholder_names,
    result_names,
)
from slipway.exporters.tensorflow_noise import tensorflow_noise
from slipway.exporters.tensorflow_outputs import describe_outputs, run_source
from slipway.exporters.tensorflow_runtime import tf
from slipway.exporters.wording import first_lines
from slipway.protocols import ExportRequest, ExportResult
from slipway.reports import TensorInfo

_SIGNATURES = ("serving_default", "serve")


@dataclass(frozen=True)
class _Source:
    """A loaded signature: the keys of what it takes and gives, in a fixed order."""

    loaded: Any
    function: Any
    input_keys: tuple[str, ...]
    output_keys: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]

    def flat(self, *tensors: object) -> list[Any]:
        answers = self.function(**dict(zip(self.input_keys, tensors, strict=True)))
        return [answers[key] for key in self.output_keys]

    def freeze(self, interface: Interface) -> Frozen:
        """The signature as one graph."""
        placeholders, results = placeholder_names(self.function), result_names(self.function)
        return freeze(
            self.function,
            inputs=[placeholders[key] for key in self.input_keys],
            outputs=[results[key] for key in self.output_keys],
            interface=interface,
        )


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Export a SavedModel; see `slipway.protocols.Exporter`."""
    source, given = open_source(request)
    cases = golden_cases(given.inputs, golden_samples(request), seed=request.seed)
    names = output_names(
        _own_output_names(source),
        inputs=[tensor.name for tensor in given.inputs],
        asked=request.outputs,
    )
    golden = record_golden(
        cases, lambda feeds: dict(zip(names, run_source(source.flat, feeds, given), strict=True))
    )
    outputs = describe_outputs(
        names,
        [source.function.structured_outputs[key] for key in source.output_keys],
        [(case.inputs, [case.outputs[name] for name in names]) for case in golden.cases],
        given.inputs,
    )
    interface = Interface(given.inputs, outputs, given.nchw)
    placeholders, results = placeholder_names(source.function), result_names(source.function)
    convert = partial(
        convert_function,
        source.function,
        source.loaded,
        input_tensors={
            tensor.name: placeholders[key]
            for tensor, key in zip(interface.inputs, source.input_keys, strict=True)
        },
        output_tensors=dict(zip(names, (results[key] for key in source.output_keys), strict=True)),
        interface=interface,
        opset=request.opset,
    )
    route = Route("tf2onnx from the SavedModel", convert)
    chosen = choose_route([route], golden, scratch / "model.onnx")
    return finish_export(
        chosen.model,
        golden,
        request=request,
        scratch=scratch,
        route=chosen.name,
        tools=tool_versions("tensorflow", "tf2onnx", "onnx"),
        findings=chosen.findings,
        noise=tensorflow_noise(partial(source.freeze, interface), names, golden),
    )


def open_source(request: ExportRequest) -> tuple[_Source, Interface]:
    """The loaded signature, and its inputs in the layout of the exported graph."""
    tf.random.set_seed(request.seed)
    source = _load(request)
    return source, graph_interface(source.inputs, (), request)


def _load(request: ExportRequest) -> _Source:
    path = request.path
    check_saved_model(path, trusted=request.source.trusted)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = tf.saved_model.load(str(path))
    except Exception as error:
        raise UnreadableModel(
            f"{path.name} cannot be loaded ({first_lines(error)}); is the folder complete?"
        ) from error
    function = _signature(loaded, path)
    _check_weights(function, path)
    return _describe(loaded, function, request)


def _signature(loaded: Any, path: Path) -> Any:  # noqa: ANN401 - TensorFlow ships no types
    signatures = {name: f for name, f in dict(loaded.signatures).items() if f.structured_outputs}
    for name in _SIGNATURES:
        if name in signatures:
            return signatures[name]
    if len(signatures) != 1:
        raise UnreadableModel(
            f"{path.name} has {len(signatures)} signatures ({', '.join(signatures) or 'none'}) and "
            "none is called serving_default; save it with "
            "tf.saved_model.save(..., signatures=FUNCTION)"
        )
    return next(iter(signatures.values()))


def _describe(loaded: Any, function: Any, request: ExportRequest) -> _Source:  # noqa: ANN401
    given = function.structured_input_signature[1]
    keys = tuple(key for key in placeholder_names(function) if key in given)
    if set(keys) != set(given):
        raise ExportFailed(
            f"the signature takes {', '.join(sorted(given))}, its graph {', '.join(sorted(keys))}"
        )
    if request.inputs and len(request.inputs) != len(keys):
        raise SpecError(
            f"the spec names {len(request.inputs)} inputs ({', '.join(request.inputs)}), the "
            f"signature takes {len(keys)} ({', '.join(keys)})"
        )
    named: Sequence[str] = keys
    if request.inputs and set(keys) != set(request.inputs):
        named = list(request.inputs)
    inputs = []
    for name, key in zip(named, keys, strict=True):
        if given[key].shape.rank is None:
            raise ExportFailed(
                f"input {name} has any number of dimensions in the signature; save the model with "
                "an input_signature that says how many"
            )
        shape = given[key].shape.as_list()
        inputs.append(describe_input(name, given[key].dtype.name, shape, request))
    return _Source(
        loaded, function, keys, tuple(sorted(function.structured_outputs)), tuple(inputs)
    )


def _own_output_names(source: _Source) -> tuple[str, ...]:
    """The signature's own, but for the one that TensorFlow makes up for a single tensor."""
    return ("output",) if source.output_keys == ("output_0",) else source.output_keys


def _check_weights(function: Any, path: Path) -> None:  # noqa: ANN401
    for variable in function.variables:
        if variable.dtype.is_floating and np.isnan(tf.cast(variable, tf.float32).numpy()).any():
            raise UnreadableModel(
                f"{path.name}: weight {variable.name} holds NaN; training diverged, or the file "
                "is damaged"
            )
