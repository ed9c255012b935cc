"""A model that failed, held against what its source computes inside: a trace of one golden case.

Steps of the source are found in the graph by name where the converter keeps names, else by value:
a step is there when some tensor of the graph equals it, its dimensions in whatever order.
"""

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Final

import numpy as np

from slipway.protocols import TraceResult
from slipway.reports import Diagnosis, Divergence
from slipway.samples.arrays import Array, load_npz
from slipway.validation.diagnosis.departures import Departure, differ
from slipway.validation.diagnosis.divergence import Opened, describe

_MOST_PERMUTED: Final = 5


def find_training_mode(trace: TraceResult) -> Diagnosis | None:
    """The source itself does not hold still: it is in training mode, or draws random numbers."""
    if trace.unstable is None and trace.batch_dependent is None:
        return None
    if trace.unstable is not None:
        fact = f"two runs of the source on the same inputs differ in output {trace.unstable}"
    else:
        fact = (
            f"rows of the source's output {trace.batch_dependent} change with the other rows of "
            "their batch"
        )
    if not trace.training:
        return Diagnosis(
            kind="training-mode",
            sentence=f"{fact}: it draws random numbers or normalises by the batch; export it in "
            "inference mode",
            evidence={"output": trace.unstable or trace.batch_dependent or ""},
        )
    return Diagnosis(
        kind="training-mode",
        sentence=f"{fact}, since the source is in training mode: {trace.training[0]}"
        + (f" and {len(trace.training) - 1} more" if len(trace.training) > 1 else "")
        + "; call model.eval() before it is saved",
        evidence={
            "output": trace.unstable or trace.batch_dependent or "",
            "in training mode": ", ".join(trace.training[:5]),
        },
    )


def find_source_departure(opened: Opened, trace: TraceResult) -> Divergence | None:
    """The first node whose value is not the source's; None where no step of it is off."""
    arrays = load_npz(trace.values)
    values = [arrays[str(index)] for index in range(len(trace.steps))]
    if trace.matched == "names":
        return _by_name(opened, trace, values)
    return _by_value(opened, trace, values)


def _by_name(opened: Opened, trace: TraceResult, values: list[Array]) -> Divergence | None:
    expected = {step.tensor: value for step, value in zip(trace.steps, values, strict=True)}
    inside = expected.keys() - opened.case.outputs.keys()
    if inside.isdisjoint(opened.values):  # made by a route that keeps no names
        return None
    found = opened.departure({**expected, **opened.case.outputs})
    if found is None:
        return None
    places = {step.tensor: step.place for step in trace.steps}
    return describe(opened, found, against="source", source_place=places.get(found.tensor))


def _by_value(opened: Opened, trace: TraceResult, values: list[Array]) -> Divergence | None:
    makers = {
        name: index for index, node in enumerate(opened.graph.graph.node) for name in node.output
    }
    made = {name: array for name, array in opened.values.items() if name in makers}
    matched = [next(_equals(value, made, opened), None) for value in values]
    taken_by: dict[int, list[int]] = {}
    for index, step in enumerate(trace.steps):
        for source in step.makes_from:
            taken_by.setdefault(source, []).append(index)
    for index, (step, value) in enumerate(zip(trace.steps, values, strict=True)):
        # A step that is not in the graph while what follows it is, was folded into another.
        followed = any(matched[after] is not None for after in taken_by.get(index, ()))
        if matched[index] is not None or followed:
            continue
        before = [name for source in step.makes_from if (name := matched[source]) is not None]
        start = max((makers[name] for name in before), default=-1)
        free = {n: a for n, a in made.items() if n not in matched and makers[n] > start}
        near = _nearest(value, free)
        if near is None:
            continue
        tensor, turned = near
        difference = differ(turned, made[tensor], opened.tolerance)
        if difference is None:
            continue
        position = makers[tensor]
        node = opened.graph.graph.node[position]
        known = sum(name is not None for name in matched[:index])
        departure = Departure(position, node, tensor, difference, known)
        return describe(opened, departure, against="source", source_place=step.place)
    return None


def _equals(value: Array, made: Mapping[str, Array], opened: Opened) -> Iterator[str]:
    """Tensors that equal a step, its dimensions in some order."""
    for name, turned in _candidates(value, made):
        if differ(turned, made[name], opened.tolerance) is None:
            yield name


def _candidates(value: Array, made: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Tensors of a step's size, each with the step turned to its shape."""
    for name, array in made.items():
        if array.dtype.kind != value.dtype.kind or array.size != value.size:
            continue
        for order in _orders(value.shape, array.shape):
            yield name, value.transpose(order)


def _orders(have: tuple[int, ...], want: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Orders of dimensions that turn one shape into another; as it is, first."""
    if len(have) > _MOST_PERMUTED or sorted(have) != sorted(want):
        return
    yield from (
        order
        for order in permutations(range(len(have)))
        if tuple(have[axis] for axis in order) == want
    )


def _nearest(value: Array, made: Mapping[str, Array]) -> tuple[str, Array] | None:
    """The tensor of a step's size that is least off, and the step turned to its shape."""
    if value.dtype.kind != "f":
        return None
    best: tuple[float, str, Array] | None = None
    for name, turned in _candidates(value, made):
        off = float(np.linalg.norm(turned.astype(np.float64) - made[name]))
        if best is None or off < best[0]:
            best = off, name, turned
    return best[1:] if best is not None else None
