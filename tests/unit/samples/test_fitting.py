"""Samples are made to fit a model's inputs, or the reason is told; nothing is lost in silence."""

import numpy as np
import pytest

from slipway.errors import DataError
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array, Samples
from slipway.samples.fitting import fit_inputs
from slipway.specs import DType


def fit(array: Array, dtype: DType, *shape: int | str | None) -> Array:
    tensor = TensorInfo(name="x", dtype=dtype, shape=shape)
    return fit_inputs([tensor], Samples({"x": array, "unused": np.zeros(len(array))}))["x"]


def test_a_flat_column_becomes_a_table_of_one() -> None:
    assert fit(np.arange(3), "int64", "batch", 1).shape == (3, 1)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (np.int64, "float32"),
        (np.float64, "float32"),
        (np.uint8, "int64"),
        (np.int64, "int8"),
        (np.bool_, "float32"),
        (np.float32, "float64"),
        (np.int64, "bool"),
    ],
)
def test_numbers_are_cast_where_nothing_is_lost(given: type, wanted: DType) -> None:
    values: Array = np.array([0, 1, 1]).astype(given)
    fitted = fit(values, wanted, "batch")
    assert fitted.dtype == np.dtype(wanted)
    assert fitted.tolist() == [0, 1, 1]


def test_strings_become_what_onnxruntime_takes() -> None:
    fitted = fit(np.array(["a", "b"]), "string", "batch", 1)
    assert fitted.dtype == object
    assert fitted.tolist() == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        (np.array([0.5]), "int64", "holds float64, the model takes int64"),
        (np.array([0.5]), "bool", "holds float64, the model takes bool"),
        (np.array(["1"]), "float32", "holds <U1, the model takes float32"),
        (np.array([1]), "string", "holds int64, the model takes strings"),
        (np.array([300]), "uint8", r"outside uint8 \(300 to 300\)"),
        (np.array([-1]), "uint8", "outside uint8"),
        (np.array([2**63], np.uint64), "int64", "outside int64"),
        (np.array([2]), "bool", "outside bool"),
        (np.array([1e300]), "float32", "outside float32"),
        (np.array([70000.0]), "float16", "outside float16"),
        (np.array([1 + 2j]), "float32", "holds complex128"),
        (np.array(["2024-01-01"], "datetime64[D]"), "float32", "holds datetime64"),
        (np.array(["2024-01-01"], "datetime64[D]"), "int64", "holds datetime64"),
    ],
)
def test_values_that_the_type_cannot_hold_are_refused(
    array: Array, dtype: DType, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fit(array, dtype, "batch")


def test_values_that_are_not_finite_stay_so() -> None:
    fitted = fit(np.array([np.nan, np.inf, -np.inf, 1.0]), "float32", "batch")
    np.testing.assert_array_equal(fitted, np.array([np.nan, np.inf, -np.inf, 1.0], np.float32))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [((3, 5), ("b", 4)), ((3, 4, 1), ("b", 4)), ((3,), ("b", "s", 4)), ((3, 4), ("b",))],
)
def test_another_shape_is_refused_with_both(
    given: tuple[int, ...], wanted: tuple[int | str, ...]
) -> None:
    with pytest.raises(DataError) as caught:
        fit(np.zeros(given, np.float32), "float32", *wanted)
    assert str(list(given)) in str(caught.value)
    assert f"[{', '.join(map(str, wanted))}]" in str(caught.value)


def test_an_absent_input_is_named() -> None:
    tensor = TensorInfo(name="ids", dtype="int64", shape=("batch",))
    with pytest.raises(DataError, match="no array named 'ids'; there are x"):
        fit_inputs([tensor], Samples({"x": np.arange(2)}))
