"""Samples read from their files when they are used: the same values, and the same refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slipway.errors import DataError
from slipway.samples.arrays import Array, load_samples, map_samples, save_npz

ARRAYS: dict[str, Array] = {
    "image": np.arange(60, dtype=np.float32).reshape(5, 3, 4),
    "turned": np.asfortranarray(np.arange(10, dtype=np.int64).reshape(5, 2)),
    "word": np.array(["a", "bc", "", "d", "e"]),
}


def folder(path: Path) -> None:
    path.mkdir()
    for name, array in ARRAYS.items():
        np.save(path / f"{name}.npy", array)


def _savez(save: Callable[..., None], path: Path) -> None:
    with path.open("wb") as file:
        save(file, **ARRAYS)


WRITERS: dict[str, Callable[[Path], None]] = {
    "ours": lambda path: save_npz(path, ARRAYS),
    "savez": lambda path: _savez(np.savez, path),
    "compressed": lambda path: _savez(np.savez_compressed, path),
    "folder": folder,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_mapped_samples_have_the_values_of_loaded_ones(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    WRITERS[kind](path)
    mapped, loaded = map_samples(path), load_samples(path)
    assert bool(mapped.mappings) == (kind != "compressed")
    for _ in range(2):
        for name, array in loaded.arrays.items():
            np.testing.assert_array_equal(mapped[name], array)
            assert mapped[name].dtype == array.dtype
        np.testing.assert_array_equal(mapped.rows(1, 3)["image"], ARRAYS["image"][1:3])
        mapped.release()


def test_a_mapped_array_cannot_be_changed(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ARRAYS["image"])
    with pytest.raises(ValueError, match="read-only"):
        map_samples(tmp_path / "x.npy")["x"][0] = 1


@pytest.mark.parametrize("kind", ["ours", "folder"])
def test_a_file_that_was_cut_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    WRITERS[kind](path)
    file = path / "image.npy" if path.is_dir() else path
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"cannot be read|complete"):
        map_samples(path)


def test_pickles_are_refused_here_too(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="pickle"):
        map_samples(tmp_path / "x.npy")
