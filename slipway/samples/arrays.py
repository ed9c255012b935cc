"""Named arrays with a common first dimension, read without pickles from npz, npy or parquet."""

import math
import mmap
import os
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np
import numpy.typing as npt

from slipway.errors import DataError, EnvironmentMissing, SourceNotFound

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

_ZIP: Final = b"PK"
_PIECE: Final = 64
# Of a zip member: 26 bytes, then the lengths of its name and of what else is there.
_LOCAL_HEADER: Final = "<26xHH"


@dataclass(frozen=True)
class Samples:
    """Arrays by name, the first dimension counting samples, equal for all.

    Strings are numpy unicode arrays (`<U`), never objects.
    """

    arrays: Arrays
    mappings: tuple[mmap.mmap, ...] = field(default=(), compare=False, repr=False)
    """What holds the arrays of files that are read piece by piece."""

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
        return type(self)({name: self[name] for name in names}, self.mappings)

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

    def release(self) -> None:
        """Give back the memory of what was read of mapped files; they are read again if needed."""
        for mapping in self.mappings:
            mapping.madvise(mmap.MADV_DONTNEED)

    def repeat_to(self, count: int) -> Self:
        """The first `count` samples, starting over where there are fewer."""
        index = np.arange(count) % len(self)
        return type(self)({name: array[index] for name, array in self.arrays.items()})


def map_samples(path: Path) -> Samples:
    """The same as `load_samples`, but arrays are read from their files when they are used.

    Those of compressed npz and of parquet files are in memory, as the others are there.

    Raises:
        SourceNotFound, DataError, EnvironmentMissing: as there.
    """
    return _with_mappings(load_samples(path, mapped=True).arrays)


