"""Overflow in true half arithmetic, which onnxruntime's CPU provider hides.

It computes float16 in float32 with casts between (1.31), so that what is infinite on every GPU is
finite there. onnx's ReferenceEvaluator rounds after each operator, as slowly as numpy computes in
float16, so the work that it is given is bounded.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from slipway.precisions import graphs
from slipway.precisions.half.elements import Types
from slipway.precisions.half.operators import MATRIX
from slipway.samples.arrays import Array

LARGEST_WORK: Final = 50_000_000
"""Multiplications of one evaluation: some seconds of numpy's float16."""


def estimate_work(model: onnx.ModelProto, types: Types, elements: Mapping[str, int]) -> int:
    """Multiplications of one run, from the weights' shapes and the elements of the results."""
    total = 0
    for node in graphs.walk_nodes(model):
        if node.op_type not in MATRIX or not node.output:
            continue
        result = elements.get(node.output[0]) or _known(types, node.output[0])
        depths = [_depth(node, types, name) for name in node.input[:2]]
        total += result * max(*depths, 1)
    return total


def find_overflow(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> Iterator[str]:
    """Values that are not finite though all that they are made from is.

    Raises:
        Exception: whatever the evaluator does on an operator that it does not know.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ReferenceEvaluator(model).run(None, dict(feeds), intermediate=True)
    if not isinstance(found, dict):
        raise TypeError("the evaluator gave no intermediate results")
    bad = {name for name, value in found.items() if _is_bad(value)}
    for node in model.graph.node:
        if not bad.intersection(node.input):
            yield from (name for name in node.output if name in bad)


def _is_bad(value: object) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.dtype.kind == "f"
        and not bool(np.isfinite(value).all())
    )


def _known(types: Types, name: str) -> int:
    shape = types.shapes.get(name)
    return math.prod(size or 1 for size in shape) if shape else 1


def _depth(node: onnx.NodeProto, types: Types, name: str) -> int:
    """How many products are added for one element of the result, at most."""
    shape = types.shapes.get(name)
    if not shape:
        return 1
    if "Conv" in node.op_type:
        return math.prod(size or 1 for size in shape[1:]) if name == node.input[1] else 1
    return max(size or 1 for size in shape)
