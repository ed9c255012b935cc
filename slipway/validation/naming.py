"""Preflight rules: every value has one name and one maker, made before it is used."""

from collections import Counter
from collections.abc import Iterator

from slipway.reports import Finding
from slipway.validation.walk import ModelWalk, Scope, describe_node, quote


def check_names(walk: ModelWalk) -> Iterator[Finding]:
    """Duplicates, undefined names, cycles, nodes out of order, outputs that nothing gives.

    A subgraph may use names of the graphs around it: what it does not define itself counts as an
    input of the node that holds it.
    """
    outer_uses: dict[int, dict[int, dict[str, str]]] = {}
    for scope in reversed(walk.scopes):
        captured = outer_uses.pop(id(scope), {})
        yield from _check_duplicates(scope)
        free, early = _resolve(scope, captured)
        if early:
            yield from _explain_order(scope, captured, early)
        if scope.parent is not None:
            outer_uses.setdefault(id(scope.parent), {}).setdefault(scope.owner, {}).update(free)
            continue
        for name, place in free.items():
            message = f"{quote(name)} is used but nothing defines it; is the file complete?"
            yield Finding(level="error", code="undefined-name", message=message, place=place)


def check_interface(walk: ModelWalk) -> Iterator[Finding]:
    """The model gives something."""
    if not walk.model.graph.output:
        yield Finding(level="error", code="no-outputs", message="the model has no outputs")


def _check_duplicates(scope: Scope) -> Iterator[Finding]:
    makers = Counter(name for node in scope.nodes for name in node.output if name)
    initializers = Counter(tensor.name for tensor in scope.initializers)
    initializers.update(tensor.values.name for tensor in scope.sparse)
    inputs = Counter(scope.inputs)
    for kind, counted in (("input", inputs), ("initializer", initializers), ("value", makers)):
        for name, count in counted.items():
            if count > 1:
                yield _duplicate(scope, f"{kind} {quote(name)} is defined {count} times")
    for name in makers.keys() & (initializers.keys() | inputs.keys()):
        yield _duplicate(scope, f"{quote(name)} is an input or initializer and made by a node too")


def _duplicate(scope: Scope, message: str) -> Finding:
    return Finding(level="error", code="duplicate-name", message=message, place=scope.place)


def _resolve(
    scope: Scope, captured: dict[int, dict[str, str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Names used but not defined here, and names used before they are made, with their places."""
    known = {*scope.inputs, *(tensor.name for tensor in scope.initializers)}
    known.update(tensor.values.name for tensor in scope.sparse)
    free: dict[str, str] = {}
    early: dict[str, str] = {}
    for index, node in enumerate(scope.nodes):
        for name in (*node.input, *captured.get(index, ())):
            if name and name not in known:
                into = early if name in scope.producers else free
                into.setdefault(name, captured.get(index, {}).get(name) or describe_node(node))
        known.update(node.output)
    for name in scope.outputs:
        if name not in known:
            free.setdefault(name, f"outputs of {scope.place}")
    return free, early


def _explain_order(
    scope: Scope, captured: dict[int, dict[str, str]], early: dict[str, str]
) -> Iterator[Finding]:
    makers = {name: i for i, node in enumerate(scope.nodes) for name in node.output if name}
    needs = [
        {makers[name] for name in (*node.input, *captured.get(i, ())) if name in makers}
        for i, node in enumerate(scope.nodes)
    ]
    cycle = _nodes_in_cycles(needs)
    name, place = next(iter(early.items()))
    if cycle:
        listed = ", ".join(describe_node(scope.nodes[i]) for i in cycle[:3])
        message = f"nodes wait for each other in a cycle: {listed}"
        yield Finding(level="error", code="cycle", message=message, place=scope.place)
    else:
        message = f"{quote(name)} is used before it is made; nodes must be sorted"
        yield Finding(level="error", code="unsorted", message=message, place=place)


def _nodes_in_cycles(needs: list[set[int]]) -> list[int]:
    """Nodes that are never ready: in a cycle or behind one."""
    users: list[list[int]] = [[] for _ in needs]
    for index, needed in enumerate(needs):
        for maker in needed:
            users[maker].append(index)
    waiting = [len(needed) for needed in needs]
    ready = [index for index, count in enumerate(waiting) if count == 0]
    while ready:
        for user in users[ready.pop()]:
            waiting[user] -= 1
            if waiting[user] == 0:
                ready.append(user)
    return [index for index, count in enumerate(waiting) if count]
