"""Whether outputs hold the right values under another name, or as another type."""

from slipway.reports import Diagnosis
from slipway.samples.arrays import Array
from slipway.validation.diagnosis.trials import Trial


def find_swapped_outputs(trial: Trial) -> Diagnosis | None:
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


def find_dtype(trial: Trial) -> Diagnosis | None:
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
