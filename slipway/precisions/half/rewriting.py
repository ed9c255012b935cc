"""The graph in the chosen types: constants rounded, casts put where types meet, one for all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import onnx

from slipway.precisions import graphs
from slipway.precisions.half.constants import Lost, round_constant
from slipway.precisions.half.elements import FLOAT
from slipway.precisions.half.values import HalfValue, Reader, Units

FLOAT16: Final = onnx.TensorProto.FLOAT16
_SUFFIX: Final = {True: "_fp16", False: "_fp32"}


@dataclass
class Rewritten:
    """What was done: rounded constants by name, and how many casts were added."""

    rounded: dict[str, Lost] = field(default_factory=dict)
    casts: int = 0
    origins: dict[str, str] = field(default_factory=dict)
    """The value that each new name stands for."""


def rewrite(
    model: onnx.ModelProto, units: Units, halves: Sequence[bool], folder: Path
) -> Rewritten:
    """In place: give every unit its type."""
    done = Rewritten()
    taken = set(units.values)
    for graph in graphs.walk_graphs(model.graph):
        taken.update(name for node in graph.node for name in node.output)
    work = _Rewriting(model.graph, halves, taken, done, folder)
    for value in list(units.values.values()):
        if value.constant is not None:
            work.constant(value, value.constant)
        else:
            work.value(value)
    return done


@dataclass
class _Rewriting:
    main: onnx.GraphProto
    halves: Sequence[bool]
    taken: set[str]
    done: Rewritten
    folder: Path

    def is_half(self, reader: Reader) -> bool:
        return reader.unit is not None and self.halves[reader.unit]

    def fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def constant(self, value: HalfValue, tensor: onnx.TensorProto) -> None:
        """Round it where a float16 unit reads it; both types are kept where both are read."""
        half = [reader for reader in value.readers if self.is_half(reader)]
        full = [reader for reader in value.readers if not self.is_half(reader)]
        if not half:
            return
        full = [reader for reader in full if reader.unit is not None]
        rounded = round_constant(tensor, value.name, self.folder)
        self.done.rounded[value.name] = Lost(rounded.clamped, rounded.flushed)
        if not full:
            tensor.CopyFrom(rounded.tensor)
            _annotate(half)
            return
        named_half = any(self.is_result(reader) for reader in half)
        if named_half:  # the model's own output keeps its name
            other = value.home.initializer.add()
            other.CopyFrom(tensor)
            tensor.CopyFrom(rounded.tensor)
        else:
            other = value.home.initializer.add()
            other.CopyFrom(rounded.tensor)
        other.name = self.fresh(value.name + _SUFFIX[not named_half])
        for reader in full if named_half else half:
            _point(reader, other.name)
        _annotate(half)

    def value(self, value: HalfValue) -> None:
        """Put one cast behind it where any reader is of the other type."""
        native = self.halves[value.unit]
        if native:
            self.declare(value)
        others = [r for r in value.readers if r.unit is not None and self.is_half(r) != native]
        same = [r for r in value.readers if r.unit is None or self.is_half(r) == native]
        _annotate(same if native else others)
        if not others:
            return
        made, wanted = value.name, value.name
        if value.maker is not None and any(self.is_result(reader) for reader in others):
            made = self.fresh(value.name + _SUFFIX[native])
            value.maker.output[list(value.maker.output).index(value.name)] = made
            for reader in same:
                _point(reader, made)
        else:
            wanted = self.fresh(value.name + _SUFFIX[not native])
            for reader in others:
                _point(reader, wanted)
        cast = onnx.helper.make_node("Cast", [made], [wanted], to=FLOAT if native else FLOAT16)
        value.home.node.append(cast)
        self.done.casts += 1
        self.done.origins.update({made: value.name, wanted: value.name})

    def declare(self, value: HalfValue) -> None:
        """State float16 where the value is made."""
        if value.maker is not None:
            _set_type(value.maker, self.folder)
        for given in value.home.input:
            if given.name == value.name:
                given.type.tensor_type.elem_type = FLOAT16

    def is_result(self, reader: Reader) -> bool:
        """Whether it is an output of the model, whose name is promised."""
        return reader.owner is self.main


def _point(reader: Reader, name: str) -> None:
    if isinstance(reader.owner, onnx.NodeProto):
        reader.owner.input[reader.position] = name
    else:
        reader.owner.output[reader.position].name = name


def _annotate(halves: Sequence[Reader]) -> None:
    """State float16 at the outputs of graphs that are."""
    for reader in halves:
        if isinstance(reader.owner, onnx.GraphProto):
            tensor = reader.owner.output[reader.position].type.tensor_type
            if tensor.elem_type == FLOAT:
                tensor.elem_type = FLOAT16


def _set_type(node: onnx.NodeProto, folder: Path) -> None:
    """State float16 in the attributes that decide the type of a node's output."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to":
            attribute.i = FLOAT16
        elif node.op_type == "ConstantOfShape" and attribute.name == "value":
            attribute.t.CopyFrom(round_constant(attribute.t, attribute.t.name, folder).tensor)
    if node.op_type == "ConstantOfShape" and not node.attribute:
        zero = onnx.helper.make_tensor("", FLOAT16, [1], [0.0])
        node.attribute.append(onnx.helper.make_attribute("value", zero))
