"""ONNX models that others exported: checked, cleaned, and released like our own.

The source's own answers come from onnxruntime on the file as it was given.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx

from slipway.errors import CheckFailed, DataError, ExportFailed, SpecError
from slipway.exporters.cleaning import IR_VERSION, clean_model, finish_export, save_model
from slipway.exporters.naming import output_names
from slipway.exporters.onnx_files import (
    find_model,
    load_weights,
    read_model,
)
from slipway.exporters.onnx_noise import onnx_noise
from slipway.exporters.opsets import convert_opset, opset_of
from slipway.exporters.recording import golden_cases, golden_samples, record_golden, tool_versions
from slipway.exporters.renaming import rename_outputs
from slipway.protocols import ExportRequest, ExportResult
from slipway.providers.sessions import Session
from slipway.providers.signature import model_inputs, model_outputs, read_graph
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array
from slipway.validation.versions import MAX_IR_VERSION


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Release an ONNX source; see `slipway.protocols.Exporter`."""
    source = find_model(request.path)
    model = read_model(source)
    given = opset_of(model)
    wanted = given if request.keep_opset else request.opset
    inputs = model_inputs(model)
    dimensions = _dimensions(inputs, request)
    own = [tensor.name for tensor in model_outputs(model)]
    names = output_names(own, inputs=[tensor.name for tensor in inputs], asked=request.outputs)
    load_weights(model, source.parent)
    if wanted != given:
        model = convert_opset(model, wanted)
    _name_batch(model)
    clean_model(model, dimensions=dimensions)
    rename_outputs(model, names)
    path = scratch / "model.onnx"
    save_model(model, path)
    del model
    cases = golden_cases(model_inputs(read_graph(path)), golden_samples(request), seed=request.seed)
    golden = record_golden(cases, _as_source(_reference(source, scratch), names))
    return finish_export(
        path,
        golden,
        request=request.model_copy(update={"opset": wanted}),
        scratch=scratch,
        route="onnx" if wanted == given else f"onnx.version_converter {given} to {wanted}",
        tools=tool_versions("onnx", "onnxruntime"),
        noise=onnx_noise(
            source,
            names,
            golden,
            one_thread=lambda: _as_source(_reference(source, scratch, threads=1), names),
        ),
    )


def _reference(source: Path, scratch: Path, *, threads: int | None = None) -> Session:
    """The source as it was given, unless its IR version alone keeps the runtime from loading it."""
    model = read_graph(source)
    if model.ir_version <= MAX_IR_VERSION:
        del model  # its weights would be in memory twice
        return _open(source, threads)
    model.ir_version = IR_VERSION
    load_weights(model, source.parent)
    copy = scratch / "reference.onnx"
    try:
        save_model(model, copy)
        return _open(copy, threads)
    finally:
        copy.unlink(missing_ok=True)
        copy.with_name(copy.name + ".data").unlink(missing_ok=True)


def _open(path: Path, threads: int | None) -> Session:
    try:
        return Session(path, intra_op_threads=threads)
    except CheckFailed as error:
        raise ExportFailed(f"the source cannot be run, so nothing can be compared: {error}") from (
            error
        )


def _as_source(
    session: Session, names: Sequence[str]
) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
    def run(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        try:
            answers = session.run(feeds)
        except CheckFailed as error:
            shapes = {name: list(array.shape) for name, array in feeds.items()}
            raise DataError(
                f"the source model does not run on golden inputs of shape {shapes}: {error}; give "
                "data.golden with inputs that it takes"
            ) from error
        return dict(zip(names, answers.values(), strict=True))

    return run


def _dimensions(inputs: Sequence[TensorInfo], request: ExportRequest) -> dict[str, str]:
    """New names of symbolic dimensions by their own, from the spec where it has inputs."""
    has = {tensor.name: tensor for tensor in inputs}
    renamed: dict[str, str] = {}
    for name, asked in request.inputs.items():
        if name not in has:
            raise SpecError(f"the model has no input {name}; it has {', '.join(has)}")
        tensor = has[name]
        if asked.dtype != tensor.dtype or len(asked.shape) != len(tensor.shape):
            raise SpecError(
                f"input {name} is {asked.dtype} {list(asked.shape)} in the spec, {tensor.dtype} "
                f"{list(tensor.shape)} in the model"
            )
        for axis, (want, own) in enumerate(zip(asked.shape, tensor.shape, strict=True)):
            if isinstance(want, int) and want != own:
                raise SpecError(
                    f"input {name}: dimension {axis} is {want} in the spec, "
                    f"{own or 'dynamic'} in the model"
                )
            if isinstance(want, str) and isinstance(own, str):
                renamed[own] = want
    return renamed


def _name_batch(model: onnx.ModelProto) -> None:
    """A dynamic first dimension without a name is the batch."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value") and not dims[0].dim_param:
            dims[0].dim_param = "batch"
