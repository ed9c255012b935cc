"""Tables from whole numbers to whole numbers: Keras's IntegerLookup.

tf2onnx 1.17 converts tables between strings and numbers alone, as a CategoryMapper; ONNX's
LabelEncoder has the others.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import onnx
from tf2onnx import constants
from tf2onnx.custom_opsets.onnx_ml import LookupTableFind

from slipway.samples.arrays import Array

Tables = Mapping[bytes, tuple[Array, Array]]


def look_up(tables: Tables, graph: Any, node: Any, name: str, _: Any) -> None:  # noqa: ANN401 - tf2onnx ships no types
    """Rewrite one node of tf2onnx's graph; tables of strings as tf2onnx does."""
    int64 = onnx.TensorProto.INT64
    table = node.inputs[0]
    while table.type == "Identity":
        table = table.inputs[0]
    known = tables.get(table.get_attr_value("shared_name"))
    numbers = graph.get_dtype(node.input[1]) == graph.get_dtype(node.output[0]) == int64
    if not numbers or known is None or not node.inputs[2].is_const():
        LookupTableFind.version_8(graph, node, initialized_tables=tables)
        return
    keys, values = known
    attributes = {
        "keys_int64s": keys.tolist(),
        "values_int64s": values.tolist(),
        "default_int64": int(node.inputs[2].get_tensor_value()),
    }
    given, outputs, shapes = node.input[1], list(node.output), node.output_shapes
    graph.remove_node(node.name)
    graph.make_node(
        "LabelEncoder",
        [given],
        attributes,
        name=name,
        outputs=outputs,
        shapes=shapes,
        dtypes=[int64],
        domain=constants.AI_ONNX_ML_DOMAIN,
    )
    if not graph.find_output_consumers(table.output[0]):
        graph.remove_node(table.name)


def handlers(tables: Tables) -> dict[str, tuple[Callable[..., None], list[str]]]:
    """By operator, as tf2onnx takes what is to convert it, for the tables of one model."""
    return {"LookupTableFindV2": (partial(look_up, tables), [])}
