"""The golden set: recorded inputs and the source model's own outputs, at several shapes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slipway.errors import DataError, SourceNotFound
from slipway.samples.arrays import Array, Arrays, load_npz, plain, save_npz


@dataclass(frozen=True)
class GoldenCase:
    """One recorded run of the source model: inputs and its own outputs, by name."""

    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True)
class GoldenSet:
    """Recorded runs at several shapes: what parity is judged by, with no framework at hand.

    Round-trip law: `GoldenSet.load(path)` after `golden.save(path)` holds equal arrays, and equal
    sets give equal bytes.
    """

    cases: tuple[GoldenCase, ...]

    def save(self, path: Path) -> None:
        """Write one npz with keys `case/inputs/name` and `case/outputs/name`."""
        arrays: dict[str, Array] = {}
        for index, case in enumerate(self.cases):
            for role, named in (("inputs", case.inputs), ("outputs", case.outputs)):
                for name, array in named.items():
                    arrays[f"{index:03d}/{role}/{name}"] = plain(name, np.asarray(array))
        save_npz(path, arrays)

    @classmethod
    def load(cls, path: Path) -> "GoldenSet":
        """Read what `save` wrote.

        Raises:
            SourceNotFound: when there is no file.
            DataError: when it is no golden set or an empty one.
        """
        if not path.is_file():
            raise SourceNotFound(f"no golden set at {path}")
        cases: dict[str, tuple[dict[str, Array], dict[str, Array]]] = {}
        for key, array in load_npz(path).items():
            index, _, rest = key.partition("/")
            role, _, name = rest.partition("/")
            if role not in {"inputs", "outputs"} or not name:
                raise DataError(
                    f"{path.name} is no golden set: key {key!r} is not CASE/inputs/NAME or "
                    "CASE/outputs/NAME"
                )
            inputs, outputs = cases.setdefault(index, ({}, {}))
            (inputs if role == "inputs" else outputs)[name] = array
        if not cases or any(not inputs or not outputs for inputs, outputs in cases.values()):
            raise DataError(f"{path.name} holds a case without inputs or without outputs")
        in_order = sorted(cases, key=lambda index: (len(index), index))
        return cls(tuple(GoldenCase(*cases[index]) for index in in_order))
