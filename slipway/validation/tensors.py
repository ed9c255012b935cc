"""Preflight rules: tensors hold as many bytes as their shape says, and finite numbers."""

import math
from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
import onnx
from onnx import helper

from slipway.reports import Finding
from slipway.samples.arrays import Array
from slipway.validation.external import DataRange, ExternalFiles, OutsideError, read_chunks
from slipway.validation.walk import ModelWalk, PlacedTensor, quote

MAX_DENSE_BYTES: Final = 16 << 30
"""What a sparse tensor may unfold to."""

_TYPE: Final = onnx.TensorProto
_BITS: Final[dict[int, int]] = {
    **dict.fromkeys((_TYPE.UINT2, _TYPE.INT2), 2),
    **dict.fromkeys((_TYPE.UINT4, _TYPE.INT4, _TYPE.FLOAT4E2M1), 4),
    **dict.fromkeys((_TYPE.UINT8, _TYPE.INT8, _TYPE.BOOL), 8),
    **dict.fromkeys((_TYPE.FLOAT8E4M3FN, _TYPE.FLOAT8E4M3FNUZ, _TYPE.FLOAT8E5M2), 8),
    **dict.fromkeys((_TYPE.FLOAT8E5M2FNUZ, _TYPE.FLOAT8E8M0), 8),
    **dict.fromkeys((_TYPE.UINT16, _TYPE.INT16, _TYPE.FLOAT16, _TYPE.BFLOAT16), 16),
    **dict.fromkeys((_TYPE.INT32, _TYPE.UINT32, _TYPE.FLOAT), 32),
    **dict.fromkeys((_TYPE.INT64, _TYPE.UINT64, _TYPE.DOUBLE, _TYPE.COMPLEX64), 64),
    _TYPE.COMPLEX128: 128,
}
_FLOATS: Final = frozenset({_TYPE.FLOAT, _TYPE.DOUBLE, _TYPE.FLOAT16, _TYPE.BFLOAT16})
_SUMMED: Final = frozenset({_TYPE.FLOAT, _TYPE.DOUBLE})
_NAN_MEANS_NOTHING: Final = frozenset({"membership_values", "nodes_splits"})
"""TreeEnsemble separates its sets by NaN, and puts NaN where a set is tested for no threshold."""

_PASSING: Final = frozenset(
    {"Identity", "Transpose", "Reshape", "Cast", "Squeeze", "Unsqueeze", "Flatten", "Slice"}
)
_WEIGHED: Final[dict[str, int]] = {
    # Operators that multiply what they are given, and how many of their inputs they multiply so:
    # one infinity there spreads over whole rows.
    **dict.fromkeys(("MatMul", "FusedMatMul", "MatMulNBits", "TransposeMatMul"), 3),
    **dict.fromkeys(("Gemm", "FusedGemm", "Conv", "FusedConv", "ConvTranspose"), 3),
    **dict.fromkeys(("DeformConv", "MatMulInteger", "ConvInteger"), 4),
    **dict.fromkeys(("RNN", "LSTM", "GRU"), 8),
    **dict.fromkeys(("BatchNormalization", "QLinearConv", "QLinearMatMul"), 9),
    **dict.fromkeys(("InstanceNormalization", "GroupNormalization", "LayerNormalization"), 3),
    **dict.fromkeys(("SimplifiedLayerNormalization", "RMSNormalization"), 2),
    **dict.fromkeys(("SkipLayerNormalization", "EmbedLayerNormalization"), 7),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeMatMul"), 3),
}


def check_tensors(walk: ModelWalk) -> Iterator[Finding]:
    """Lengths, external data and non-finite values, each tensor read once."""
    files = ExternalFiles(walk.folder)
    weighed: frozenset[str] | None = None
    for placed in walk.tensors:
        # One access, since each one copies: protobuf hands out bytes, not views.
        raw = placed.tensor.raw_data if placed.tensor.HasField("raw_data") else None
        yield from _check_length(placed, raw, files)
        if placed.tensor.data_type not in _FLOATS:
            continue
        nans, infinities = _count_non_finite(placed.tensor, raw, files)
        if (nans or infinities) and weighed is None:
            weighed = _weighed_names(walk)
        yield from _check_values(placed, nans, infinities, weighed or frozenset())


def check_sparse(walk: ModelWalk) -> Iterator[Finding]:
    """Sparse initializers, which the runtime unfolds, within a bound."""
    for scope in walk.scopes:
        for sparse in scope.sparse:
            size = math.prod(sparse.dims) * _BITS.get(sparse.values.data_type, 64) // 8
            if not 0 <= size <= MAX_DENSE_BYTES:
                yield Finding(
                    level="error",
                    code="tensor-size",
                    message=f"sparse tensor {quote(sparse.values.name)} unfolds to {size:.3g} "
                    f"bytes; the bound is {MAX_DENSE_BYTES}",
                    place=scope.place,
                )


