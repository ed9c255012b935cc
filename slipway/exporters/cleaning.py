"""Exported graphs made the same whoever and wherever exported them, and fit for onnxruntime.

Names of dimensions and outputs become those asked for; what carries paths of the exporting machine,
and so would change the digest, is dropped. Weights are never touched.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import onnx
import onnx.helper

from slipway.errors import ExportFailed
from slipway.exporters.guarding import guard_pools
from slipway.exporters.renaming import walk_graphs
from slipway.protocols import ExportRequest, ExportResult
from slipway.providers.signature import model_inputs, model_outputs
from slipway.reports import Finding, OutputNoise, TensorInfo
from slipway.samples.golden import GoldenSet

IR_VERSION: Final = 10  # onnx 1.23 would write 14, which onnxruntime 1.31 refuses
EXTERNAL_DATA_BYTES: Final = 500_000_000
"""More weights than this are written beside the graph. A protobuf ends at 2 GB, and is in memory
four times over while it is made and saved: a model of 1 GB took 4.8 GB, and takes 1.5 GB so."""


def clean_model(model: onnx.ModelProto, *, dimensions: Mapping[str, str]) -> None:
    """Rename dimensions, sort opsets, drop doc strings and metadata, guard pools; in place.

    Args:
        model: The model; external data may stay unloaded.
        dimensions: New names for symbolic dimensions, by their present names.
    """
    model.ir_version = min(model.ir_version, IR_VERSION)
    model.doc_string = ""
    del model.metadata_props[:]
    _sort_opsets(model)
    for graph in walk_graphs(model.graph):
        graph.doc_string = ""
        del graph.metadata_props[:]
        _clean_values(graph, dimensions)
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
    guard_pools(model)


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model; what is too much for a protobuf goes beside it, and leaves memory."""
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > EXTERNAL_DATA_BYTES:
        onnx.save(
            model,
            path,
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=path.name + ".data",
        )
    else:
        onnx.save(model, path)


def _sort_opsets(model: onnx.ModelProto) -> None:
    """skl2onnx writes them in the order of a set, which differs from process to process."""
    versions = sorted({(entry.domain, entry.version) for entry in model.opset_import})
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*entry) for entry in versions)


def finish_export(
    model_path: Path,
    golden: GoldenSet,
    *,
    request: ExportRequest,
    scratch: Path,
    route: str,
    tools: dict[str, str],
    findings: Sequence[Finding] = (),
    noise: Sequence[OutputNoise] = (),
) -> ExportResult:
    """Read the finished model's signature, save the golden set, and say what was made.

    Raises:
        ExportFailed: when the opset or a dynamic dimension is not as asked for.
    """
    model = onnx.load(model_path, load_external_data=False)
    opset = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
    if opset != request.opset:
        raise ExportFailed(
            f"opset {request.opset} was asked for and {route} wrote opset {opset}; set "
            f"opset: {opset} in the spec",
            facts={"kind": "opset", "opset": request.opset, "needed_opset": opset},
        )
    inputs = model_inputs(model)
    check_dimensions(inputs, request)
    golden_path = scratch / "golden.npz"
    golden.save(golden_path)
    return ExportResult(
        model=model_path,
        golden=golden_path,
        route=route,
        opset=opset,
        inputs=inputs,
        outputs=model_outputs(model),
        golden_batch_sizes=tuple(_batch(case.inputs.values()) for case in golden.cases),
        tools=tools,
        findings=tuple(findings),
        noise=tuple(noise),
    )


def check_dimensions(inputs: Sequence[TensorInfo], request: ExportRequest) -> None:
    """A converter may drop a dynamic dimension without a word: hold the graph to the spec.

    Raises:
        ExportFailed: naming the input and the dimension.
    """
    made = {tensor.name: tensor for tensor in inputs}
    for name, asked in request.inputs.items():
        if name not in made:
            raise ExportFailed(
                f"input {name} is not in the exported graph; it has {', '.join(made)}. The "
                "model does not use it, or the converter folded it away"
            )
        for axis, (want, have) in enumerate(zip(asked.shape, made[name].shape, strict=False)):
            if isinstance(want, str) and isinstance(have, int):
                raise ExportFailed(
                    f"input {name}: dimension {axis} was asked for as dynamic ({want}), and the "
                    f"exported graph fixes it at {have}",
                    facts={"kind": "frozen-dimension", "input": name, "dimension": want},
                )


def _batch(arrays: Iterable[object]) -> int:
    return max((len(array) for array in arrays if getattr(array, "ndim", 0)), default=0)  # type: ignore[arg-type]


def _clean_values(graph: onnx.GraphProto, dimensions: Mapping[str, str]) -> None:
    weights = {tensor.name for tensor in graph.initializer}
    # onnxruntime's quantize_dynamic transposes weights and then fails on their old value infos.
    kept = [value for value in graph.value_info if value.name not in weights]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.doc_string = ""
        del value.metadata_props[:]
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in dimensions:
                dim.dim_param = dimensions[dim.dim_param]
