"""A TensorFlow function to ONNX through tf2onnx, held to what the source takes and gives.

tf2onnx 1.17 returns graphs that hold TensorFlow's own operators, or constants turned into inputs,
and calls that a success: here such a graph is repaired, or refused by name.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import onnx
from onnx import version_converter

from slipway.errors import ExportFailed, SpecError, UnsupportedOperator
from slipway.exporters.canonical import canonicalize
from slipway.exporters.cleaning import clean_model
from slipway.exporters.tensorflow_convolving import HANDLERS as CONVOLVING
from slipway.exporters.tensorflow_lookups import handlers
from slipway.exporters.tensorflow_repairs import repair_leftovers
from slipway.exporters.tensorflow_resizing import HANDLERS as RESIZING
from slipway.exporters.tensorflow_runtime import tf, tf2onnx, tf_loader
from slipway.exporters.tensorflow_signs import HANDLERS as SIGNS
from slipway.exporters.wording import first_lines
from slipway.protocols import ExportRequest
from slipway.reports import TensorInfo
from slipway.specs import DType

TF2ONNX_OPSET: Final = 18
"""The highest that tf2onnx 1.17 writes; onnx's own converter goes on from there."""

DTYPES: Final[dict[str, DType]] = {
    "float32": "float32",
    "float64": "float64",
    "float16": "float16",
    "int64": "int64",
    "int32": "int32",
    "int16": "int16",
    "int8": "int8",
    "uint8": "uint8",
    "bool": "bool",
    "string": "string",
}
_MUST_COMPILE: Final = "_XlaMustCompile"
_IMAGE_RANK: Final = 4
_TO_NCHW: Final = (0, 3, 1, 2)


@dataclass(frozen=True)
class Interface:
    """What the exported graph takes and gives; `nchw` names inputs that it takes as NCHW.

    `inputs` are in the graph's layout: an input named in `nchw` is NHWC in the source.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nchw: tuple[str, ...] = ()


def describe_input(
    name: str, dtype: str, shape: Sequence[int | None], request: ExportRequest
) -> TensorInfo:
    """One input in the source's layout, with the spec's names and sizes where it has them.

    Raises:
        SpecError: when the spec contradicts the model.
        ExportFailed: when the model fixes what the spec wants dynamic.
    """
    if dtype not in DTYPES:
        raise ExportFailed(
            f"input {name} is {dtype}, which no input data can have",
            facts={"kind": "dtype", "input": name, "dtype": dtype},
        )
    asked = request.inputs.get(name)
    if asked is None:
        sizes = [_default_size(name, axis, size) for axis, size in enumerate(shape)]
        return TensorInfo(name=name, dtype=DTYPES[dtype], shape=tuple(sizes))
    if asked.dtype != DTYPES[dtype]:
        raise SpecError(f"input {name} is {asked.dtype} in the spec, {DTYPES[dtype]} in the model")
    wanted = to_source_layout(asked.shape) if is_nchw(name, request) else asked.shape
    if len(wanted) != len(shape):
        raise SpecError(
            f"input {name} has {len(wanted)} dimensions in the spec, {len(shape)} in the model"
        )
    for want, size in zip(wanted, shape, strict=True):
        _check_size(name, want, size, shape)
    return TensorInfo(name=name, dtype=DTYPES[dtype], shape=tuple(wanted))


def is_nchw(name: str, request: ExportRequest) -> bool:
    """Whether the exported model shall take this input as NCHW."""
    return name in request.source.inputs_as_nchw


def graph_interface(
    inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], request: ExportRequest
) -> Interface:
    """The source's inputs in the layout that the exported graph has.

    Raises:
        SpecError: when `inputs_as_nchw` names no input, or one that is no image.
    """
    known = {tensor.name: tensor for tensor in inputs}
    for name in request.source.inputs_as_nchw:
        if name not in known:
            raise SpecError(
                f"source.inputs_as_nchw: no input is called {name!r}; there are {', '.join(known)}"
            )
        if len(known[name].shape) != _IMAGE_RANK:
            raise SpecError(
                f"source.inputs_as_nchw: {name} has {len(known[name].shape)} dimensions; only "
                "batches of images (NHWC) have another layout"
            )
    turned = tuple(
        tensor.model_copy(update={"shape": tuple(tensor.shape[axis] for axis in _TO_NCHW)})
        if is_nchw(tensor.name, request)
        else tensor
        for tensor in inputs
    )
    return Interface(turned, tuple(outputs), request.source.inputs_as_nchw)


def to_source_layout(sizes: Sequence[Any]) -> tuple[Any, ...]:
    """NCHW to NHWC; anything that has no four dimensions is left for others to refuse."""
    if len(sizes) != _IMAGE_RANK:
        return tuple(sizes)
    return tuple(sizes[axis] for axis in (0, 2, 3, 1))


def placeholder_names(function: Any) -> dict[str, str]:  # noqa: ANN401 - tf's ConcreteFunction
    """A function's own tensors by the names that its signature gives them."""
    # Captured tensors come behind those of the signature.
    keywords = function._arg_keywords  # noqa: SLF001 - nothing public says which tensor is which
    return dict(zip(keywords, (tensor.name for tensor in function.inputs), strict=False))


