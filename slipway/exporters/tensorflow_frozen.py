"""A TensorFlow function as one graph of constants and operators: looked into, or run in float64.

Functions that it calls are inlined, so that every operator of the source has a name here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from slipway.errors import ExportFailed
from slipway.exporters.tensorflow_graphs import Interface, to_source_layout
from slipway.exporters.tensorflow_runtime import freeze_function, make_tensor_proto, tf
from slipway.exporters.wording import first_lines
from slipway.samples.arrays import Array

# They move values and compute none; or they have none that the exported graph holds.
_MOVING: Final = frozenset(
    (
        *("Const", "Placeholder", "Identity", "IdentityN", "NoOp", "Shape", "Reshape", "Transpose"),
        *("Cast", "Squeeze", "ExpandDims", "Pack", "StridedSlice", "ConcatV2", "Range", "Fill"),
    )
)


@dataclass(frozen=True)
class Frozen:
    """The graph, with the names of its tensors in the order of the interface's."""

    graph: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    interface: Interface

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Tensors by name for arrays in the exported graph's layout.

        Raises:
            ExportFailed: when TensorFlow does not run the graph.
        """
        try:
            with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
                tf.graph_util.import_graph_def(self.graph, name="")
                given = dict(zip(self.inputs, self._arrays(feeds), strict=True))
                tensors = [graph.get_tensor_by_name(name) for name in fetches]
                found: list[Array] = session.run(tensors, given)
        except Exception as error:
            raise ExportFailed(
                f"TensorFlow does not run the frozen graph: {first_lines(error)}"
            ) from error
        return found

    def _arrays(self, feeds: Mapping[str, Array]) -> Iterator[Array]:
        for tensor in self.interface.inputs:
            array = feeds[tensor.name]
            turned = tensor.name in self.interface.nchw
            yield np.transpose(array, to_source_layout(range(array.ndim))) if turned else array

    def computing(self) -> list[Any]:
        """Its operators that compute something, in an order in which it can be run."""
        return [node for node in _ordered(self.graph) if node.op not in _MOVING]

    def in_float64(self) -> "Frozen":
        """The same with every float32 number, and every operator on them, in float64."""
        wide = type(self.graph)()
        wide.CopyFrom(self.graph)
        _widen_nodes(wide.node)
        for function in wide.library.function:
            _widen_nodes(function.node_def)
            for argument in (*function.signature.input_arg, *function.signature.output_arg):
                argument.type = _wide(argument.type)
        return Frozen(wide, self.inputs, self.outputs, self.interface)


def freeze(
    function: Any,  # noqa: ANN401 - tf's ConcreteFunction
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    interface: Interface,
) -> Frozen:
    """Freeze a function; names of tensors as it has them.

    Raises:
        ExportFailed: when TensorFlow does not know how.
    """
    try:
        frozen = freeze_function(function)
    except Exception as error:
        raise ExportFailed(f"the model cannot be frozen: {first_lines(error)}") from error
    # Frozen, a function gives its outputs under names of its own, in the same order.
    renamed = dict(
        zip(
            (tensor.name for tensor in function.outputs),
            (tensor.name for tensor in frozen.outputs),
            strict=True,
        )
    )
    return Frozen(
        frozen.graph.as_graph_def(),
        tuple(inputs),
        tuple(renamed[name] for name in outputs),
        interface,
    )


def inputs_of(node: Any) -> Iterator[str]:  # noqa: ANN401 - a NodeDef
    """The nodes whose values a node takes."""
    for name in node.input:
        if not name.startswith("^"):
            yield name.partition(":")[0]


def _ordered(graph: Any) -> list[Any]:  # noqa: ANN401 - a GraphDef
    """Nodes behind those whose values they take."""
    nodes = {node.name: node for node in graph.node}
    ordered: dict[str, Any] = {}
    for first in nodes:
        pending = [first]
        while pending:
            name = pending[-1]
            missing = [it for it in inputs_of(nodes[name]) if it not in ordered]
            if missing and name not in ordered:
                pending += missing
                continue
            ordered[name] = nodes[pending.pop()]
    return list(ordered.values())


def _widen_nodes(nodes: Any) -> None:  # noqa: ANN401 - a repeated field
    added = []
    for node in nodes:
        for attribute in node.attr.values():
            # Setting one kind of value removes the others.
            if attribute.type:
                attribute.type = _wide(attribute.type)
            if attribute.list.type:
                attribute.list.type[:] = [_wide(it) for it in attribute.list.type]
        value = node.attr["value"].tensor if node.op == "Const" else None
        if value is not None and value.dtype == tf.float32.as_datatype_enum:
            array = tf.make_ndarray(value).astype(np.float64)
            value.CopyFrom(make_tensor_proto(array, shape=array.shape))
        if node.op == "FusedBatchNormV3":
            added += _normalize(node)
    nodes.extend(added)


def _normalize(node: Any) -> list[Any]:  # noqa: ANN401 - a NodeDef
    """What FusedBatchNormV3, which has no float64, computes outside training; changed in place."""
    if node.attr["is_training"].b or node.attr["data_format"].s not in {b"", b"NHWC"}:
        raise ExportFailed("a batch normalization in training mode has no float64")
    x, scale, offset, mean, variance = list(node.input)[:5]
    made: list[Any] = []

    def operator(op: str, *inputs: str) -> str:
        new = type(node)(op=op, name=f"{node.name}/wide_{len(made)}", input=inputs)
        new.attr["T"].type = tf.float64.as_datatype_enum
        made.append(new)
        return str(new.name)

    epsilon = type(node)(op="Const", name=f"{node.name}/wide_epsilon")
    epsilon.attr["dtype"].type = tf.float64.as_datatype_enum
    epsilon.attr["value"].tensor.CopyFrom(make_tensor_proto(np.float64(node.attr["epsilon"].f)))
    root = operator("Rsqrt", operator("AddV2", variance, epsilon.name))
    factor = operator("Mul", root, scale)
    product = operator("Mul", operator("Sub", x, mean), factor)
    plain = type(node)(op="AddV2", name=node.name, input=[product, offset])
    plain.attr["T"].type = tf.float64.as_datatype_enum
    node.CopyFrom(plain)
    return [*made, epsilon]


def _wide(dtype: int) -> int:
    wide: int = tf.float64.as_datatype_enum
    return wide if dtype == tf.float32.as_datatype_enum else dtype
