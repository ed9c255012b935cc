"""Data files: what is read, what survives a round trip, and what is refused."""

import contextlib
import io
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyarrow import parquet

from slipway.artifacts import digest_file
from slipway.errors import DataError, EnvironmentMissing, SourceNotFound
from slipway.samples.arrays import (
    Array,
    Samples,
    check_finite,
    load_npz,
    load_samples,
    save_npz,
)
from slipway.samples.golden import GoldenCase, GoldenSet

DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
strings = st.lists(texts, min_size=1, max_size=5).map(np.array)
arrays = st.one_of(
    st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(np.dtype(dtype), shapes)), strings
)
names = st.text(
    st.characters(min_codepoint=33, exclude_categories=["Cs"], exclude_characters="\\"),
    min_size=1,
    max_size=10,
)
rows = st.integers(1, 12).flatmap(
    lambda count: st.dictionaries(
        names,
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: hnp.arrays(np.dtype(dtype), (count, *(2,) * (count % 3)))
        ),
        min_size=1,
        max_size=3,
    )
)


def same(left: Array, right: Array) -> bool:
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.tobytes() == right.tobytes()
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arrays")


@given(named=st.dictionaries(names, arrays, max_size=4))
def test_any_arrays_survive_an_npz(folder: Path, named: dict[str, Array]) -> None:
    path = folder / "a.npz"
    save_npz(path, named)
    loaded = load_npz(path)
    assert set(loaded) == set(named)
    assert all(same(loaded[name], array) for name, array in named.items())


@given(named=st.dictionaries(names, arrays, max_size=4))
def test_equal_arrays_give_equal_bytes_in_any_order(folder: Path, named: dict[str, Array]) -> None:
    save_npz(folder / "a.npz", named)
    save_npz(folder / "b.npz", dict(reversed(list(named.items()))))
    assert digest_file(folder / "a.npz") == digest_file(folder / "b.npz")


