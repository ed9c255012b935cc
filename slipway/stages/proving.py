"""What was made is held to what was asked: check, parity, metric."""

from pathlib import Path

from slipway.artifacts import ArtifactRef
from slipway.protocols import ValidateRequest
from slipway.reports import ValidationReport
from slipway.specs import Precision, ReleaseSpec
from slipway.stages.workspace import Workspace


def validate_model(
    spec: ReleaseSpec,
    precision: Precision,
    model: ArtifactRef,
    golden: ArtifactRef,
    *,
    evaluation: ArtifactRef | None = None,
    baseline: float | None = None,
) -> ValidationReport:
    """Check a variant, compare it with the golden set, and compute its metric, isolated.

    Args:
        spec: Tolerances, budget and metric.
        precision: Which variant it is.
        model: The variant.
        golden: The golden set.
        evaluation: Labelled data, where the spec has a metric.
        baseline: The fp32 variant's metric; None for the fp32 variant itself.
    """
    with Workspace() as work:
        return work.run(
            "slipway.validation.validate:validate",
            validate_request(
                work,
                spec,
                precision,
                work.fetch_model(model, "model"),
                golden,
                evaluation=evaluation,
                baseline=baseline,
            ),
            returns=ValidationReport,
            what=f"the validation of {precision}",
        )


def validate_request(
    work: Workspace,
    spec: ReleaseSpec,
    precision: Precision,
    model: Path,
    golden: ArtifactRef,
    *,
    evaluation: ArtifactRef | None,
    baseline: float | None,
) -> ValidateRequest:
    """What a spec asks of a variant that lies in a workspace; the data is fetched beside it."""
    return ValidateRequest(
        precision=precision,
        model=model,
        golden=work.fetch(golden, "golden.npz"),
        parity=spec.parity,
        budget=spec.budget,
        metric=spec.metric,
        metric_output=spec.metric_output,
        evaluation=work.fetch_if(evaluation, "evaluation"),
        labels=spec.data.labels,
        baseline=baseline,
    )
