"""Why outputs disagree with the source's: the kinds of fault that can be told without a framework.

Each rule tries one explanation for real: it runs the model again, transposed, repeated, or with
inputs moved by one rounding, and speaks only where the outputs then agree. So what is said holds;
nothing is said where no rule fits.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Final

import numpy as np

from slipway.errors import CheckFailed, DataError
from slipway.providers.sessions import Session
from slipway.reports import Diagnosis
from slipway.samples.arrays import Array, Arrays
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import Tolerance
from slipway.validation.parity import compare
from slipway.validation.replay import fit_case

_LAYOUTS: Final = {
    # By rank: what turns channels-first into channels-last, and back.
    3: ((0, 2, 1),),
    4: ((0, 2, 3, 1), (0, 3, 1, 2)),
    5: ((0, 2, 3, 4, 1), (0, 4, 1, 2, 3)),
}
_MOST_PERMUTED: Final = 4  # dimensions of an output whose orders are all tried
_HALF: Final = 0.5

Outputs = dict[str, Array]


@dataclass(frozen=True)
class Trial:
    """A model that failed parity, and what it is held against."""

    session: Session
    golden: GoldenSet
    tolerance: Tolerance

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


def diagnose(session: Session, golden: GoldenSet, tolerance: Tolerance) -> Diagnosis | None:
    """What is wrong with a model that failed parity; None where no rule finds it."""
    trial = Trial(session, golden, tolerance)
    return next((found for rule in RULES if (found := rule(trial)) is not None), None)


def _random(trial: Trial) -> Diagnosis | None:
    """The model draws random numbers: two runs on the same inputs differ."""
    for case, first in zip(trial.golden.cases, trial.answers, strict=True):
        second = trial.run(case.inputs)
        if first is None or second is None:
            continue
        for name, array in first.items():
            if not _same(array, second[name]):
                return Diagnosis(
                    kind="random",
                    sentence=f"output {name} differs between two runs on the same inputs: the "
                    "model draws random numbers; export it in inference mode, without dropout "
                    "and sampling",
                    evidence={"output": name},
                )
    return None


def _frozen_dimension(trial: Trial) -> Diagnosis | None:
    """Cases of one size agree, and those of every other size do not."""
    if not any(trial.agreeing) or all(trial.agreeing):
        return None
    for name, array in trial.golden.cases[0].inputs.items():
        for axis in range(array.ndim):
            sizes = [case.inputs[name].shape[axis] for case in trial.golden.cases]
            good = {size for size, ok in zip(sizes, trial.agreeing, strict=True) if ok}
            bad = {size for size, ok in zip(sizes, trial.agreeing, strict=True) if not ok}
            if len(good) == 1 and good.isdisjoint(bad) and _size_matters(trial, axis, min(good)):
                return Diagnosis(
                    kind="frozen-dimension",
                    sentence=f"dimension {axis} of input {name} was frozen at export: the outputs "
                    f"agree at size {min(good)}, and not at {', '.join(map(str, sorted(bad)))}; "
                    "the model's code takes that size from its example input",
                    evidence={"input": name, "axis": axis, "size": min(good)},
                )
    return None


def _size_matters(trial: Trial, axis: int, size: int) -> bool:
    """Whether it is the size that is wrong, and not values that a small case happens to lack."""
    triples = zip(trial.golden.cases, trial.answers, trial.agreeing, strict=True)
    failed = [(case, answer) for case, answer, ok in triples if not ok]
    if axis == 0:
        return all(_agrees_in_pieces(trial, case, size) for case, _ in failed)
    return all(
        answer is None
        or any(n in answer and answer[n].shape != a.shape for n, a in case.outputs.items())
        for case, answer in failed
    )


def _agrees_in_pieces(trial: Trial, case: GoldenCase, size: int) -> bool:
    """Whether the rows of a case agree when they are given in batches of a size that works."""
    rows = max((len(array) for array in case.inputs.values() if array.ndim), default=0)

    def piece(arrays: Arrays, start: int) -> Outputs:
        return {
            name: array[start : start + size] if array.ndim and len(array) == rows else array
            for name, array in arrays.items()
        }

    starts = range(0, rows - size + 1, size)
    return len(starts) > 0 and all(
        trial.agrees(piece(case.outputs, start), trial.run(piece(case.inputs, start)))
        for start in starts
    )


def _input_layout(trial: Trial) -> Diagnosis | None:
    """Outputs agree once an input is transposed between channels first and channels last."""
    case = trial.golden.cases[0]
    for name, array in case.inputs.items():
        for order in _LAYOUTS.get(array.ndim, ()):
            turned = np.ascontiguousarray(array.transpose(order))
            if trial.agrees(case.outputs, trial.run({**case.inputs, name: turned})):
                return Diagnosis(
                    kind="layout",
                    sentence=f"the outputs agree when input {name} is transposed by "
                    f"{list(order)}: the model takes {_layout(order)}; transpose the data, or "
                    "export the model with the other layout",
                    evidence={"input": name, "transposed": str(list(order))},
                )
    return None


def _layout(order: tuple[int, ...]) -> str:
    if len(order) == 3:  # noqa: PLR2004 - a sequence
        return "steps and channels the other way round"
    return "channels last" if order[-1] == 1 else "channels first"


def _output_layout(trial: Trial) -> Diagnosis | None:
    """Outputs hold the same values with their dimensions in another order."""
    if trial.wrong is None:
        return None
    case, outputs = trial.wrong
    for name, order in _turned(trial, case.outputs, outputs):
        return Diagnosis(
            kind="layout",
            sentence=f"output {name} agrees when it is transposed by {list(order)}: its "
            "dimensions are in another order than the source's",
            evidence={"output": name, "transposed": str(list(order))},
        )
    return None


def _turned(
    trial: Trial, expected: Arrays, actual: Arrays
) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, array in actual.items():
        if name not in expected or not 1 < array.ndim <= _MOST_PERMUTED:
            continue
        if trial.agrees({name: expected[name]}, {name: array}):
            continue
        for order in permutations(range(array.ndim)):
            if trial.agrees({name: expected[name]}, {name: array.transpose(order)}):
                yield name, order


def _swapped_outputs(trial: Trial) -> Diagnosis | None:
    """Each output that is wrong is right under another's name."""
    if trial.wrong is None:
        return None
    case, actual = trial.wrong
    found: dict[str, str] = {}
    for name, expected in case.outputs.items():
        if name not in actual or trial.agrees({name: expected}, {name: actual[name]}):
            continue
        others = (o for o in actual if trial.agrees({name: expected}, {name: actual[o]}))
        found[name] = next(others, "")
    if not found or "" in found.values():
        return None
    pairs = ", ".join(f"{name} is what the model calls {other}" for name, other in found.items())
    return Diagnosis(
        kind="swapped-outputs",
        sentence=f"the outputs agree under other names: {pairs}; set outputs in the spec to the "
        "model's own order",
        evidence=dict(found),
    )


