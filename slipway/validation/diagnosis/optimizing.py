"""Whether onnxruntime's own graph optimizations change what the model computes."""

from slipway.errors import CheckFailed
from slipway.providers.sessions import Session
from slipway.reports import Diagnosis
from slipway.validation.diagnosis.trials import Trial


def find_optimizer(trial: Trial) -> Diagnosis | None:
    """Every case agrees once the optimizations are off."""
    if trial.model is None or trial.wrong is None:
        return None
    try:
        plain = Trial(
            Session(trial.model, optimization="none"), trial.golden, trial.tolerance, trial.model
        )
    except CheckFailed:
        return None
    if not all(plain.agreeing):
        return None
    return Diagnosis(
        kind="optimizer",
        sentence="the outputs agree with onnxruntime's graph optimizations off: a fusion computes "
        "in another order, which overflows or cancels here; keep values within a smaller range, or "
        "serve the model with the optimizations off",
        evidence={"agrees with optimizations": "none"},
    )