def _check_length(
    placed: PlacedTensor, raw: bytes | None, files: ExternalFiles
) -> Iterator[Finding]:
    tensor = placed.tensor
    if any(size < 0 for size in tensor.dims):
        yield _finding(placed, "tensor-size", f"a dimension is negative: {list(tensor.dims)[:8]}")
        return
    needed = needed_bytes(tensor)
    if tensor.data_location == _TYPE.EXTERNAL:
        try:
            files.locate(tensor, needed=needed or 0)
        except OutsideError as error:
            yield _finding(placed, "external-data", f"external data: {error}")
        return
    if needed is None:
        return
    held, wanted, unit = _held(tensor, raw, needed)
    if held != wanted:
        message = f"holds {held} {unit}, its shape {list(tensor.dims)[:8]} needs {wanted}"
        yield _finding(placed, "tensor-size", message)


def needed_bytes(tensor: onnx.TensorProto) -> int | None:
    """Bytes that a tensor's shape and type need; None for strings and types unknown here."""
    bits = _BITS.get(tensor.data_type)
    return None if bits is None else (math.prod(tensor.dims) * bits + 7) // 8


def _held(tensor: onnx.TensorProto, raw: bytes | None, needed: int) -> tuple[int, int, str]:
    """How much a tensor holds and must hold, and in which unit."""
    if raw is not None:
        return len(raw), needed, "bytes"
    count = math.prod(tensor.dims)
    field = str(helper.tensor_dtype_to_field(tensor.data_type))
    held = len(getattr(tensor, field))
    if tensor.data_type in {_TYPE.COMPLEX64, _TYPE.COMPLEX128}:
        return held, 2 * count, "numbers"
    if _BITS[tensor.data_type] < 8:  # noqa: PLR2004 - packed, one byte an entry
        return held, needed, "packed numbers"
    return held, count, "numbers"


def _check_values(
    placed: PlacedTensor, nans: int, infinities: int, weighed: frozenset[str]
) -> Iterator[Finding]:
    if nans and placed.attribute not in _NAN_MEANS_NOTHING:
        message = f"holds {nans} NaN; training diverged or the file was damaged"
        # A lone NaN in a Constant node is a marker that the graph compares or fills with.
        marker = placed.node is not None and math.prod(placed.tensor.dims) == 1
        sure = not marker or placed.name in weighed
        yield _finding(placed, "nan-weight", message, level="error" if sure else "warning")
    if infinities and placed.name in weighed:
        message = f"holds {infinities} infinite values and feeds a product or a normalisation"
        yield _finding(placed, "infinite-weight", message)


def _count_non_finite(
    tensor: onnx.TensorProto, raw: bytes | None, files: ExternalFiles
) -> tuple[int, int]:
    """How many values are NaN, and how many infinite."""
    nans = infinities = 0
    try:
        for chunk in _chunks(tensor, raw, files):
            # A finite sum proves all terms finite, ten times faster than looking at each.
            if tensor.data_type in _SUMMED and math.isfinite(_sum(chunk)):
                continue
            bad = chunk[~np.isfinite(chunk)]
            nans += int(np.isnan(bad).sum())
            infinities += int(np.isinf(bad).sum())
    except (OutsideError, ValueError, OSError):
        return 0, 0  # said by the length rule
    return nans, infinities


def _sum(chunk: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.add.reduce(chunk))


def _chunks(tensor: onnx.TensorProto, raw: bytes | None, files: ExternalFiles) -> Iterator[Array]:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if tensor.data_location == _TYPE.EXTERNAL:
        place: DataRange = files.locate(tensor, needed=needed_bytes(tensor) or 0)
        yield from read_chunks(place, dtype)
    elif raw is not None:
        yield np.frombuffer(raw, dtype=dtype)
    elif tensor.data_type == _TYPE.FLOAT:
        yield np.array(tensor.float_data, dtype=np.float32)
    elif tensor.data_type == _TYPE.DOUBLE:
        yield np.array(tensor.double_data, dtype=np.float64)
    else:
        yield np.array(tensor.int32_data, dtype=np.uint32).astype(np.uint16).view(dtype)


def _weighed_names(walk: ModelWalk) -> frozenset[str]:
    """Names whose values are multiplied, directly or after operators that only rearrange them."""
    names: set[str] = set()
    for scope in reversed(walk.scopes):
        for node in reversed(scope.nodes):
            if node.op_type in _WEIGHED:
                names.update(node.input[: _WEIGHED[node.op_type]])
            elif node.op_type in _PASSING and names.intersection(node.output):
                names.update(node.input[:1])
    return frozenset(names - {""})


def _finding(
    placed: PlacedTensor, code: str, message: str, *, level: Literal["error", "warning"] = "error"
) -> Finding:
    return Finding(level=level, code=code, message=message, place=placed.place)
