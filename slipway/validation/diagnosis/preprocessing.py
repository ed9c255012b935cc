"""Whether the recorded answers come from inputs that were scaled or normalised otherwise.

Usual preprocessing is tried by name first; then a scale and an offset are fitted, for the whole
input and for each of its channels or columns.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.reports import Diagnosis
from slipway.samples.arrays import Array
from slipway.validation.comparing import Floats
from slipway.validation.diagnosis.trials import Trial

SECONDS: Final = 10.0
"""What fitting may take; each step of it runs the model a few times."""
_MOST_CHANNELS: Final = 16
_STEPS: Final = 30
_EVIDENCE: Final = 4
"""Output values needed for each number that is fitted: fewer could be met by chance."""
_LEAST: Final = 0.05
"""Of the inputs' own spread."""
_MEAN: Final = np.array([0.485, 0.456, 0.406])
_DEVIATION: Final = np.array([0.229, 0.224, 0.225])


@dataclass(frozen=True)
class Change:
    """x becomes scale * x + offset along an axis; `name` says what that usually is."""

    name: str
    scale: Floats
    offset: Floats
    axis: int | None = None

    def apply(self, array: Array) -> Array:
        """The array after it, of the same type."""
        shape = [1] * array.ndim
        if self.axis is not None:
            shape[self.axis] = array.shape[self.axis]
        changed = self.scale.reshape(shape) * array + self.offset.reshape(shape)
        return changed.astype(array.dtype)

    def moves(self, array: Array) -> bool:
        """Whether it is more than what hardly changes the inputs, which nobody prepares data by.

        Outputs that agree after less than that are beside a discontinuity, or noisy.
        """
        moved = np.abs(self.apply(array).astype(np.float64) - array).mean()
        return bool(moved > _LEAST * np.abs(array - array.mean(dtype=np.float64)).mean())


def find_preprocessing(trial: Trial) -> Diagnosis | None:
    """All cases agree once an input is scaled and shifted."""
    if trial.wrong is None:
        return None
    for name, array in trial.golden.cases[0].inputs.items():
        if array.dtype.kind != "f" or not array.ndim or not np.isfinite(array).all():
            continue
        for change in (*_usual(array), *_fitted(trial, name)):
            if change.moves(array) and _explains(trial, name, change):
                return _told(name, change)
    return None


def _explains(trial: Trial, name: str, change: Change) -> bool:
    """Whether every case agrees."""
    for case in trial.golden.cases:
        changed = {**case.inputs, name: change.apply(case.inputs[name])}
        if not trial.agrees(case.outputs, trial.run(changed)):
            return False
    return True


def _told(name: str, change: Change) -> Diagnosis:
    scale, offset = _shown(change.scale), _shown(change.offset)
    what = change.name or f"scaled by {scale} and shifted by {offset}"
    where = "" if change.axis is None else f" along dimension {change.axis}"
    return Diagnosis(
        kind="preprocessing",
        sentence=f"the outputs agree once input {name} is {what}{where}: the recorded answers come "
        "from inputs that were prepared so; prepare the data alike, or make that part of the model",
        evidence={"input": name, "scale": scale, "offset": offset},
    )


def _shown(values: Floats) -> str:
    return ", ".join(f"{value:.6g}" for value in values.ravel())


def _usual(array: Array) -> Iterator[Change]:
    one = np.ones(1)
    yield Change("divided by 255", one / 255, 0 * one)
    yield Change("multiplied by 255", one * 255, 0 * one)
    yield Change("brought from 0..255 to -1..1", one / 127.5, -one)
    yield Change("brought from -1..1 to 0..255", one * 127.5, one * 127.5)
    yield Change("brought from 0..1 to -1..1", one * 2, -one)
    yield Change("brought from -1..1 to 0..1", one / 2, one / 2)
    for axis in {1, array.ndim - 1} if array.ndim > 2 else ():  # noqa: PLR2004 - images
        if array.shape[axis] != len(_MEAN):
            continue
        for name, unit in (("0..1", 1.0), ("0..255", 255.0)):
            yield Change(
                f"normalised from {name} by ImageNet's statistics",
                1 / (_DEVIATION * unit),
                -_MEAN / _DEVIATION,
                axis,
            )
        yield Change(
            "brought back from ImageNet's statistics to 0..1", _DEVIATION, _MEAN.copy(), axis
        )


