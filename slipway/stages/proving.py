"""What was made is held to what was asked: check, parity, metric, latency."""

import os
import platform
from collections.abc import Mapping
from typing import Final

from slipway.artifacts import ArtifactRef
from slipway.benchmarking.conditions import CPUINFO, cpu_model
from slipway.benchmarking.placement import allotted
from slipway.protocols import BenchmarkRequest, ValidateRequest
from slipway.providers import allotted_cores
from slipway.providers.runtime import device_fingerprint
from slipway.reports import BenchmarkSuite, ValidationReport
from slipway.specs import Precision, ReleaseSpec
from slipway.stages.workspace import Workspace

THREAD_VARIABLES: Final = frozenset({"OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"})
"""What the environment passes on to a child that decides where and how widely it runs."""


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
    """Measure variants on one provider, interleaved, in processes of their own."""
    with Workspace() as work:
        return work.run(
            "slipway.benchmarking.harness:measure",
            BenchmarkRequest(
                models={
                    precision: work.fetch_model(ref, precision) for precision, ref in models.items()
                },
                golden=work.fetch(golden, "golden.npz"),
                provider=provider,
                options=spec.benchmark,
            ),
            returns=BenchmarkSuite,
            what=f"the benchmark on {provider}",
        )


def benchmark_fingerprint() -> dict[str, object]:
    """What a latency cannot be taken elsewhere from: a cached one is reused here alone.

    The host, its cores and kernel, the versions of every runtime and device driver, and the
    threads that the environment allows.
    """
    threads = {name: os.environ[name] for name in sorted(THREAD_VARIABLES) if name in os.environ}
    return {
        **host_fingerprint(),
        "affinity": list(allotted()),
        "devices": device_fingerprint(),
        "threads": threads,
    }


def host_fingerprint() -> dict[str, str | int]:
    """The machine that something ran on."""
    return {
        "host": platform.node(),
        "cpu": cpu_model(CPUINFO),
        "cores": allotted_cores(),
        "kernel": platform.release(),
    }
