"""What was made is held to what was asked: check, parity, metric, latency."""

import platform
from collections.abc import Mapping

from slipway.artifacts import ArtifactRef
from slipway.benchmarking.conditions import CPUINFO, cpu_model
from slipway.protocols import BenchmarkRequest, BenchmarkResult, ValidateRequest
from slipway.providers import allotted_cores
from slipway.reports import BenchmarkSuite, ValidationReport
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
            ValidateRequest(
                precision=precision,
                model=work.fetch_model(model, "model"),
                golden=work.fetch(golden, "golden.npz"),
                parity=spec.parity,
                budget=spec.budget,
                metric=spec.metric,
                metric_output=spec.metric_output,
                evaluation=work.fetch_if(evaluation if spec.metric else None, "evaluation"),
                labels=spec.data.labels,
                baseline=baseline,
            ),
            returns=ValidationReport,
            what=f"the validation of {precision}",
        )


def benchmark_models(
    spec: ReleaseSpec,
    provider: str,
    models: Mapping[Precision, ArtifactRef],
    golden: ArtifactRef,
) -> BenchmarkSuite:
    """Measure variants on one provider, interleaved, in a child process."""
    with Workspace() as work:
        result = work.run(
            "slipway.benchmarking.harness:measure",
            BenchmarkRequest(
                models={
                    precision: work.fetch_model(ref, precision) for precision, ref in models.items()
                },
                golden=work.fetch(golden, "golden.npz"),
                provider=provider,
                options=spec.benchmark,
            ),
            returns=BenchmarkResult,
            what=f"the benchmark on {provider}",
            fresh=True,
        )
    return BenchmarkSuite(provider=provider, conditions=result.conditions, rows=result.rows)


def host_fingerprint() -> dict[str, str | int]:
    """What a latency cannot be taken elsewhere from: a cached one is reused on this host alone."""
    return {
        "host": platform.node(),
        "cpu": cpu_model(CPUINFO),
        "cores": allotted_cores(),
        "kernel": platform.release(),
    }
