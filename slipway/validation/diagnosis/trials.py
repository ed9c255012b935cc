"""A model that failed parity, and what each trial asks of it: run it on these inputs, compare."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from slipway.errors import CheckFailed, DataError
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array, Arrays
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import Tolerance
from slipway.validation.parity import compare
from slipway.validation.replay import fit_case

Outputs = dict[str, Array]


@dataclass(frozen=True)
class Trial:
    """A model that failed parity, and what it is held against."""

    session: Session
    golden: GoldenSet
    tolerance: Tolerance
    model: Path | None = None

    def run(self, inputs: Arrays) -> Outputs | None:
        """All outputs; None where the model does not run on such inputs."""
        try:
            return self.session.run(fit_case(self.session.inputs, inputs))
        except (CheckFailed, DataError):
            return None

    @cached_property
    def answers(self) -> tuple[Outputs | None, ...]:
        """What it gives for each golden case."""
        return tuple(self.run(case.inputs) for case in self.golden.cases)

    @cached_property
    def agreeing(self) -> tuple[bool, ...]:
        """Which cases agree."""
        pairs = zip(self.golden.cases, self.answers, strict=True)
        return tuple(self.agrees(case.outputs, answer) for case, answer in pairs)

    def agrees(self, expected: Arrays, actual: Arrays | None) -> bool:
        """Whether every output is within the tolerance."""
        if actual is None:
            return False
        return all(found.passed for found in compare(expected, actual, self.tolerance))

    @cached_property
    def wrong(self) -> tuple[GoldenCase, Outputs] | None:
        """The first case that runs, and gives something else."""
        triples = zip(self.golden.cases, self.answers, self.agreeing, strict=True)
        return next(((case, out) for case, out, ok in triples if out is not None and not ok), None)


def rows_off(trial: Trial, expected: Arrays, actual: Arrays | None) -> Array | None:
    """Which rows are beyond the tolerance in any output; None where there are no such rows."""
    if actual is None:
        return None
    rows = {len(array) if array.ndim else -1 for array in expected.values()}
    count = rows.pop()
    if (
        rows
        or count < 1
        or any(n not in actual or actual[n].shape != a.shape for n, a in expected.items())
    ):
        return None
    return np.array(
        [not trial.agrees(row_of(expected, index), row_of(actual, index)) for index in range(count)]
    )


def row_of(arrays: Arrays, index: int) -> Outputs:
    """One row of everything, as a batch of one."""
    return {name: array[index : index + 1] for name, array in arrays.items()}


def same(first: Array, second: Array) -> bool:
    """Whether two runs gave the same, but for the order that threads add in."""
    if first.dtype.kind in "USO":
        return bool(np.array_equal(first, second))
    return first.tobytes() == second.tobytes() or bool(
        np.allclose(first.astype(np.float64), second.astype(np.float64), equal_nan=True)
    )
