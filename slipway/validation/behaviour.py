"""Preflight rules: nodes that train, throw dice, never end, or ask for all the memory there is."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import onnx

from slipway.reports import Finding
from slipway.samples.arrays import Array
from slipway.validation.walk import (
    ModelWalk,
    Scope,
    constant_value,
    describe_node,
    normal_domain,
    small_array,
)

MAX_CONSTANT_ELEMENTS: Final = 1 << 31
"""A constant that a node unfolds at load: two billion elements are 8 GiB of float32."""

ENDLESS_TRIPS: Final = 1 << 40
"""A trip count that no run finishes, at a nanosecond an iteration, within an afternoon."""

RANDOM: Final = frozenset(
    {
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
    }
)


def check_behaviour(walk: ModelWalk) -> Iterator[Finding]:
    """Look at the few operators whose attributes or constants decide how a model behaves."""
    for scope in walk.scopes:
        for node in scope.nodes:
            rule = _RULES.get(node.op_type)
            if rule is not None and normal_domain(node.domain) in {"", "com.microsoft"}:
                for level, code, message in rule(node, scope):
                    place = f"{describe_node(node)} in {scope.place}"
                    yield Finding(
                        level="error" if level == "error" else "warning",
                        code=code,
                        message=message,
                        place=place,
                    )


Noticed = Iterator[tuple[str, str, str]]


def _random(_node: onnx.NodeProto, _scope: Scope) -> Noticed:
    yield (
        "error",
        "non-deterministic",
        "gives other numbers at each run; sample outside the model, or make the noise an input",
    )


def _dropout(node: onnx.NodeProto, scope: Scope) -> Noticed:
    opset = scope.opsets.get("", 0)
    if opset < 7:  # noqa: PLR2004 - until then `is_test` told, and training was the default
        training = not _integer(node, "is_test", 0)
    else:
        name = node.input[2] if len(node.input) > 2 else ""  # noqa: PLR2004 - training_mode
        value = scope.constant(name) if name else np.False_
        training = value is not None and bool(np.any(value))
        if value is None:
            yield (
                "warning",
                "training-switch",
                "takes its training mode from a value known only at run time",
            )
    if training:
        yield (
            "error",
            "training-mode",
            "is in training mode and drops values at random; export after model.eval()",
        )


def _batch_normalization(node: onnx.NodeProto, scope: Scope) -> Noticed:
    opset = scope.opsets.get("", 0)
    if opset >= 14:  # noqa: PLR2004 - the opset that has `training_mode`
        training = bool(_integer(node, "training_mode", 0))
    elif opset < 7:  # noqa: PLR2004 - the opset that dropped `is_test`
        training = not _integer(node, "is_test", 0)
    else:
        training = len([name for name in node.output if name]) > 1
    if training:
        yield (
            "error",
            "training-mode",
            "is in training mode and normalises by each batch; export after model.eval()",
        )


def _loop(node: onnx.NodeProto, scope: Scope) -> Noticed:
    trips = scope.constant(node.input[0]) if node.input and node.input[0] else None
    bounded = bool(node.input) and bool(node.input[0])
    if bounded and (trips is None or trips.size != 1 or int(trips.ravel()[0]) < ENDLESS_TRIPS):
        return
    body = next((a.g for a in node.attribute if a.name == "body"), None)
    if body is None or not body.output:
        return
    start = _first(scope.constant(node.input[1])) if len(node.input) > 1 and node.input[1] else True
    going_on = _condition(body)
    if going_on is True and start is True:
        yield ("error", "endless-loop", "never ends: no trip count, and its condition stays true")
    elif going_on is None and not bounded:
        yield ("warning", "open-loop", "has no trip count; it ends when its condition says so")


def _condition(body: onnx.GraphProto) -> bool | None:
    """What a loop's body says of going on: a constant, or None when data decides."""
    makers = {name: node for node in body.node for name in node.output}
    constants = {tensor.name: tensor for tensor in body.initializer}
    name = body.output[0].name
    for _ in range(len(body.node) + 1):
        if len(body.input) > 1 and name == body.input[1].name:
            return True  # handed through: stays what it was at the start
        if name in constants:
            return _first(small_array(constants[name]))
        node = makers.get(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            return _first(constant_value(node))
        if node.op_type not in {"Identity", "Cast"} or not node.input:
            return None
        name = node.input[0]
    return None


def _allocation(position: int) -> Callable[[onnx.NodeProto, Scope], Noticed]:
    """The rule for an operator that makes a tensor of the shape given as one of its inputs."""

    def rule(node: onnx.NodeProto, scope: Scope) -> Noticed:
        shape = scope.constant(node.input[position]) if len(node.input) > position else None
        if shape is None or shape.dtype.kind not in "iu":
            return
        count = 1
        for size in shape.ravel().tolist():
            count *= max(int(size), 1) if size else 0
        if count > MAX_CONSTANT_ELEMENTS:
            yield (
                "error",
                "huge-constant",
                f"unfolds a constant of {count:.3g} elements; the bound is {MAX_CONSTANT_ELEMENTS}",
            )

    return rule


def _integer(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _first(value: Array | None) -> bool | None:
    return bool(value.ravel()[0]) if value is not None and value.size else None


_RULES: Final[dict[str, Callable[[onnx.NodeProto, Scope], Noticed]]] = {
    **dict.fromkeys(RANDOM, _random),
    "Dropout": _dropout,
    "BatchNormalization": _batch_normalization,
    "Loop": _loop,
    "ConstantOfShape": _allocation(0),
    "Expand": _allocation(1),
}
