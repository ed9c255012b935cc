"""Golden sets: files that are none are refused."""

from pathlib import Path

import numpy as np
import pytest

from slipway.errors import DataError, SourceNotFound
from slipway.samples.arrays import Array, save_npz
from slipway.samples.golden import GoldenCase, GoldenSet

ONE = np.ones(1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": ONE}, "key 'x' is not CASE/inputs/NAME"),
        ({"000/inputs/": ONE}, "key '000/inputs/'"),
        ({"000/weights/x": ONE}, "key '000/weights/x'"),
        ({"000/inputs/x": ONE}, "without inputs or without outputs"),
        ({"000/outputs/x": ONE}, "without inputs or without outputs"),
        ({}, "without inputs or without outputs|no case"),
    ],
)
def test_a_file_that_is_no_golden_set_is_refused(
    tmp_path: Path, arrays: dict[str, Array], message: str
) -> None:
    save_npz(tmp_path / "golden.npz", arrays)
    with pytest.raises(DataError, match=message):
        GoldenSet.load(tmp_path / "golden.npz")


def test_a_missing_golden_set_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no golden set at"):
        GoldenSet.load(tmp_path / "golden.npz")


def test_strings_that_came_as_objects_are_stored_plain(tmp_path: Path) -> None:
    texts = np.array(["a", "longer"], dtype=object)
    GoldenSet((GoldenCase({"x": texts}, {"y": texts}),)).save(tmp_path / "golden.npz")
    loaded = GoldenSet.load(tmp_path / "golden.npz").cases[0].inputs["x"]
    assert loaded.dtype.kind == "U"
    assert loaded.tolist() == ["a", "longer"]


def test_objects_that_are_no_strings_are_never_stored(tmp_path: Path) -> None:
    mixed = np.array(["a", 1], dtype=object)
    with pytest.raises(DataError, match="mixed Python objects"):
        GoldenSet((GoldenCase({"x": mixed}, {"y": ONE}),)).save(tmp_path / "golden.npz")
    assert not (tmp_path / "golden.npz").exists()


def test_cases_keep_their_order_beyond_a_thousand(tmp_path: Path) -> None:
    cases = tuple(GoldenCase({"x": np.array([i])}, {"y": ONE}) for i in range(1_002))
    GoldenSet(cases).save(tmp_path / "golden.npz")
    loaded = GoldenSet.load(tmp_path / "golden.npz").cases
    assert [int(case.inputs["x"][0]) for case in loaded] == list(range(1_002))