def _dtype(trial: Trial) -> Diagnosis | None:
    """An output has the right values as another type."""
    if trial.wrong is None:
        return None
    case, actual = trial.wrong
    for name, expected in case.outputs.items():
        array = actual.get(name)
        if array is None or array.dtype == expected.dtype or array.shape != expected.shape:
            continue
        if trial.agrees({name: expected}, {name: _cast(array, expected)}):
            return Diagnosis(
                kind="dtype",
                sentence=f"output {name} holds the right values as {_type(array)}, where the "
                f"source gives {_type(expected)}; the converter changed its type",
                evidence={"output": name, "model": _type(array), "source": _type(expected)},
            )
    return None


def _cast(array: Array, like: Array) -> Array:
    try:
        return array.astype(like.dtype)
    except (TypeError, ValueError):
        return array


def _type(array: Array) -> str:
    return "string" if array.dtype.kind in "USO" else str(array.dtype)


def _threshold(trial: Trial) -> Diagnosis | None:
    """Few rows jump, and most of those are right for inputs that are one rounding away."""
    if trial.wrong is None:
        return None
    case, actual = trial.wrong
    jumped = _rows_off(trial, case.outputs, actual)
    if jumped is None or not 0 < jumped.mean() < _HALF:
        return None
    left = jumped.copy()
    for direction in (-np.inf, np.inf):
        off = _rows_off(trial, case.outputs, trial.run(_nudged(case.inputs, direction)))
        if off is None or off.shape != left.shape:
            return None
        left &= off
    cured = 1 - left.sum() / jumped.sum()
    if cured <= _HALF:
        return None
    rows = int(jumped.sum())
    return Diagnosis(
        kind="threshold",
        sentence=f"{rows} of {len(jumped)} rows jump, and {cured:.0%} of these agree when the "
        "inputs move by one float32 rounding: values lie on a threshold that float64 and float32 "
        "put on different sides; train on float32 data, or round thresholds down to float32",
        evidence={"rows": rows, "of": len(jumped), "cured": float(cured)},
    )


def _rows_off(trial: Trial, expected: Arrays, actual: Arrays | None) -> Array | None:
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
        [not trial.agrees(_row(expected, index), _row(actual, index)) for index in range(count)]
    )


def _row(arrays: Arrays, index: int) -> Outputs:
    return {name: array[index : index + 1] for name, array in arrays.items()}


def _nudged(inputs: Arrays, direction: float) -> Mapping[str, Array]:
    return {
        name: np.nextafter(array.astype(np.float32), np.float32(direction))
        if array.dtype.kind == "f"
        else array
        for name, array in inputs.items()
    }


def _same(first: Array, second: Array) -> bool:
    if first.dtype.kind in "USO":
        return bool(np.array_equal(first, second))
    return first.tobytes() == second.tobytes() or bool(
        np.allclose(first.astype(np.float64), second.astype(np.float64), equal_nan=True)
    )


Rule = Callable[[Trial], Diagnosis | None]
RULES: Final[tuple[Rule, ...]] = (
    _random,
    _frozen_dimension,
    _dtype,
    _swapped_outputs,
    _output_layout,
    _input_layout,
    _threshold,
)
"""In the order of how much else each would explain away."""