def _fitted(trial: Trial, name: str) -> Iterator[Change]:
    """Scales and offsets that bring the outputs nearest, on the case with the most rows."""
    case = max(trial.golden.cases, key=lambda case: case.inputs[name].size)
    array = case.inputs[name]
    target = _flat(case.outputs)
    if not np.isfinite(target).all():
        return
    deadline = time.monotonic() + SECONDS
    axes = [axis for axis in {1, array.ndim - 1} if 0 < axis < array.ndim]
    for axis in (None, *axes):
        count = 1 if axis is None else array.shape[axis]
        if count > _MOST_CHANNELS or target.size < _EVIDENCE * 2 * count:
            continue

        def outputs(change: Change) -> Floats | None:
            found = trial.run({**case.inputs, name: change.apply(array)})
            if found is None or any(
                n not in found or found[n].shape != a.shape for n, a in case.outputs.items()
            ):
                return None
            return _flat({n: found[n] for n in case.outputs})

        for start in _starts(array, axis, count):
            found = _nearest(outputs, target, start, count, axis, deadline)
            if found is not None:
                yield found


def _flat(outputs: Mapping[str, Array]) -> Floats:
    parts = [a.astype(np.float64).ravel() for a in outputs.values() if a.dtype.kind == "f"]
    return np.concatenate(parts) if parts else np.zeros(0)


def _starts(array: Array, axis: int | None, count: int) -> Iterator[Floats]:
    """As it is; and normalised, which is what is most often lost. Scales first, offsets behind."""
    yield np.concatenate([np.ones(count), np.zeros(count)])
    others = tuple(other for other in range(array.ndim) if other != axis)
    mean = np.broadcast_to(array.mean(axis=None if axis is None else others), count)
    spread = np.broadcast_to(array.std(axis=None if axis is None else others), count)
    spread = np.where(spread > 0, spread, 1.0).astype(np.float64)
    yield np.concatenate([1 / spread, -mean / spread])


def _nearest(
    outputs: Callable[[Change], Floats | None],
    target: Floats,
    start: Floats,
    count: int,
    axis: int | None,
    deadline: float,
) -> Change | None:
    """Levenberg and Marquardt's method, with derivatives by differences of the model's outputs."""

    def residual(numbers: Floats) -> Floats | None:
        found = outputs(Change("", numbers[:count], numbers[count:], axis))
        return None if found is None or not np.isfinite(found).all() else found - target

    numbers, damping = start, 1e-3
    error = residual(numbers)
    for _ in range(_STEPS):
        if error is None or time.monotonic() > deadline:
            break
        slope = _slope(residual, numbers)
        if slope is None:
            break
        square = slope.T @ slope
        scale = np.diag(np.maximum(np.diag(square), 1e-12))
        move = np.linalg.lstsq(square + damping * scale, -slope.T @ error)[0]
        after = residual(numbers + move)
        if after is not None and after @ after < error @ error:
            gained = 1 - (after @ after) / (error @ error)
            numbers, error, damping = numbers + move, after, damping / 10
            if gained < 1e-6:  # noqa: PLR2004 - at rest
                break
        else:
            damping *= 10
            if damping > 1e6:  # noqa: PLR2004 - no smaller step helps either
                break
    return Change("", numbers[:count], numbers[count:], axis)


def _slope(residual: Callable[[Floats], Floats | None], numbers: Floats) -> Floats | None:
    """How each output moves with each number; None where the model does not run nearby."""
    columns = []
    for index, step in enumerate(1e-3 * np.maximum(np.abs(numbers), 1e-3)):
        moved = np.zeros_like(numbers)
        moved[index] = step
        up, down = residual(numbers + moved), residual(numbers - moved)
        if up is None or down is None:
            return None
        columns.append((up - down) / (2 * step))
    return np.stack(columns, axis=1)
