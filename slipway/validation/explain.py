"""Why a model failed parity: what trials tell, and what a trace of its source adds.

`explain` is a stage of its own in an isolated child, after the validation failed and a second run
of the source recorded what it computes inside.
"""

import logging
from pathlib import Path

from pydantic import Field

from slipway.artifacts import Value
from slipway.protocols import TraceResult
from slipway.providers.sessions import Session
from slipway.reports import Diagnosis, Divergence, ValidationReport
from slipway.samples.golden import GoldenSet
from slipway.specs import Tolerance
from slipway.validation.diagnosis import diagnose
from slipway.validation.diagnosis.divergence import find_float32_departure, open_failure
from slipway.validation.diagnosis.sources import find_source_departure, find_training_mode
from slipway.validation.diagnosis.weights import find_rounded_constant

_LOG = logging.getLogger(__name__)


class ExplainRequest(Value):
    """A model that failed parity, and the trace of its source."""

    model: Path
    golden: Path
    tolerance: Tolerance
    trace: TraceResult


class Explanation(Value):
    """What the trace shows; None where it shows nothing."""

    diagnosis: Diagnosis | None = Field(default=None)
    divergence: Divergence | None = Field(default=None)


def find_causes(
    model: Path, session: Session, golden: GoldenSet, tolerance: Tolerance, scratch: Path
) -> tuple[Diagnosis | None, Divergence | None]:
    """What can be told without the source: by trials, and where float32 departs from float64.

    It never raises: a verdict that cannot be explained is a verdict all the same.
    """
    try:
        diagnosis = diagnose(session, golden, tolerance, model=model)
        opened = open_failure(model, golden, tolerance, scratch)
        found = find_float32_departure(opened) if opened else None
        if found is not None:
            return diagnosis or found[1], found[0]
        if diagnosis is None and opened is not None:
            diagnosis = find_rounded_constant(opened)
    except Exception as error:  # noqa: BLE001 - any graph there is gets here, run in unusual ways
        _LOG.warning("the failure of %s cannot be explained: %s", model.name, error)
        return None, None
    return diagnosis, None


def explained(
    verdict: ValidationReport, diagnosis: Diagnosis | None, divergence: Divergence | None
) -> ValidationReport:
    """A failed verdict with what was found out; the newer explanation takes the older's place."""
    plain = (verdict.reason or "").removesuffix(_words(verdict.diagnosis, verdict.divergence))
    told = diagnosis or verdict.diagnosis, divergence or verdict.divergence
    return verdict.model_copy(
        update={
            "reason": f"{plain}{_words(*told)}",
            "diagnosis": told[0],
            "divergence": told[1],
        }
    )


def _words(diagnosis: Diagnosis | None, divergence: Divergence | None) -> str:
    return "".join(f"; {found.sentence}" for found in (diagnosis, divergence) if found)


def explain(request: ExplainRequest, scratch: Path) -> Explanation:
    """Hold the model against the source's own values inside."""
    opened = open_failure(
        request.model,
        GoldenSet.load(request.golden),
        request.tolerance,
        scratch,
        case=request.trace.case,
    )
    return Explanation(
        diagnosis=find_training_mode(request.trace),
        divergence=find_source_departure(opened, request.trace) if opened else None,
    )
