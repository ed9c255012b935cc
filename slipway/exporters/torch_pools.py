"""PyTorch's pools that ONNX's have no counterpart for, written in ONNX's other operators.

An adaptive pool of n places has windows from floor(i * n / count) to ceil((i + 1) * n / count):
they overlap and differ in size unless count divides n, and n may be known only at run time. It is
computed an axis after the other: the mean over a box is the mean of means, the maximum likewise.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import onnxscript
from onnxscript.function_libs.torch_lib.ops.nn import aten_avg_pool2d, aten_avg_pool3d

from slipway.errors import ExportFailed

_op: Final[Any] = onnxscript.opset18  # its types know nothing of plain numbers and lists


def average_2d(
    x: Any,  # noqa: ANN401 - onnxscript ships no types
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:  # noqa: ANN401
    """`avg_pool2d`, which may divide by any number."""
    whole = _counts_all(count_include_pad, ceil_mode, divisor_override)
    found = aten_avg_pool2d(x, kernel_size, stride, padding, ceil_mode, whole)
    return _divided(found, _area(kernel_size, 2), divisor_override)


def average_3d(
    x: Any,  # noqa: ANN401
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:  # noqa: ANN401
    """`avg_pool3d`, which may divide by any number."""
    whole = _counts_all(count_include_pad, ceil_mode, divisor_override)
    found = aten_avg_pool3d(x, kernel_size, stride, padding, ceil_mode, whole)
    return _divided(found, _area(kernel_size, 3), divisor_override)


def adaptive_average(x: Any, output_size: Sequence[Any]) -> Any:  # noqa: ANN401
    """`_adaptive_avg_pool2d` and `_adaptive_avg_pool3d`."""
    sizes = _divisible(x, output_size)
    if sizes:
        return _op.AveragePool(x, kernel_shape=sizes, strides=sizes)
    rank, dtype = len(x.shape), x.dtype
    for axis, count in zip(_axes(rank, output_size), output_size, strict=True):
        first, end, place = _windows(x, axis, count)
        share = _op.Div(
            _op.Cast(_op.Less(place, end), to=dtype), _op.Cast(_op.Sub(end, first), to=dtype)
        )
        values = _op.Gather(x, _op.Min(place, _op.Sub(end, 1)), axis=axis)
        x = _op.ReduceSum(_op.Mul(values, _before(share, rank - 1 - axis)), [axis + 1], keepdims=0)
    return x


def adaptive_maximum(x: Any, output_size: Sequence[Any]) -> tuple[Any, Any]:  # noqa: ANN401
    """`adaptive_max_pool2d` and `adaptive_max_pool3d`: the maxima, and where they were."""
    sizes, rank = _divisible(x, output_size), len(x.shape)
    plain, _ = _op.MaxPool(x, kernel_shape=sizes, strides=sizes) if sizes else (None, None)
    indices, step = None, _op.Constant(value_int=1)
    # The last axis first, so that of equal values the first one in reading order is taken.
    for axis, count in reversed([*zip(_axes(rank, output_size), output_size, strict=True)]):
        first, end, place = _windows(x, axis, count)
        length = _length(x, axis)
        values = _op.Gather(x, _op.Min(place, _op.Sub(end, 1)), axis=axis)
        x = _op.ReduceMax(values, [axis + 1], keepdims=0)
        at = _op.Add(
            _op.ArgMax(values, axis=axis + 1, keepdims=0),
            _before(_op.Squeeze(first, [1]), rank - 1 - axis),
        )
        here = _op.Mul(at, step)
        indices = (
            here if indices is None else _op.Add(_op.GatherElements(indices, at, axis=axis), here)
        )
        step = _op.Mul(step, length)
    return plain if sizes else x, indices


def _windows(x: Any, axis: int, count: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401
    """Of each window of an axis: its first place, its end, and as many places as the widest has.

    The first two are columns, one row a window; places beyond a window's end are the caller's to
    leave out.
    """
    length = _length(x, axis)
    each = _op.Unsqueeze(_op.Range(0, count, 1), [1])
    first = _op.Div(_op.Mul(each, length), count)
    end = _rounded_up(_op.Mul(_op.Add(each, 1), length), count)
    widest = _op.Add(_rounded_up(length, count), 1)
    return first, end, _op.Add(first, _op.Range(0, widest, 1))


def _rounded_up(number: Any, by: Any) -> Any:  # noqa: ANN401
    return _op.Div(_op.Add(number, _op.Sub(by, 1)), by)


def _length(x: Any, axis: int) -> Any:  # noqa: ANN401
    return _op.Squeeze(_op.Shape(x, start=axis, end=axis + 1), [0])


def _before(values: Any, trailing: int) -> Any:  # noqa: ANN401
    """Values along an axis, made to be broadcast over the axes behind it."""
    return _op.Unsqueeze(values, list(range(-trailing, 0))) if trailing else values


def _axes(rank: int, output_size: Sequence[Any]) -> range:
    return range(rank - len(output_size), rank)


def _divisible(x: Any, output_size: Sequence[Any]) -> list[int]:  # noqa: ANN401
    """The windows' sizes where all are alike and do not overlap, as plain pools have them."""
    sizes = []
    for axis, count in zip(_axes(len(x.shape), output_size), output_size, strict=True):
        length = x.shape[axis]
        if not isinstance(length, int) or not isinstance(count, int) or length % count:
            return []
        sizes.append(length // count)
    return sizes


def _area(kernel_size: Sequence[int], dimensions: int) -> int:
    sizes = [kernel_size] if isinstance(kernel_size, int) else list(kernel_size)
    return math.prod(sizes * dimensions if len(sizes) == 1 else sizes)


def _counts_all(include_pad: bool, ceil_mode: bool, divisor: int | None) -> bool:
    """Whether padding is counted: with a divisor of its own, so that the mean tells the sum."""
    if divisor is None:
        return include_pad
    if ceil_mode:
        raise ExportFailed(
            "an average pool has both divisor_override and ceil_mode: ONNX divides by what a "
            "window at the edge holds; leave one of them out"
        )
    return True


def _divided(mean: Any, area: int, divisor: int | None) -> Any:  # noqa: ANN401
    return mean if divisor is None else _op.Mul(mean, _op.CastLike(area / divisor, mean))
