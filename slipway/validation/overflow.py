"""Half-precision overflow, which the CPU provider hides.

onnxruntime's CPU kernels compute float16 in float32 and cast only at the edges, so that a model
which overflows on every GPU has finite outputs here. Made outputs of the model, the values between
the nodes are rounded to float16 as a GPU rounds them, and the overflow shows.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from slipway.errors import CheckFailed
from slipway.providers.sessions import Session
from slipway.reports import Finding
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenSet
from slipway.validation.replay import fit_case
from slipway.validation.walk import describe_node

MAX_MODEL_BYTES: Final = 1 << 30
"""Larger models are not written once more; their overflow is left to the GPU's own benchmark."""

_GROWING: Final = frozenset(
    {
        # What makes large numbers of finite ones. Sums are left out: a mask of the lowest number
        # plus a score is minus infinity by design.
        "MatMul",
        "Gemm",
        "Conv",
        "ConvTranspose",
        "Mul",
        "Pow",
        "ReduceSum",
        "ReduceMean",
        "ReduceSumSquare",
        "ReduceL2",
        "GlobalAveragePool",
        "AveragePool",
    }
)


def find_overflow(path: Path, golden: GoldenSet, scratch: Path) -> Finding | None:
    """The first node of a float16 model that gives an infinity of finite inputs, if any does.

    Only nodes of the main graph are looked at, on the golden inputs. None as well for a model that
    cannot be written once more with all its values as outputs.

    Raises:
        DataError: when the golden inputs do not fit the model's.
    """
    exposed = scratch / "exposed.onnx"
    nodes = _expose(path, exposed)
    if not nodes:
        return None
    try:
        session = Session(exposed, optimization="none")
        for index, case in enumerate(golden.cases):
            feeds = fit_case(session.inputs, case.inputs)
            for node in _overflowing(nodes, {**feeds, **session.run(feeds)}):
                return Finding(
                    level="error",
                    code="fp16-overflow",
                    message=f"overflows float16 (65504) in golden case {index}: infinite on a "
                    "GPU, though finite here; keep it in float32",
                    place=describe_node(node),
                )
    except CheckFailed:
        return None
    finally:
        exposed.unlink(missing_ok=True)
    return None


def _expose(path: Path, target: Path) -> list[onnx.NodeProto]:
    """Write the model with its float16 values as outputs; the nodes that may overflow."""
    model = onnx.load(path)
    if model.ByteSize() > MAX_MODEL_BYTES:
        return []
    given = {value.name for value in model.graph.output}
    halves = {
        value.name: value
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    }
    nodes = [n for n in model.graph.node if n.op_type in _GROWING and n.output[0] in halves]
    if nodes:
        model.graph.output.extend(v for name, v in halves.items() if name not in given)
        onnx.save(model, target)
    return nodes


def _overflowing(nodes: list[onnx.NodeProto], values: dict[str, Array]) -> Iterator[onnx.NodeProto]:
    bad = {
        name
        for name, array in values.items()
        if array.dtype.kind == "f" and not np.isfinite(array).all()
    }
    for node in nodes:
        if node.output[0] in bad and not bad.intersection(node.input):
            yield node
