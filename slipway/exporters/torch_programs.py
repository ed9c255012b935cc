"""torch.export's programs: made from modules, described, run as the source, written as ONNX."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from torch.utils import _pytree as pytree

from slipway.errors import DataError, ExportFailed, SpecError, UnsupportedOperator
from slipway.exporters.cleaning import EXTERNAL_DATA_BYTES, clean_model
from slipway.exporters.torch_operators import TRANSLATIONS
from slipway.exporters.torch_places import place_of, training_places
from slipway.exporters.wording import first_lines
from slipway.protocols import ExportRequest
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array
from slipway.specs import DType

_DTYPES: Final[dict[torch.dtype, DType]] = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.int16: "int16",
    torch.int8: "int8",
    torch.uint8: "uint8",
    torch.bool: "bool",
}
_OPERATOR: Final = re.compile(r"No ONNX function found for <OpOverload\(op='([^']+)'")
_TRANSLATED: Final = re.compile(r"translating node %(\w+) ")
# The exporter has its own lines about a torchvision that nobody asked for.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Program:
    """An exported program and how its flat inputs are called outside."""

    program: torch.export.ExportedProgram
    inputs: tuple[TensorInfo, ...]
    dimensions: Mapping[str, str]  # the program's symbols -> names of dimensions

    def run(self, feeds: Mapping[str, Array]) -> Any:  # noqa: ANN401 - any tree of tensors
        """Call it with arrays by input name."""
        tensors = [torch.from_numpy(np.ascontiguousarray(feeds[i.name])) for i in self.inputs]
        arguments = pytree.tree_unflatten(tensors, self.program.call_spec.in_spec)
        positional, keywords = arguments
        with torch.no_grad(), self._unchanged():
            return self.program.module()(*positional, **keywords)

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Put buffers back: a program left in training mode moves its statistics when it runs."""
        moving = [*self.program.buffers()] if self.training else []
        before = [buffer.clone() for buffer in moving]
        yield
        for buffer, value in zip(moving, before, strict=True):
            buffer.copy_(value)

    @cached_property
    def training(self) -> tuple[str, ...]:
        """Places in it that are in training mode."""
        return tuple(training_places(self.program.graph))


def trace(
    module: torch.nn.Module,
    inputs: Sequence[TensorInfo],
    example: Mapping[str, Array],
    *,
    variadic: bool = False,
) -> torch.export.ExportedProgram:
    """A module to a program whose named dimensions are dynamic.

    Args:
        module: In evaluation mode.
        inputs: Its inputs in order.
        example: Values to trace with; no dynamic size of them 0 or 1, which torch would freeze.
        variadic: The module takes its inputs as `*tensors`.

    Raises:
        ExportFailed: when torch.export fails on it.
    """
    names = {size for tensor in inputs for size in tensor.shape if isinstance(size, str)}
    # AUTO lets torch find out which dimensions must be equal; the graph is compared with the
    # spec afterwards, so a dimension that it froze is an error and not a surprise.
    dynamic = dict.fromkeys(names, torch.export.Dim.AUTO)
    shapes = [
        {axis: dynamic[size] for axis, size in enumerate(tensor.shape) if isinstance(size, str)}
        for tensor in inputs
    ]
    arguments = tuple(torch.from_numpy(example[tensor.name]) for tensor in inputs)
    try:
        return torch.export.export(
            module,
            arguments,
            dynamic_shapes=(tuple(shapes),) if variadic else tuple(shapes),
            strict=False,
        )
    except Exception as error:
        raise ExportFailed(
            f"torch.export fails on the module with inputs of shape "
            f"{[list(argument.shape) for argument in arguments]}: {first_lines(error)}"
        ) from error


def describe(program: torch.export.ExportedProgram, request: ExportRequest) -> Program:
    """Names for the program's inputs and symbols, from the spec where it has them.

    Raises:
        SpecError, ExportFailed: when the spec's inputs are not the program's.
    """
    wanted = set(program.graph_signature.user_inputs)
    nodes = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in wanted]
    if request.inputs and len(request.inputs) != len(nodes):
        raise SpecError(
            f"the spec names {len(request.inputs)} inputs ({', '.join(request.inputs)}), the "
            f"program takes {len(nodes)} ({', '.join(n.name for n in nodes)})"
        )
    own_names = [node.name for node in nodes]
    named = own_names if set(own_names) == set(request.inputs) else list(request.inputs)
    dimensions: dict[str, str] = {}
    described = []
    for name, node in zip(named or own_names, nodes, strict=True):
        value = node.meta["val"]
        asked = request.inputs[name].shape if name in request.inputs else ()
        if asked and len(asked) != value.ndim:
            raise SpecError(
                f"input {name} has {len(asked)} dimensions in the spec, {value.ndim} in the program"
            )
        shape = [
            _dimension(size, asked[axis] if asked else None, axis, name, dimensions)
            for axis, size in enumerate(value.shape)
        ]
        described.append(
            TensorInfo(name=name, dtype=_dtype(name, value, request), shape=tuple(shape))
        )
    return Program(program, tuple(described), dimensions)


def _dtype(name: str, value: torch.Tensor, request: ExportRequest) -> DType:
    """The program's element type, which the spec must not contradict."""
    if value.dtype not in _DTYPES:
        raise ExportFailed(
            f"input {name} is {value.dtype}, which no input data can have",
            facts={"kind": "dtype", "input": name, "dtype": str(value.dtype)},
        )
    has = _DTYPES[value.dtype]
    asked = request.inputs[name].dtype if name in request.inputs else has
    if asked != has:
        raise SpecError(f"input {name} is {asked} in the spec, {has} in the program")
    return has


