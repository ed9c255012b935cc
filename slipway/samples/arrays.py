"""Named arrays with a common first dimension, read without pickles from npz, npy or parquet."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from slipway.errors import DataError, EnvironmentMissing, SourceNotFound

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Samples:
    """Arrays by name, the first dimension counting samples, equal for all.

    Strings are numpy unicode arrays (`<U`), never objects.
    """

    arrays: Arrays

    def __post_init__(self) -> None:
        """Refuse what is no set of samples."""
        if not self.arrays:
            raise DataError("the data holds no arrays")
        for name, array in self.arrays.items():
            if array.ndim == 0:
                raise DataError(f"{name} is a single number; the first dimension counts samples")
        counts = {name: len(array) for name, array in self.arrays.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise DataError(f"the arrays differ in their number of samples ({listed})")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, name: str) -> Array:
        if name not in self.arrays:
            raise DataError(f"no array named {name!r}; there are {', '.join(sorted(self.arrays))}")
        return self.arrays[name]

    def select(self, names: Sequence[str]) -> Self:
        """Only these arrays.

        Raises:
            DataError: naming the first that is absent.
        """
        return type(self)({name: self[name] for name in names})

    def without(self, name: str) -> Self:
        """All arrays but one."""
        return type(self)({key: array for key, array in self.arrays.items() if key != name})

    def rows(self, start: int, stop: int) -> Self:
        """Samples start to stop, stop excluded."""
        return type(self)({name: array[start:stop] for name, array in self.arrays.items()})

    def batches(self, size: int) -> Iterator[Self]:
        """Consecutive batches; the last one may be smaller."""
        for start in range(0, len(self), size):
            yield self.rows(start, start + size)

    def repeat_to(self, count: int) -> Self:
        """The first `count` samples, starting over where there are fewer."""
        index = np.arange(count) % len(self)
        return type(self)({name: array[index] for name, array in self.arrays.items()})


def load_samples(path: Path) -> Samples:
    """Read npz, a folder of npy files, a single npy, or parquet; told apart by content.

    Raises:
        SourceNotFound: when nothing is there.
        DataError: when it holds pickled objects, is malformed or empty.
        EnvironmentMissing: when parquet is read without pyarrow.
    """
    if path.is_dir():
        files = sorted(path.glob("*.npy"))
        if not files:
            raise DataError(f"{path} is a folder without .npy files")
        return Samples({file.stem: _load_npy(file) for file in files})
    try:
        with path.open("rb") as file:
            magic = file.read(6)
    except FileNotFoundError as error:
        raise SourceNotFound(f"no data at {path}") from error
    if magic.startswith(b"PK"):
        return Samples(load_npz(path))
    if magic.startswith(b"PAR1"):
        return Samples(_load_parquet(path))
    if magic == b"\x93NUMPY":
        return Samples({path.stem: _load_npy(path)})
    raise DataError(f"{path.name} is neither npz, npy nor parquet")


def save_npz(path: Path, arrays: Arrays) -> None:
    """Write arrays without pickles; equal arrays give equal bytes."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise DataError(f"{name} holds Python objects, which cannot be stored without pickles")
    with path.open("wb") as file:
        np.savez(file, **{name: arrays[name] for name in sorted(arrays)})  # type: ignore[arg-type]


def plain(name: str, array: Array) -> Array:
    """The array with object strings made plain (`<U`); other Python objects are refused."""
    if not array.dtype.hasobject:
        return array
    if all(isinstance(item, str) for item in array.ravel()):
        return array.astype(str)
    raise DataError(f"{name} holds mixed Python objects; make it numbers or strings")


def _load_npy(path: Path) -> Array:
    try:
        loaded: Array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from error
    return loaded


def load_npz(path: Path) -> dict[str, Array]:
    """All arrays of an npz; pickled objects are refused."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path.name} cannot be read: {error}; arrays of Python objects are refused, "
            "save numbers or strings"
        ) from error


def _load_parquet(path: Path) -> dict[str, Array]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise EnvironmentMissing(
            "reading parquet needs 'pyarrow': pip install 'slipway[parquet]'"
        ) from error
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} is not readable parquet: {error}") from error
    columns = {}
    for name in table.column_names:
        values = table.column(name).to_numpy()
        if table.column(name).null_count and values.dtype.kind != "f":
            raise DataError(
                f"column {name} has missing values; only number columns may have them (as NaN)"
            )
        columns[name] = plain(name, values)
    return columns


def check_finite(samples: Samples, *, what: str) -> None:
    """Refuse NaN and infinities.

    Raises:
        DataError: naming the array, how many there are and where the first is.
    """
    for name, array in samples.arrays.items():
        if array.dtype.kind != "f":
            continue
        bad = ~np.isfinite(array)
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"{what}: {name} holds {int(bad.sum())} values that are NaN or infinite, the "
                f"first at {list(first)}; clean the data"
            )
