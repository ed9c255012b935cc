"""Whether dimensions are in another order: of an input (NCHW for NHWC), or of an output."""

from collections.abc import Iterator
from itertools import permutations
from typing import Final

import numpy as np

from slipway.reports import Diagnosis
from slipway.samples.arrays import Arrays
from slipway.validation.diagnosis.trials import Trial

_LAYOUTS: Final = {
    # By rank: what turns channels-first into channels-last, and back.
    3: ((0, 2, 1),),
    4: ((0, 2, 3, 1), (0, 3, 1, 2)),
    5: ((0, 2, 3, 4, 1), (0, 4, 1, 2, 3)),
}
_MOST_PERMUTED: Final = 4  # dimensions of an output whose orders are all tried


def find_input_layout(trial: Trial) -> Diagnosis | None:
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


def find_output_layout(trial: Trial) -> Diagnosis | None:
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