def take_rows(samples: Samples, rows: Iterable[int], folder: Path) -> Samples:
    """Some of the samples, in files of their own in `folder`: they never are in memory together.

    Picked from an array they would be a copy, as large as all of them.
    """
    wanted = list(rows)
    taken: dict[str, Array] = {}
    for number, (name, array) in enumerate(samples.arrays.items()):
        path = folder / f"rows-{number}.npy"  # the name may be anything
        header = {
            "descr": np.lib.format.dtype_to_descr(array.dtype),
            "fortran_order": False,
            "shape": (len(wanted), *array.shape[1:]),
        }
        with path.open("xb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            for start in range(0, len(wanted), _PIECE):
                for row in wanted[start : start + _PIECE]:
                    file.write(array[row].tobytes())
                samples.release()
        taken[name] = _map_npy(path)
    return _with_mappings(taken)


def _with_mappings(arrays: Arrays) -> Samples:
    buffers: list[Any] = [array.base for array in arrays.values()]
    return Samples(arrays, tuple(it for it in buffers if isinstance(it, mmap.mmap)))


def load_samples(path: Path, *, mapped: bool = False) -> Samples:
    """Read npz, a folder of npy files, a single npy, or parquet; told apart by content.

    Raises:
        SourceNotFound: when nothing is there.
        DataError: when it holds pickled objects, is malformed or empty.
        EnvironmentMissing: when parquet is read without pyarrow.
    """
    samples = Samples(_load_arrays(path, mapped=mapped))
    if not len(samples):
        raise DataError(f"{path.name} holds no samples: its arrays have no rows")
    return samples


def _load_arrays(path: Path, *, mapped: bool) -> dict[str, Array]:
    load = _map_npy if mapped else _load_npy
    if path.is_dir():
        files = sorted(path.glob("*.npy"))
        if not files:
            raise DataError(f"{path} is a folder without .npy files")
        return {file.stem: load(file) for file in files}
    magic = _magic(path)
    if magic.startswith(_ZIP):
        return load_npz(path, mapped=mapped)
    if magic.startswith(b"PAR1"):
        return _load_parquet(path)
    if magic == b"\x93NUMPY":
        return {path.stem: load(path)}
    raise DataError(f"{path.name} is neither npz, npy nor parquet")


def _magic(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(6)
    except FileNotFoundError as error:
        raise SourceNotFound(f"no data at {path}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def save_npz(path: Path, arrays: Arrays) -> None:
    """Write arrays without pickles; equal arrays give equal bytes."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise DataError(f"{name} holds Python objects, which cannot be stored without pickles")
    # Not np.savez: it takes names as keyword arguments, and has its own use for `file` and
    # `allow_pickle`.
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name in sorted(arrays):
            member = zipfile.ZipInfo(f"{name}.npy")  # with the earliest date there is
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(arrays[name]), allow_pickle=False)


def plain(name: str, array: Array) -> Array:
    """The array with object strings made plain (`<U`); other Python objects are refused."""
    if not array.dtype.hasobject:
        return array
    if all(isinstance(item, str) for item in array.ravel()):
        return array.astype(str)
    raise DataError(f"{name} holds mixed Python objects; make it numbers or strings")


def _load_npy(path: Path) -> Array:
    try:
        with path.open("rb") as file:
            return _read_array(path.stem, file)
    except OSError as error:
        raise _unreadable(path.name, error) from error


def _map_npy(path: Path) -> Array:
    try:
        with path.open("rb") as file:
            return _map_array(path.stem, file)
    except OSError as error:
        raise _unreadable(path.name, error) from error


def load_npz(path: Path, *, mapped: bool = False) -> dict[str, Array]:
    """All arrays of an npz; pickled objects are refused.

    Raises:
        SourceNotFound: when there is no file.
        DataError: when it is no npz, is damaged, or holds anything but arrays.
    """
    if not _magic(path).startswith(_ZIP):
        raise DataError(f"{path.name} is not an npz archive; save it with numpy.savez")
    try:
        with zipfile.ZipFile(path) as archive:
            names = _array_names(path, archive)
            read = _map_member if mapped else _read_member
            return {name: read(name, archive) for name in names}
    except (DataError, MemoryError):
        raise
    except Exception as error:  # zipfile and zlib raise a dozen kinds on damaged archives
        raise _unreadable(path.name, error) from error


def _array_names(path: Path, archive: zipfile.ZipFile) -> list[str]:
    members = archive.namelist()
    stray = [member for member in members if not member.endswith(".npy")]
    if stray:
        raise DataError(f"{path.name}: member {stray[0]!r} is no array; is it an npz?")
    if len(set(members)) != len(members):
        raise DataError(f"{path.name} holds an array twice")
    return [member.removesuffix(".npy") for member in members]


def _read_member(name: str, archive: zipfile.ZipFile) -> Array:
    with archive.open(f"{name}.npy") as file:
        return _read_array(name, file)


def _map_member(name: str, archive: zipfile.ZipFile) -> Array:
    """A stored member where it lies in the file, after its local header; a packed one unpacked."""
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED or archive.filename is None:
        return _read_member(name, archive)
    with Path(archive.filename).open("rb") as file:
        file.seek(member.header_offset)
        header = struct.unpack(_LOCAL_HEADER, file.read(struct.calcsize(_LOCAL_HEADER)))
        file.seek(header[-2] + header[-1], os.SEEK_CUR)
        return _map_array(name, file)


def _map_array(name: str, file: IO[bytes]) -> Array:
    """The array of a .npy stream, whose values are read from the file when they are used."""
    try:
        start = file.tell()
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else (np.lib.format.read_array_header_2_0)
        )
        shape, fortran, dtype = read(file)
        if dtype.hasobject or fortran or not math.prod(shape):
            file.seek(start)
            return _read_array(name, file)
        return np.ndarray(
            shape,
            dtype,
            buffer=mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ),
            offset=file.tell(),
        )
    except (ValueError, TypeError, OSError) as error:
        raise _unreadable(name, error) from error


def _read_array(name: str, file: IO[bytes]) -> Array:
    """One .npy stream.

    Not numpy.load: it gives the bytes of members that are no arrays, mistakes `a.npy` for `a`, and
    its message on pickles says how to load them unsafely.
    """
    try:
        loaded: Array = np.lib.format.read_array(file, allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:
        if "Object arrays" in str(error):
            raise DataError(
                f"{name} holds Python objects as a pickle, which runs code when loaded; save "
                "numbers or strings"
            ) from error
        raise _unreadable(name, error) from error
    return loaded


def _unreadable(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name} cannot be read ({str(error) or type(error).__name__}); is the file complete?"
    )


def _load_parquet(path: Path) -> dict[str, Array]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise EnvironmentMissing(
            "reading parquet needs 'pyarrow': pip install 'slipway[parquet]'"
        ) from error
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError, NotImplementedError) as error:
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
        first, count = None, 0
        for start in range(0, len(array), _PIECE):
            bad = ~np.isfinite(array[start : start + _PIECE])
            count += int(bad.sum())
            if first is None and bad.any():
                row, *rest = (int(index) for index in np.argwhere(bad)[0])
                first = [start + row, *rest]
            samples.release()
        if first is not None:
            raise DataError(
                f"{what}: {name} holds {count} values that are NaN or infinite, the first at "
                f"{first}; clean the data"
            )
