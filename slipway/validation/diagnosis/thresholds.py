"""Whether rows jump because their values lie on a threshold that float32 puts elsewhere."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from slipway.reports import Diagnosis
from slipway.samples.arrays import Array, Arrays
from slipway.validation.diagnosis.trials import Trial, rows_off

_HALF: Final = 0.5


def find_threshold(trial: Trial) -> Diagnosis | None:
    """Few rows jump, and most of those are right for inputs that are one rounding away."""
    if trial.wrong is None:
        return None
    case, actual = trial.wrong
    jumped = rows_off(trial, case.outputs, actual)
    if jumped is None or not 0 < jumped.mean() < _HALF:
        return None
    left = jumped.copy()
    for direction in (-np.inf, np.inf):
        off = rows_off(trial, case.outputs, trial.run(_nudged(case.inputs, direction)))
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


def _nudged(inputs: Arrays, direction: float) -> Mapping[str, Array]:
    return {
        name: np.nextafter(array.astype(np.float32), np.float32(direction))
        if array.dtype.kind == "f"
        else array
        for name, array in inputs.items()
    }
