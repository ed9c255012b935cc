"""Whether a dynamic dimension was frozen at export: right at the traced size, wrong elsewhere."""

from slipway.reports import Diagnosis
from slipway.samples.arrays import Arrays
from slipway.samples.golden import GoldenCase
from slipway.validation.diagnosis.trials import Outputs, Trial


def find_frozen_dimension(trial: Trial) -> Diagnosis | None:
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