@given(
    cases=st.lists(
        st.tuples(
            st.dictionaries(names, arrays, min_size=1, max_size=2),
            st.dictionaries(names, arrays, min_size=1, max_size=2),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_golden_set_survives_its_file(
    folder: Path, cases: list[tuple[dict[str, Array], dict[str, Array]]]
) -> None:
    golden = GoldenSet(tuple(GoldenCase(inputs, outputs) for inputs, outputs in cases))
    golden.save(folder / "golden.npz")
    loaded = GoldenSet.load(folder / "golden.npz")
    assert len(loaded.cases) == len(golden.cases)
    for made, read in zip(golden.cases, loaded.cases, strict=True):
        for before, after in ((made.inputs, read.inputs), (made.outputs, read.outputs)):
            assert set(before) == set(after)
            assert all(same(after[name], array) for name, array in before.items())


@given(named=rows, size=st.integers(1, 15))
def test_batches_together_are_the_samples(named: dict[str, Array], size: int) -> None:
    samples = Samples(named)
    batches = list(samples.batches(size))
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= size
    for name, array in named.items():
        assert same(np.concatenate([batch[name] for batch in batches]), array)


@given(named=rows, count=st.integers(1, 40))
def test_repeating_starts_over_and_changes_nothing(named: dict[str, Array], count: int) -> None:
    samples = Samples(named)
    repeated = samples.repeat_to(count)
    assert len(repeated) == count
    for name, array in named.items():
        for index in range(count):
            assert same(repeated[name][index : index + 1], array[index % len(array)][np.newaxis])


@pytest.mark.parametrize("name", ["file", "allow_pickle", "self", "arr_0", "a.npy", "a/b", "é"])
def test_any_name_can_be_stored(tmp_path: Path, name: str) -> None:
    save_npz(tmp_path / "a.npz", {name: np.arange(3), "other": np.arange(2)})
    np.testing.assert_array_equal(load_npz(tmp_path / "a.npz")[name], np.arange(3))


def test_names_that_differ_by_npy_are_kept_apart(tmp_path: Path) -> None:
    save_npz(tmp_path / "a.npz", {"a": np.zeros(1), "a.npy": np.ones(1)})
    loaded = load_npz(tmp_path / "a.npz")
    assert (loaded["a"][0], loaded["a.npy"][0]) == (0, 1)


def test_numpys_own_archives_are_read(tmp_path: Path) -> None:
    values = np.arange(12.0).reshape(3, 4)
    np.savez(tmp_path / "plain.npz", x=values)
    np.savez_compressed(tmp_path / "small.npz", x=np.asfortranarray(values))
    for name in ("plain.npz", "small.npz"):
        np.testing.assert_array_equal(load_samples(tmp_path / name)["x"], values)


def test_a_folder_of_npy_files_is_read_by_name(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    np.save(tmp_path / "y.npy", np.arange(3) * 2)
    (tmp_path / "notes.txt").write_text("not data")
    assert set(load_samples(tmp_path).arrays) == {"x", "y"}


def test_one_npy_file_is_named_after_itself(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.arange(3))
    assert set(load_samples(tmp_path / "image.npy").arrays) == {"image"}


def write_parquet(path: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


def test_parquet_columns_become_arrays(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "d.parquet",
        age=[1, 2],
        weight=[0.5, None],
        city=["Ulm", "Köln"],
        ok=[True, False],
    )
    samples = load_samples(path)
    assert {name: array.dtype.kind for name, array in samples.arrays.items()} == {
        "age": "i",
        "weight": "f",
        "city": "U",
        "ok": "b",
    }
    assert np.isnan(samples["weight"][1])


@pytest.mark.parametrize("values", [["a", None], [True, None]])
def test_missing_values_that_are_no_numbers_are_refused(tmp_path: Path, values: list[Any]) -> None:
    path = write_parquet(tmp_path / "d.parquet", city=values)
    with pytest.raises(DataError, match="column city has missing values"):
        load_samples(path)


def test_columns_of_lists_are_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d.parquet", boxes=[[1, 2], [3]])
    with pytest.raises(DataError, match="boxes holds mixed Python objects"):
        load_samples(path)


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d.parquet", x=list(range(100)))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="not readable parquet"):
        load_samples(path)


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "d.parquet", x=[1])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EnvironmentMissing, match=r"slipway\[parquet\]"):
        load_samples(path)


class Gadget:
    """Unpickling one makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["npz", "npy", "folder"])
def test_arrays_of_objects_are_refused_and_run_nothing(tmp_path: Path, form: str) -> None:
    marker = tmp_path / "code-ran"
    hostile = np.array([Gadget(marker)], dtype=object)
    path = tmp_path / "x.npy"
    np.save(path, hostile, allow_pickle=True)
    if form == "npz":
        path = tmp_path / "x.npz"
        np.savez(path, x=hostile)
    elif form == "folder":
        path = tmp_path
    with pytest.raises(DataError, match="runs code when loaded; save numbers or strings"):
        load_samples(path)
    assert not marker.exists()


def test_control_numpy_would_run_it_when_asked_to(tmp_path: Path) -> None:
    marker = tmp_path / "code-ran"
    np.save(tmp_path / "x.npy", np.array([Gadget(marker)], dtype=object), allow_pickle=True)
    np.load(tmp_path / "x.npy", allow_pickle=True)
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither npz, npy nor parquet"),
        (b"a,b\n1,2\n", "neither npz, npy nor parquet"),
        (b"\x80\x04N.", "neither npz, npy nor parquet"),
        (b"PK\x03\x04" + bytes(40), "cannot be read"),
        (b"\x93NUMPY\x01\x00", "cannot be read"),
        (
            b"\x93NUMPY\x01\x00" + struct.pack("<H", 10) + b"{'descr': " + bytes(10),
            "cannot be read",
        ),
    ],
)
def test_what_is_no_data_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_samples(path)


def test_a_zip_of_something_else_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.csv", "a,b")
    with pytest.raises(DataError, match=r"member 'data\.csv' is no array"):
        load_samples(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_an_array_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path, buffer = tmp_path / "data.npz", io.BytesIO()
    np.save(buffer, np.arange(3))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", buffer.getvalue())
        archive.writestr("x.npy", buffer.getvalue())
    with pytest.raises(DataError, match="twice"):
        load_samples(path)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_a_damaged_npz_is_refused_or_read_and_nothing_else(
    folder: Path, position: int, value: int, cut: int
) -> None:
    path = folder / "damaged.npz"
    np.savez_compressed(path, x=np.arange(40.0).reshape(20, 2), y=np.arange(20))
    data = bytearray(path.read_bytes())
    data[position % len(data)] = value
    path.write_bytes(data[: len(data) - cut % 200])
    with contextlib.suppress(DataError):
        assert len(load_samples(path)) >= 1


def test_missing_data_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no data at"):
        load_samples(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    ("arrays_", "message"),
    [
        ({}, "holds no arrays"),
        ({"x": np.float32(1)}, "x is a single number"),
        ({"x": np.arange(3), "y": np.arange(4)}, r"differ in their number of samples \(x: 3, y: 4"),
        ({"x": np.zeros((0, 3))}, "holds no samples"),
    ],
)
def test_arrays_that_are_no_samples_are_refused(
    tmp_path: Path, arrays_: dict[str, Array], message: str
) -> None:
    path = tmp_path / "data.npz"
    save_npz(path, {name: np.asarray(array) for name, array in arrays_.items()})
    with pytest.raises(DataError, match=message):
        load_samples(path)


def test_an_absent_array_is_named_with_those_there() -> None:
    samples = Samples({"b": np.arange(2), "a": np.arange(2)})
    with pytest.raises(DataError, match="no array named 'c'; there are a, b"):
        samples.select(["a", "c"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_placed(bad: float) -> None:
    values = np.zeros((4, 3), np.float32)
    values[2, 1] = bad
    with pytest.raises(DataError, match=r"calibration: x holds 1 values .*first at \[2, 1\]"):
        check_finite(Samples({"x": values}), what="calibration")


def test_finite_values_pass_whatever_their_type() -> None:
    check_finite(Samples({"x": np.arange(3), "s": np.array(["nan", "b", "c"])}), what="data")
