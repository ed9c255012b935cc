"""Why an export is wrong: its source is run once more, and both are held against each other.

Only a failed export gets here, so that a good one pays nothing for it.
"""

import logging

from slipway.errors import SlipwayError, Transient
from slipway.exporters import TRACERS
from slipway.protocols import TraceRequest, TraceResult
from slipway.reports import ExportReport, ValidationReport
from slipway.specs import ReleaseSpec
from slipway.stages.interpreters import interpreter_for
from slipway.stages.making import Materials, export_request
from slipway.stages.workspace import Workspace
from slipway.validation.explain import ExplainRequest, Explanation, explained

_LOG = logging.getLogger(__name__)


def explain_failure(
    spec: ReleaseSpec, materials: Materials, exported: ExportReport, validation: ValidationReport
) -> ValidationReport:
    """The exported model's verdict, with what a trace of its source adds to it.

    A verdict whose outputs agree comes back as it is; so does one whose source cannot be traced.
    """
    parity = validation.parity
    agrees = validation.passed if parity is None else parity.passed
    if agrees or spec.source.known_framework not in TRACERS:
        return validation
    try:
        found = _explain(spec, materials, exported, _case(validation))
    except Transient:
        raise
    except SlipwayError as error:
        _LOG.warning("the source cannot be traced: %s", error)
        return validation
    return explained(validation, found.diagnosis, found.divergence)


def _case(validation: ValidationReport) -> int:
    """The golden case to look at: one that is known to be wrong, where any was compared."""
    if validation.divergence is not None:
        return validation.divergence.case
    return validation.parity.worst.worst_case if validation.parity else 0


def _explain(
    spec: ReleaseSpec, materials: Materials, exported: ExportReport, case: int
) -> Explanation:
    interpreter = interpreter_for(spec.source.known_framework)
    with Workspace() as work:
        recorded = work.fetch(exported.golden, "golden.npz")
        trace = work.run(
            "slipway.exporters:trace",
            TraceRequest(
                export=export_request(
                    work,
                    spec,
                    materials.source,
                    factory=materials.factory,
                    golden=materials.golden,
                    sample_data=materials.sample_data,
                ),
                route=exported.route,
                golden=recorded,
                case=case,
            ),
            returns=TraceResult,
            what=f"the trace of {spec.source.uri}",
            fresh=True,
            python=interpreter.path if interpreter else None,
        )
        return work.run(
            "slipway.validation.explain:explain",
            ExplainRequest(
                model=work.fetch_model(exported.model, "model"),
                golden=recorded,
                tolerance=spec.parity.fp32,
                trace=trace,
            ),
            returns=Explanation,
            what=f"the explanation of {spec.name}",
        )
