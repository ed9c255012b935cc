"""One session of a model in which any subset of the nodes can be quantized, run by run.

Every tensor that the quantizer marks passes both as it is and through QuantizeLinear and
DequantizeLinear, and a flag chooses. Flags, scales and zero points are inputs with defaults, so
that trying another subset needs no new model and no new session.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from slipway.precisions import graphs
from slipway.precisions.audit import Ranges
from slipway.precisions.marking import (
    FOLLOWING,
    REMOVABLE,
    GraphIndex,
    Plan,
    Scheme,
    is_quantized,
    plan_quantization,
)
from slipway.precisions.qdq import Inserter, activation_scale, bias_values, choose_scales
from slipway.precisions.scales import Quantization
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array


class SwitchableModel(Session):
    """A session that runs like the quantized model of `scheme` with the nodes kept in float.

    `keep_float` chooses the nodes; `run` then takes the model's own inputs. With none kept it
    computes what the quantized model does, since a tensor goes through the same rounding.
    """

    def __init__(self, model: Path, ranges: Ranges, scheme: Scheme, *, work: Path) -> None:
        proto = onnx.load(model, load_external_data=False)
        self._index = GraphIndex.build(proto.graph, model.parent)
        self._ranges, self._scheme = ranges, scheme
        self._plan = plan_quantization(self._index, scheme, ranged=ranges.keys())
        self._scales = choose_scales(self._index, self._plan, ranges, scheme)
        self._overrides: Mapping[str, Array] = {}
        kept = replace(self._plan, removed=frozenset(), renamed={})
        switches = _Switches(self._index, kept, self._scales)
        made = switches.run(proto)
        switches.open(made.graph)
        graphs.tidy(made)
        path = work / "switchable.onnx"
        graphs.save_model(made, path)
        super().__init__(path)

    @property
    def candidates(self) -> tuple[str, ...]:
        """The nodes that can be kept in float; others follow those before or behind them."""
        return tuple(
            node.name
            for node in self._index.graph.node
            if is_quantized(node, self._scheme) and node.op_type not in FOLLOWING | REMOVABLE
        )

    def keep_float(self, nodes: frozenset[str]) -> None:
        """Run with these nodes in float from now on."""
        scheme = replace(self._scheme, float_nodes=self._scheme.float_nodes | nodes)
        plan = plan_quantization(self._index, scheme, ranged=self._ranges.keys())
        quantized = {bias.node for bias in plan.biases}
        flags = {_flag(name): name in plan.tensors for name in self._plan.tensors}
        flags |= {_bias_flag(bias.node): bias.node in quantized for bias in self._plan.biases}
        feeds: dict[str, Array] = {
            name: np.asarray(on) for name, on in flags.items() if name in self._switches
        }
        for name in plan.tensors.keys() & self._plan.tensors.keys():
            if name not in self._index.constants:
                feeds |= _parameters(name, self._scale(plan, name, scheme))
        self._overrides = {name: value for name, value in feeds.items() if name in self._switches}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name, with the nodes chosen last in float."""
        return super().run({**feeds, **self._overrides})

    @property
    def _switches(self) -> frozenset[str]:
        return frozenset(value.name for value in self._session.get_overridable_initializers())

    def _scale(self, plan: Plan, name: str, scheme: Scheme) -> Quantization:
        source = plan.source(name)
        if source in self._index.constants:
            return self._scales[source]
        return activation_scale(self._index, source, self._ranges, scheme)


@dataclass
class _Switches(Inserter):
    """Inserts as the quantizer does, with a choice behind every DequantizeLinear."""

    flags: list[str] = field(default_factory=list)

    def dequantize(
        self, name: str, inputs: list[str], output: str, axis: int | None = None
    ) -> None:
        super().dequantize(name, inputs, f"{output}_rounded", axis)
        self._choose(_flag(name), output, self.writes.get(name, name))

    def dequantize_bias(self, number: int, name: str, inputs: list[str], output: str) -> None:
        axis = 0 if self.constants[inputs[1]].dims else None
        super().dequantize(name, inputs, f"{output}_rounded", axis)
        bias = next(bias for bias in self.plan.biases if bias.node == number)
        values = self.store(f"{name}_float", bias_values(self.index, bias))
        self._choose(_bias_flag(number), output, values)

    def parameters(self, name: str) -> list[str]:
        """Names of the tensor's own scale and zero point, whoever it shares them with."""
        return [self.store(stored, v) for stored, v in _parameters(name, self.scales[name]).items()]

    def source(self, name: str) -> str:
        return name

    def open(self, graph: onnx.GraphProto) -> None:
        """Make inputs with defaults of the flags, and of what activations are rounded with."""
        constants = {tensor.name: tensor for tensor in graph.initializer}
        names = [*self.flags]
        for name in self.plan.tensors:
            if name not in self.index.constants:
                names += _parameters(name, self.scales[name])
        for name in names:
            tensor = constants[name]
            graph.input.append(
                helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
            )

    def _choose(self, flag: str, output: str, plain: str) -> None:
        if flag not in self.flags:
            self.flags.append(flag)
            self.constants[flag] = numpy_helper.from_array(np.asarray(True), flag)  # noqa: FBT003
        rounded = f"{output}_rounded"
        self.nodes.append(helper.make_node("Where", [flag, rounded, plain], [output]))


def _parameters(name: str, by: Quantization) -> dict[str, Array]:
    return {f"{name}_scale": by.scale, f"{name}_zero_point": by.zero_point}


def _flag(name: str) -> str:
    return f"{name}_is_quantized"


def _bias_flag(node: int) -> str:
    return f"node_{node}_bias_is_quantized"
