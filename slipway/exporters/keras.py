"""Keras 3 to ONNX through tf2onnx: by way of a SavedModel, else by tracing the model's call.

Either goes wrong on some models: tracing makes inputs of a Normalization layer's constants, and a
SavedModel refuses what it cannot track. The source's own outputs decide which one is taken.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from slipway.errors import ExportFailed, SpecError
from slipway.exporters.cleaning import finish_export
from slipway.exporters.keras_files import arguments_like, load_model
from slipway.exporters.naming import output_names
from slipway.exporters.recording import golden_cases, golden_samples, record_golden, tool_versions
from slipway.exporters.routes import Route, choose_route
from slipway.exporters.tensorflow_frozen import freeze
from slipway.exporters.tensorflow_graphs import (
    Interface,
    convert_function,
    describe_input,
    graph_interface,
    is_nchw,
    placeholder_names,
    result_names,
    to_source_layout,
)
from slipway.exporters.tensorflow_noise import tensorflow_noise
from slipway.exporters.tensorflow_outputs import describe_outputs, run_source
from slipway.exporters.tensorflow_runtime import tf
from slipway.exporters.wording import first_lines
from slipway.protocols import ExportRequest, ExportResult
from slipway.reports import OutputNoise, TensorInfo
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenSet

import keras  # isort: skip - it reads which backend to use, which tensorflow_runtime sets


@dataclass(frozen=True)
class Source:
    """A loaded model as a flat function; `arguments` is the tree that it really takes."""

    model: Any
    arguments: Sequence[Any]
    inputs: tuple[TensorInfo, ...]

    def run(self, *tensors: object) -> Any:  # noqa: ANN401 - any tree of tensors
        """What the model gives, as it gives it."""
        arguments = keras.tree.map_structure(lambda index: tensors[index], self.arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.model(*arguments, training=False)

    def flat(self, *tensors: object) -> list[Any]:
        """The outputs in order, each a tensor of its own."""
        return [tf.identity(leaf) for leaf in _tensors(self.run(*tensors))]

    def trace(self, names: Sequence[str]) -> Any:  # noqa: ANN401 - tf.function
        """The same as a TensorFlow function from named inputs to named outputs."""

        def call(*tensors: object) -> dict[str, Any]:
            return dict(zip(names, self.flat(*tensors), strict=True))

        return tf.function(call, input_signature=_signature(self.inputs), autograph=False)


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Export a Keras source; see `slipway.protocols.Exporter`."""
    source, given = open_source(request)
    cases = golden_cases(given.inputs, golden_samples(request), seed=request.seed)
    own = _own_output_names(source, cases[0], given)
    names = output_names(own, inputs=[t.name for t in given.inputs], asked=request.outputs)
    golden = record_golden(
        cases, lambda feeds: dict(zip(names, run_source(source.flat, feeds, given), strict=True))
    )
    try:
        traced = source.trace(_keys(names)).get_concrete_function()
    except Exception as error:
        raise ExportFailed(
            f"the model runs, and TensorFlow cannot trace it as a graph: {first_lines(error)}; "
            "replace the layer, or give its input fixed sizes if it has open ones"
        ) from error
    outputs = describe_outputs(
        names,
        [traced.structured_outputs[key] for key in _keys(names)],
        [(case.inputs, [case.outputs[name] for name in names]) for case in golden.cases],
        given.inputs,
    )
    interface = Interface(given.inputs, outputs, given.nchw)
    with TemporaryDirectory(dir=scratch, prefix=".") as folder:
        routes = [
            Route(
                "tf2onnx from a SavedModel",
                partial(_by_saved_model, source, interface, request, Path(folder)),
            ),
            Route(
                "tf2onnx from a function",
                partial(_convert, traced, source.model, interface, request),
            ),
        ]
        chosen = choose_route(routes, golden, scratch / "model.onnx")
    return finish_export(
        chosen.model,
        golden,
        request=request,
        scratch=scratch,
        route=chosen.name,
        tools=tool_versions("keras", "tensorflow", "tf2onnx", "onnx"),
        findings=chosen.findings,
        noise=_noise(traced, interface, golden),
    )


def _noise(function: Any, interface: Interface, golden: GoldenSet) -> tuple[OutputNoise, ...]:  # noqa: ANN401
    """The model's own, of what was traced of it."""
    placeholders, results = placeholder_names(function), result_names(function)
    names = [tensor.name for tensor in interface.outputs]
    frozen = partial(
        freeze,
        function,
        inputs=[placeholders[key] for key in _input_keys(interface.inputs)],
        outputs=[results[key] for key in _keys(names)],
        interface=interface,
    )
    return tensorflow_noise(frozen, names, golden)


def open_source(request: ExportRequest) -> tuple[Source, Interface]:
    """The loaded model, and its inputs in the layout of the exported graph."""
    keras.utils.clear_session()  # layers are numbered over all models of a process
    keras.utils.set_random_seed(request.seed)
    source = _describe(load_model(request), request)
    return source, graph_interface(source.inputs, (), request)


