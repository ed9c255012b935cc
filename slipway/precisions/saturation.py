"""Whether 8-bit products saturate on x64 processors without VNNI, told from the weights alone."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from slipway.precisions import graphs
from slipway.reports import Finding
from slipway.samples.arrays import Array

# VPMADDUBSW adds two products of an unsigned and a signed byte and keeps 16 bits of the sum.
_LARGEST: Final = 255
_LIMIT: Final = np.iinfo(np.int16)
# Below this share of the pairs no loss was seen.
RISKY: Final = 0.005


def saturating_share(model: onnx.ModelProto) -> float:
    """Share of neighbouring weight pairs whose sum of products can leave 16 bits.

    The worst case of a pair is 255 for the activations of its positive weights and 0 for the
    others, and the reverse. On small CNNs without VNNI a share of 0 lost nothing, 0.5 to 4 % cost
    2 to 11 dB, and 9 to 14 % cost 18 to 27 dB of SQNR.
    """
    pairs = risky = 0
    for rows in _reduced_rows(model):
        even = rows[:, : rows.shape[1] // 2 * 2].astype(np.int32).reshape(len(rows), -1, 2)
        above = _LARGEST * np.maximum(even, 0).sum(axis=2)
        below = _LARGEST * np.minimum(even, 0).sum(axis=2)
        pairs += above.size
        risky += int(((above > _LIMIT.max) | (below < _LIMIT.min)).sum())
    return risky / pairs if pairs else 0.0


def needed_entries(model: onnx.ModelProto, guard: Mapping[str, str]) -> Mapping[str, str]:
    """The session entries that keep a quantized model from saturating; none where nothing can."""
    return guard if guard and saturating_share(model) else {}


def saturation_advice(
    model: onnx.ModelProto, entries: Mapping[str, str]
) -> tuple[Mapping[str, str | float], tuple[Finding, ...]]:
    """What a report says of it: settings, and a warning where it is likely to cost accuracy.

    `entries` are those that the model carries against it.
    """
    share = saturating_share(model)
    told = ", ".join(f"{key}={value}" for key, value in entries.items())
    settings: dict[str, str | float] = {"saturating_weight_pairs": round(share, 5)}
    if not told:
        return settings, ()
    found = Finding(
        level="warning",
        code="int8-may-saturate",
        message=f"{share:.2%} of neighbouring weight pairs can saturate on x64 processors without "
        f"VNNI; there, give sessions {told}, as slipway does by the model's metadata. Where there "
        "is VNNI it only costs time",
    )
    return {**settings, "session_config": told}, (found,) if share >= RISKY else ()


def _reduced_rows(model: onnx.ModelProto) -> Iterator[Array]:
    """Integer weights as [outputs, what is summed], in the order in which kernels sum."""
    constants = {t.name: t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8}
    made = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
    }
    for node in graphs.walk_nodes(model):
        if node.op_type not in {"Conv", "MatMul", "Gemm", "MatMulInteger"}:
            continue
        tensor = constants.get(made.get(node.input[1], node.input[1]))
        if tensor is None:
            continue
        weight: Array = numpy_helper.to_array(tensor)
        if node.op_type == "Conv":
            # Quantized convolutions run with the channels last.
            yield np.moveaxis(weight, 1, -1).reshape(len(weight), -1)
        elif _is_transposed(node):
            yield weight
        else:
            yield np.swapaxes(weight, -1, -2).reshape(-1, weight.shape[-2])


def _is_transposed(node: onnx.NodeProto) -> bool:
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
