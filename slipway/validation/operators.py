"""Preflight rule: every operator is one that ONNX or the runtime defines at the model's opset."""

from collections.abc import Iterator
from functools import cache
from typing import Final, Literal

import onnx

from slipway.reports import Finding
from slipway.validation.walk import ModelWalk, Scope, describe_node, normal_domain, quote

Standing = Literal["known", "newer", "deprecated", "unknown"]

ONNX_DOMAINS: Final = frozenset({"", "ai.onnx.ml"})
RUNTIME_DOMAINS: Final = frozenset({"com.microsoft", "com.microsoft.nchwc"})
PROCESSOR_DOMAINS: Final = frozenset({"com.microsoft.nchwc"})


def check_operators(walk: ModelWalk) -> Iterator[Finding]:
    """Name every operator that nobody defines; each is named once.

    Converters leave operators of their framework in ONNX's own domain and report success: tf2onnx
    does so with `Erfc`, `MatrixInverse`, `EagerPyFunc`.
    """
    local = {(normal_domain(domain), name) for domain, name, _ in walk.functions}
    seen: set[tuple[str, str, int]] = set()
    for scope in walk.scopes:
        for node in scope.nodes:
            domain = normal_domain(node.domain)
            key = (domain, node.op_type, scope.opsets.get(domain, 0))
            if key in seen:
                continue
            seen.add(key)
            if (domain, node.op_type) not in local:
                yield from _check_operator(node, domain, scope)


def _check_operator(node: onnx.NodeProto, domain: str, scope: Scope) -> Iterator[Finding]:
    place = f"{describe_node(node)} in {scope.place}"
    name = quote(f"{domain}.{node.op_type}" if domain else node.op_type)
    if domain not in ONNX_DOMAINS | RUNTIME_DOMAINS:
        message = f"operator {name} is of a domain that onnxruntime does not know"
        yield Finding(level="error", code="unknown-domain", message=message, place=place)
        return
    if domain not in scope.opsets:
        message = f"operator {name} is used, but no operator set of its domain is imported"
        yield Finding(level="error", code="undeclared-domain", message=message, place=place)
        return
    opset = scope.opsets[domain]
    message = {
        "known": "",
        "newer": f"{name} does not exist in opset {opset} yet; export with a later opset",
        "deprecated": f"{name} was withdrawn by opset {opset}; export again with its successor",
        "unknown": f"{name} is no operator of ONNX or onnxruntime; the converter left it in the "
        "graph: convert by another route, or replace that layer",
    }[standing(domain, node.op_type, opset)]
    if message:
        yield Finding(level="error", code="unknown-operator", message=message, place=place)
    elif domain in PROCESSOR_DOMAINS:
        message = f"{name} was put in for one processor's memory layout; others may refuse it"
        yield Finding(level="warning", code="processor-specific", message=message, place=place)


@cache
def standing(domain: str, name: str, opset: int) -> Standing:
    """What ONNX, or else the runtime, says of an operator at an opset."""
    if domain in ONNX_DOMAINS and onnx.defs.has(name, domain):
        try:
            schema = onnx.defs.get_schema(name, opset, domain)
        except onnx.defs.SchemaError:
            return "newer"
        return "deprecated" if schema.deprecated else "known"
    return "known" if _runtime_defines(domain, name) else "unknown"


def _runtime_defines(domain: str, name: str) -> bool:
    operators = _runtime_operators()
    # A build that keeps its list to itself refuses unknown ones when it loads the model.
    return (domain, name) in operators if operators else domain in RUNTIME_DOMAINS


@cache
def _runtime_operators() -> frozenset[tuple[str, str]]:
    """Operators that this onnxruntime has a schema for; empty where its build does not tell."""
    from onnxruntime.capi import _pybind_state as state

    if not hasattr(state, "get_all_operator_schema"):
        return frozenset()
    return frozenset((schema.domain, schema.name) for schema in state.get_all_operator_schema())