def _by_saved_model(
    source: Source, interface: Interface, request: ExportRequest, folder: Path
) -> onnx.ModelProto:
    """Freeze by writing and reading a SavedModel, which turns captured tensors into constants."""
    function = source.trace(_keys([tensor.name for tensor in interface.outputs]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive = keras.export.ExportArchive()
            archive.track(source.model)
            archive.add_endpoint("serve", function)
            archive.write_out(str(folder), verbose=False)
            loaded = tf.saved_model.load(str(folder))
    except Exception as error:
        raise ExportFailed(f"no SavedModel can be made: {first_lines(error)}") from error
    return _convert(loaded.signatures["serve"], loaded, interface, request)


def _convert(
    function: Any,  # noqa: ANN401 - tf's ConcreteFunction
    keeper: Any,  # noqa: ANN401
    interface: Interface,
    request: ExportRequest,
) -> onnx.ModelProto:
    keys = _keys([tensor.name for tensor in interface.outputs])
    placeholders, results = placeholder_names(function), result_names(function)
    return convert_function(
        function,
        keeper,
        input_tensors={
            tensor.name: placeholders[key]
            for tensor, key in zip(interface.inputs, _input_keys(interface.inputs), strict=True)
        },
        output_tensors={
            tensor.name: results[key] for tensor, key in zip(interface.outputs, keys, strict=True)
        },
        interface=interface,
        opset=request.opset,
    )


def _describe(model: Any, request: ExportRequest) -> Source:  # noqa: ANN401
    """Names, types and shapes of the model's inputs, with the spec's where it has them."""
    arguments = _arguments(model, request)
    found = keras.tree.flatten_with_path(arguments)
    own = [_leaf_name(path, tensor, index) for index, (path, tensor) in enumerate(found)]
    if len(set(own)) != len(own):
        own = [f"input_{index}" for index in range(len(own))]
    if request.inputs and len(request.inputs) != len(own):
        raise SpecError(
            f"the spec names {len(request.inputs)} inputs ({', '.join(request.inputs)}), the model "
            f"takes {len(own)} ({', '.join(own)})"
        )
    named = own if set(own) == set(request.inputs) else list(request.inputs) or own
    inputs = tuple(
        describe_input(name, keras.backend.standardize_dtype(tensor.dtype), tensor.shape, request)
        for name, (_, tensor) in zip(named, found, strict=True)
    )
    return Source(model, keras.tree.pack_sequence_as(arguments, list(range(len(found)))), inputs)


def _arguments(model: Any, request: ExportRequest) -> list[Any]:  # noqa: ANN401
    """The positional arguments that the model takes, as a tree of what describes each tensor."""
    if isinstance(model, keras.Sequential):
        return list(model.inputs)
    if hasattr(model, "input"):
        return [model.input]
    if request.inputs:
        return arguments_like(
            model,
            {
                name: keras.InputSpec(shape=_source_shape(name, request), dtype=spec.dtype)
                for name, spec in request.inputs.items()
            },
        )
    try:
        found: list[Any] = list(keras.src.export.export_utils.get_input_signature(model))
    except Exception as error:
        raise SpecError(
            f"a {type(model).__name__} does not say what it takes ({first_lines(error)}): give "
            "inputs in the spec"
        ) from error
    return found


def _source_shape(name: str, request: ExportRequest) -> tuple[int | None, ...]:
    sizes: Sequence[int | str] = request.inputs[name].shape
    if is_nchw(name, request):
        sizes = to_source_layout(sizes)
    return tuple(size if isinstance(size, int) else None for size in sizes)


def _leaf_name(path: Sequence[Any], tensor: Any, index: int) -> str:  # noqa: ANN401
    """A key of a dict of inputs, else the input layer's own name."""
    if path and isinstance(path[-1], str):
        return str(path[-1])
    return str(getattr(tensor, "name", None) or ("input" if index == 0 else f"input_{index}"))


def _own_output_names(
    source: Source, case: Mapping[str, Array], given: Interface
) -> tuple[str, ...]:
    answer: list[Any] = []

    def remember(*tensors: object) -> list[Any]:
        answer.append(source.run(*tensors))
        return []

    run_source(remember, case, given)
    found = [
        (path, leaf) for path, leaf in keras.tree.flatten_with_path(answer[0]) if tf.is_tensor(leaf)
    ]
    if len(found) == 1 and not found[0][0]:
        return ("output",)
    if all(len(path) == 1 and isinstance(path[0], str) for path, _ in found):
        return tuple(path[0] for path, _ in found)
    layers = getattr(source.model, "output_names", None) or ()
    if len(set(layers)) == len(found):
        return tuple(layers)
    return tuple(f"output_{index}" for index in range(len(found)))


def _tensors(outputs: Any) -> list[Any]:  # noqa: ANN401
    return [leaf for leaf in keras.tree.flatten(outputs) if tf.is_tensor(leaf)]


def _keys(names: Sequence[str]) -> list[str]:
    """Names inside TensorFlow, which takes fewer characters than ONNX and sorts by them."""
    return [f"out_{index:04}" for index in range(len(names))]


def _input_keys(inputs: Sequence[TensorInfo]) -> list[str]:
    return [f"in_{index:04}" for index in range(len(inputs))]


def _signature(inputs: Sequence[TensorInfo]) -> list[Any]:
    return [
        tf.TensorSpec(
            [size if isinstance(size, int) else None for size in tensor.shape],
            dtype=tensor.dtype,
            name=key,
        )
        for tensor, key in zip(inputs, _input_keys(inputs), strict=True)
    ]
