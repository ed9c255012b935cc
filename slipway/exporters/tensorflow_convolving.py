"""Grouped convolutions of volumes: tf2onnx 1.17 counts the groups of lines and images alone.

It writes every Conv3D with one group, which onnxruntime refuses where the kernel takes fewer
channels than there are.
"""

from collections.abc import Callable
from typing import Any, Final

from tf2onnx.onnx_opset.nn import ConvOp


def convolve(graph: Any, node: Any, _: str, __: Any) -> None:  # noqa: ANN401 - tf2onnx ships no types
    """Rewrite one node of tf2onnx's graph as it does itself, then say its groups."""
    given, kernel = (graph.get_shape(name) for name in node.input[:2])
    last = node.get_attr_str("data_format") == "NDHWC"
    ConvOp.any_version(graph.opset, graph, node)
    if not given or not kernel:
        return
    channels, taken = given[-1 if last else 1], kernel[-2]
    if channels > 0 and taken > 0:
        node.set_attr("group", channels // taken)


HANDLERS: Final[dict[str, tuple[Callable[..., None], list[str]]]] = {"Conv3D": (convolve, [])}
"""By operator, as tf2onnx takes what is to convert it."""