def _dimension(
    size: int | torch.SymInt,
    asked: int | str | None,
    axis: int,
    name: str,
    dimensions: dict[str, str],
) -> int | str:
    """One size or name, remembering under which symbol a name goes."""
    if isinstance(size, int):
        if isinstance(asked, str):
            raise ExportFailed(
                f"input {name}: dimension {axis} was asked for as dynamic ({asked}), and the "
                f"program fixes it at {size}; save it with torch.export.export(..., "
                "dynamic_shapes=...)",
                facts={"kind": "frozen-dimension", "input": name, "dimension": asked, "size": size},
            )
        if asked not in {None, size}:
            raise SpecError(
                f"input {name}: dimension {axis} is {asked} in the spec, {size} in the program"
            )
        return size
    if isinstance(asked, int):
        raise SpecError(
            f"input {name}: dimension {axis} is fixed at {asked} in the spec, and dynamic in the "
            "program; give it a name in the spec, or save the program without that dynamic shape"
        )
    symbol = str(size)
    if symbol not in dimensions:
        default = "batch" if axis == 0 and "batch" not in dimensions.values() else symbol
        dimensions[symbol] = asked if isinstance(asked, str) else default
    return dimensions[symbol]


def own_output_names(program: Program, case: Mapping[str, Array]) -> tuple[str, ...]:
    """What the program calls its outputs: the keys of a dictionary, else numbers."""
    leaves = pytree.tree_flatten_with_path(_run_source(program, case))[0]
    tensors = [(path, leaf) for path, leaf in leaves if isinstance(leaf, torch.Tensor)]
    if len(tensors) == 1 and not tensors[0][0]:
        return ("output",)
    keys = [getattr(path[0], "key", None) if len(path) == 1 else None for path, _ in tensors]
    return tuple(
        key if isinstance(key, str) else f"output_{index}" for index, key in enumerate(keys)
    )


def as_source(
    program: Program, names: Sequence[str]
) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
    """The program as what a golden set is recorded from."""

    def run(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        leaves = pytree.tree_leaves(_run_source(program, feeds))
        arrays = [leaf.detach().cpu().numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]
        return dict(zip(names, arrays, strict=True))

    return run


def _run_source(program: Program, feeds: Mapping[str, Array]) -> Any:  # noqa: ANN401 - any tree of tensors
    try:
        return program.run(feeds)
    except (RuntimeError, AssertionError, IndexError) as error:
        shapes = {name: list(array.shape) for name, array in feeds.items()}
        if "Guard failed" in str(error):
            raise ExportFailed(
                f"the traced program takes no inputs of shape {shapes} ({first_lines(error)}): the "
                "model's code computes with that size as a plain number, so that it cannot be "
                "dynamic; fix it in the spec's inputs, or change the model",
                facts={"kind": "frozen-dimension"},
            ) from error
        raise DataError(
            f"the source model does not run on golden inputs of shape {shapes}: "
            f"{first_lines(error)}; give data.golden with inputs that it takes"
        ) from error


def convert(program: Program, names: Sequence[str], request: ExportRequest, scratch: Path) -> Path:
    """A program to a cleaned model.onnx by the dynamo exporter.

    Raises:
        ExportFailed: when it fails.
    """
    exported = to_onnx(program, names, request)
    path = scratch / "model.onnx"
    tensors = (*program.program.state_dict.values(), *program.program.constants.values())
    weights = sum(t.nbytes for t in tensors if isinstance(t, torch.Tensor))
    exported.save(path, external_data=weights > EXTERNAL_DATA_BYTES)
    model = onnx.load(path, load_external_data=False)
    clean_model(model, dimensions=program.dimensions)
    path.unlink()
    onnx.save(model, path)
    return path


def to_onnx(
    program: Program, names: Sequence[str], request: ExportRequest
) -> torch.onnx.ONNXProgram:
    """What the dynamo exporter makes of a program, with the decomposed program that it wrote.

    Raises:
        ExportFailed: when it fails.
    """
    try:
        exported = torch.onnx.export(
            _without_projections(program.program),
            (),
            dynamo=True,
            opset_version=request.opset,
            input_names=[tensor.name for tensor in program.inputs],
            output_names=list(names),
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
    except Exception as error:
        raise _refusal(program, error, request.opset) from error
    if exported is None:
        raise ExportFailed("torch.onnx gave no program")
    return exported


def _without_projections(
    program: torch.export.ExportedProgram,
) -> torch.export.ExportedProgram:
    """A program whose LSTMs with `proj_size` are written out step by step: ONNX's has none."""
    lstm = torch.ops.aten.lstm.input
    projected = [
        node
        for node in program.graph.nodes
        if node.target is lstm
        and node.args[1][0].meta["val"].shape != node.args[1][1].meta["val"].shape
    ]
    if not projected:
        return program
    unrolled = torch.export.default_decompositions()[lstm]
    written_out: torch.export.ExportedProgram = program.run_decompositions({lstm: unrolled})
    return written_out


def _refusal(program: Program, error: BaseException, opset: int) -> ExportFailed:
    """What torch.onnx refused: an operator, with its place in the model, or anything else."""
    node = _TRANSLATED.search(str(error))
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ExportFailed):  # of a translation of ours
        return error
    operator = _OPERATOR.search(str(error))
    if operator is None:
        return ExportFailed(f"torch.onnx does not export the program: {first_lines(error)}")
    # The exporter translates a program of fewer operators, which are called otherwise.
    nodes = program.program.run_decompositions().graph.nodes
    places = [f" ({place_of(other)})" for other in nodes if node and other.name == node[1]]
    return UnsupportedOperator(
        f"unsupported operator {operator[1]}{''.join(places)}: torch.onnx has no ONNX for it at "
        f"opset {opset}; write it with operators that ONNX has, or leave it out of the exported "
        "model",
        facts={"operator": operator[1], "opset": opset},
    )
