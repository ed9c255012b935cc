"""Preflight rules: model-local functions end, and stay small when every call is written out."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from slipway.reports import Finding
from slipway.validation.walk import FunctionKey, ModelWalk, quote

MAX_EXPANDED_NODES: Final = 200_000
"""ONNX's checker and onnxruntime write out every call: a 4 kB file can ask for 2**64 nodes.

The largest exported language models have about half as many.
"""

MAX_CALL_DEPTH: Final = 64
"""Functions that call functions; native parsers recurse once a level."""


def check_functions(walk: ModelWalk) -> Iterator[Finding]:
    """Functions defined twice, calling themselves, nested too deep, or growing without bound."""
    for key, count in Counter((f.domain, f.name, f.overload) for f in walk.model.functions).items():
        if count > 1:
            message = f"function {quote(key[1])} is defined {count} times"
            yield Finding(level="error", code="duplicate-function", message=message)
    sizes, calls = _count(walk)
    order, recursive = _callees_first(calls)
    for key in recursive:
        message = f"function {quote(key[1])} calls itself, directly or through others"
        yield Finding(level="error", code="recursive-function", message=message)
    if recursive:
        return
    expanded: dict[FunctionKey | None, int] = {}
    depth: dict[FunctionKey | None, int] = {}
    for caller in order:
        expanded[caller] = sizes[caller] + sum(n * expanded[c] for c, n in calls[caller].items())
        depth[caller] = 1 + max((depth[callee] for callee in calls[caller]), default=-1)
    if expanded[None] > MAX_EXPANDED_NODES and calls[None]:
        message = (
            f"its functions written out come to {_round(expanded[None])} nodes; "
            f"the bound is {MAX_EXPANDED_NODES}"
        )
        yield Finding(level="error", code="function-expansion", message=message)
    if depth[None] > MAX_CALL_DEPTH:
        message = f"functions call functions {depth[None]} deep; the bound is {MAX_CALL_DEPTH}"
        yield Finding(level="error", code="function-depth", message=message)


def _count(
    walk: ModelWalk,
) -> tuple[dict[FunctionKey | None, int], dict[FunctionKey | None, Counter[FunctionKey]]]:
    """Nodes and calls of the main graph (None) and of each function, subgraphs included."""
    sizes: dict[FunctionKey | None, int] = dict.fromkeys((None, *walk.functions), 0)
    calls: dict[FunctionKey | None, Counter[FunctionKey]] = {key: Counter() for key in sizes}
    for scope in walk.scopes:
        sizes[scope.function] += len(scope.nodes)
        if walk.functions:
            called = Counter((n.domain, n.op_type, n.overload) for n in scope.nodes)
            calls[scope.function].update({k: n for k, n in called.items() if k in walk.functions})
    return sizes, calls


def _callees_first(
    calls: dict[FunctionKey | None, Counter[FunctionKey]],
) -> tuple[list[FunctionKey | None], list[FunctionKey]]:
    """All callers sorted so that callees stand first, and those that never get there."""
    waiting = {key: len(called) for key, called in calls.items()}
    callers: dict[FunctionKey | None, list[FunctionKey | None]] = {key: [] for key in calls}
    for key, called in calls.items():
        for callee in called:
            callers[callee].append(key)
    order = [key for key, count in waiting.items() if count == 0]
    for key in order:
        for caller in callers[key]:
            waiting[caller] -= 1
            if waiting[caller] == 0:
                order.append(caller)
    return order, [key for key, count in waiting.items() if count and key is not None]


def _round(count: int) -> str:
    return str(count) if count < 10**12 else f"about 10^{len(str(count)) - 1}"