def result_names(function: Any) -> dict[str, str]:  # noqa: ANN401 - tf's ConcreteFunction
    """A function's own tensors by the keys of the dict that it gives; flat, they are sorted."""
    keys = sorted(function.structured_outputs)
    return dict(zip(keys, (tensor.name for tensor in function.outputs), strict=True))


def convert_function(
    function: Any,  # noqa: ANN401 - tf's ConcreteFunction
    keeper: Any,  # noqa: ANN401 - the object whose variables and tables the function uses
    *,
    input_tensors: Mapping[str, str],
    output_tensors: Mapping[str, str],
    interface: Interface,
    opset: int,
) -> onnx.ModelProto:
    """Freeze a traced function and convert it.

    Args:
        function: The concrete function.
        keeper: What its variables and lookup tables hang on.
        input_tensors: The function's own tensor names by the inputs' names.
        output_tensors: The same of the outputs.
        interface: What the graph shall take and give.
        opset: The ONNX opset to write.

    Raises:
        ExportFailed: naming the operators that tf2onnx left, or what else is wrong.
    """
    names = {tensor: name for name, tensor in {**input_tensors, **output_tensors}.items()}
    tf2onnx.utils.INTERNAL_NAME = 1  # its names count on over all graphs of a process
    try:
        with warnings.catch_warnings(), tf.device("/cpu:0"), _functions_inlined():
            warnings.simplefilter("ignore")
            frozen, tables = tf_loader.from_trackable(
                keeper,
                function,
                list(input_tensors.values()),
                list(output_tensors.values()),
                large_model=False,
            )
            model, _ = tf2onnx.convert._convert_common(  # noqa: SLF001 - what its own command calls
                frozen,
                name="slipway",
                continue_on_error=True,
                opset=min(opset, TF2ONNX_OPSET),
                input_names=list(input_tensors.values()),
                output_names=list(output_tensors.values()),
                inputs_as_nchw=[input_tensors[name] for name in interface.nchw],
                tensors_to_rename=names,
                initialized_tables=tables,
                custom_op_handlers={**RESIZING, **CONVOLVING, **SIGNS, **handlers(tables)},
            )
    except Exception as error:
        raise ExportFailed(f"tf2onnx does not convert the model: {first_lines(error)}") from error
    return _finish(model, interface, opset)


