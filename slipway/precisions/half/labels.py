"""Which units become float16: those that gain more than the casts around them cost.

The cheapest labelling is a minimum cut: units on the sink's side stay float32. What a unit loses by
that is its capacity from the source; a value that changes type between its maker and a reader costs
one cast, however many read it so.
"""

import math
from collections.abc import Collection, Iterator
from typing import Final

from slipway.precisions.half.cuts import Network
from slipway.precisions.half.elements import Shape, Types
from slipway.precisions.half.operators import MATRIX
from slipway.precisions.half.values import FULL_UNIT, HALF_UNIT, HalfValue, Units

# Costs are bytes moved. Starting a kernel takes a GPU about as long as moving this many.
LAUNCH: Final = 1 << 20
# What float32 costs where matrices are multiplied: more than any number of casts.
PRODUCT: Final = 1 << 40
_ALWAYS: Final = 1 << 60
_CAST_BYTES: Final = 6
_SAVED_BYTES: Final = 2


def choose_halves(units: Units, types: Types, forced: Collection[int]) -> list[bool]:
    """For each unit whether it becomes float16; none of `forced` does."""
    network = Network(len(units.nodes))
    source, sink = network.add_node(), network.add_node()
    network.add_edge(source, HALF_UNIT, _ALWAYS)
    network.add_edge(FULL_UNIT, sink, _ALWAYS)
    for unit in forced:
        network.add_edge(unit, sink, _ALWAYS)
    for unit, gain in _gains(units, types).items():
        if gain and unit not in forced:
            network.add_edge(source, unit, gain)
    for value in units.values.values():
        if value.constant is None:
            _join(network, value, LAUNCH + _CAST_BYTES * _count(types.shapes.get(value.name)))
    stays = network.cut(source, sink)
    return [not stays[unit] for unit in range(len(units.nodes))]


def _join(network: Network, value: HalfValue, cost: int) -> None:
    """One cast where the maker is float16 and any reader is not, and one the other way round."""
    others = {r.unit for r in value.readers if r.unit is not None} - {value.unit}
    if len(others) == 1:  # the same, without nodes in between
        other = others.pop()
        network.add_edge(value.unit, other, cost)
        network.add_edge(other, value.unit, cost)
        return
    if not others:
        return
    down, up = network.add_node(), network.add_node()
    network.add_edge(value.unit, down, cost)
    network.add_edge(up, value.unit, cost)
    for other in sorted(others):
        network.add_edge(down, other, _ALWAYS)
        network.add_edge(other, up, _ALWAYS)


def _gains(units: Units, types: Types) -> dict[int, int]:
    """What each unit saves as float16: half of its bytes, and its share of tensor cores."""
    gains = dict.fromkeys(range(2, len(units.nodes)), 0)
    for unit, amount in _traffic(units, types):
        gains[unit] = gains.get(unit, 0) + amount
    for unit, node in enumerate(units.nodes):
        if node is not None and node.op_type in MATRIX:
            gains[unit] += PRODUCT
    return gains


def _traffic(units: Units, types: Types) -> Iterator[tuple[int, int]]:
    for value in units.values.values():
        amount = _SAVED_BYTES * _count(types.shapes.get(value.name))
        if value.constant is None:
            yield value.unit, amount
        for reader in value.readers:
            if reader.unit is not None and reader.node is not None:
                yield reader.unit, amount


def _count(shape: Shape | None) -> int:
    """Elements, a dynamic dimension counted as one."""
    return math.prod(max(size or 1, 1) for size in shape) if shape else 1