@contextlib.contextmanager
def _functions_inlined() -> Iterator[None]:
    """Let TensorFlow inline functions that are marked for XLA.

    Keras 3.15 compiles grouped convolutions so, since TensorFlow's CPU kernels have none; the call
    would stay in the graph as one operator, StatefulPartitionedCall, and ONNX needs no XLA.
    """
    original = tf_loader.tf_optimize

    def optimize(inputs: list[str], outputs: list[str], graph: Any) -> Any:  # noqa: ANN401
        for function in graph.library.function:
            if function.attr.pop(_MUST_COMPILE, None) is not None:
                function.attr.pop("_noinline", None)
        for nodes in (graph.node, *(f.node_def for f in graph.library.function)):
            for node in nodes:
                node.attr.pop(_MUST_COMPILE, None)
        return original(inputs, outputs, graph)

    tf_loader.tf_optimize = optimize
    try:
        yield
    finally:
        tf_loader.tf_optimize = original


def _finish(model: onnx.ModelProto, interface: Interface, opset: int) -> onnx.ModelProto:
    repair_leftovers(model)
    _refuse_leftovers(model)
    if opset > TF2ONNX_OPSET:
        try:
            model = version_converter.convert_version(model, opset)
        except Exception as error:
            raise ExportFailed(
                f"tf2onnx writes opset {TF2ONNX_OPSET}, and onnx does not bring it to opset "
                f"{opset}: {first_lines(error)}; set opset: {TF2ONNX_OPSET}"
            ) from error
    _refuse_new_inputs(model, interface)
    # Its names of dimensions are counters, and the shapes of inner values are inferred anew by
    # whoever needs them.
    del model.graph.value_info[:]
    canonicalize(model)
    for values, wanted in (
        (model.graph.input, interface.inputs),
        (model.graph.output, interface.outputs),
    ):
        _set_shapes(values, {tensor.name: tensor for tensor in wanted})
    clean_model(model, dimensions={})
    return model


def _refuse_leftovers(model: onnx.ModelProto) -> None:
    """TensorFlow operators stay in ONNX's own domain when tf2onnx knows no way to convert them."""
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    unknown = sorted(
        {
            node.op_type
            for node in all_nodes(model.graph)
            if not _is_onnx(node, opsets.get(node.domain, 0))
        }
    )
    if unknown:
        raise UnsupportedOperator(
            f"tf2onnx has no ONNX for TensorFlow's {', '.join(unknown)}; replace the layers that "
            "use it, or leave them out of the exported model",
            facts={"operator": ", ".join(unknown), "opset": opsets.get("", 0)},
        )


def all_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Every node, those inside loops and branches too."""
    nodes = []
    for node in graph.node:
        nodes.append(node)
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                nodes += all_nodes(inner)
    return nodes


def _is_onnx(node: onnx.NodeProto, opset: int) -> bool:
    try:
        onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return False
    return True


def _refuse_new_inputs(model: onnx.ModelProto, interface: Interface) -> None:
    """A constant that the function captured may come out as an input that nobody can give."""
    filled = {tensor.name for tensor in model.graph.initializer}
    wanted = {tensor.name for tensor in interface.inputs}
    strange = [v.name for v in model.graph.input if v.name not in filled | wanted]
    if strange:
        raise ExportFailed(
            f"tf2onnx turned {len(strange)} constants of the model into inputs "
            f"({', '.join(strange[:3])})"
        )


def _set_shapes(values: Any, wanted: Mapping[str, TensorInfo]) -> None:  # noqa: ANN401 - repeated field
    for value in values:
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for size in wanted[value.name].shape:
            dim = shape.dim.add()
            if isinstance(size, int):
                dim.dim_value = size
            elif size is not None:
                dim.dim_param = size


def _default_size(name: str, axis: int, size: int | None) -> int | str:
    if size is not None:
        return int(size)
    return "batch" if axis == 0 else f"{name}_{axis}"


def _check_size(name: str, want: int | str, size: int | None, shape: Sequence[int | None]) -> None:
    if size is None or want == size:
        return
    if isinstance(want, str):
        raise ExportFailed(
            f"input {name}: a dimension was asked for as dynamic ({want}), and the model fixes it "
            f"at {size}; its shape is {list(shape)}",
            facts={"kind": "frozen-dimension", "input": name, "dimension": want, "size": size},
        )
    raise SpecError(f"input {name}: a dimension is {want} in the spec, {size} in the model")
