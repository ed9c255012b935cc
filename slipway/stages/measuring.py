"""Latencies: what is measured where, by whom, and what a measurement may be taken for again."""

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from slipway.artifacts import ArtifactRef, canonical_json
from slipway.benchmarking.conditions import CPUINFO, cpu_model
from slipway.benchmarking.placement import allotted
from slipway.errors import IntegrityError
from slipway.protocols import BenchmarkJob, BenchmarkRequest, MeasuredModel
from slipway.providers import PROVIDERS, allotted_cores
from slipway.providers.runtime import device_fingerprint
from slipway.reports import BenchmarkSuite
from slipway.settings import Settings
from slipway.specs import Precision, ReleaseSpec
from slipway.stages.workspace import Workspace
from slipway.stores import open_store

SUITE_MEDIA_TYPE: Final = "application/vnd.slipway.benchmark+json"
THREAD_VARIABLES: Final = frozenset({"OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"})
"""What the environment passes on to a child that decides where and how widely it runs."""
WAITING: Final = frozenset({"fresh", "pools", "pool_start_seconds", "pool_run_seconds"})
"""What a spec says of where and how patiently to wait, which decides no latency."""
CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def benchmark_jobs(
    spec: ReleaseSpec, models: Mapping[Precision, ArtifactRef], golden: ArtifactRef
) -> tuple[BenchmarkJob, ...]:
    """One for each provider that the spec measures on; none where there is no model to measure."""
    return tuple(
        BenchmarkJob(
            name=spec.name,
            provider=provider,
            models=tuple(
                MeasuredModel(label=precision, model=model) for precision, model in models.items()
            ),
            golden=golden,
            options=spec.benchmark,
        )
        for provider in spec.benchmark.providers
        if models
    )


def paired_jobs(
    spec: ReleaseSpec,
    precision: Precision,
    models: Mapping[str, ArtifactRef],
    golden: ArtifactRef,
) -> tuple[BenchmarkJob, ...]:
    """Sets of bytes of one variant side by side on each of its providers, one query at a time.

    Args:
        spec: What the variant is measured on, and how.
        precision: The variant.
        models: The bytes by label, the baseline first.
        golden: Where the inputs are taken from.
    """
    plain = {"scenarios": ("single-stream",), "sweep": None, "arrival_rate": None, "fresh": False}
    return tuple(
        BenchmarkJob(
            name=f"{spec.name} {precision}",
            provider=provider,
            models=tuple(MeasuredModel(label=label, model=ref) for label, ref in models.items()),
            golden=golden,
            options=spec.benchmark.model_copy(update=plain),
        )
        for provider in spec.benchmark.providers
    )


def benchmark_models(job: BenchmarkJob) -> BenchmarkSuite:
    """Measure variants on one provider, interleaved, in processes of their own."""
    with Workspace() as work:
        return work.run(
            "slipway.benchmarking.harness:measure",
            BenchmarkRequest(
                models={one.label: work.fetch_model(one.model, one.label) for one in job.models},
                golden=work.fetch(job.golden, "golden.npz"),
                provider=job.provider,
                options=job.options,
            ),
            returns=BenchmarkSuite,
            what=f"the benchmark on {job.provider}",
        )


def benchmark_reads(job: BenchmarkJob) -> dict[str, object] | None:
    """All that decides a latency: what is measured and how, this machine and its runtimes.

    None where the job wants fresh numbers. How long others wait for them decides nothing.
    """
    if job.options.fresh:
        return None
    return {
        "provider": job.provider,
        "options": job.options.model_dump(mode="json", exclude=set(WAITING)),
        "models": [[one.label, one.model.digest] for one in job.models],
        "golden": job.golden,
        "host": benchmark_fingerprint(),
    }


def device_name(job: BenchmarkJob) -> str:
    """The host and the part of it that a job keeps busy.

    Containers have made-up host names: SLIPWAY_HOST gives those on one machine the same one.
    """
    unit = PROVIDERS[job.provider].unit(job.options.provider_options.get(job.provider, {}))
    host = Settings().host or platform.node()
    return re.sub(r"[/%&<>]", "-", f"slipway {host} {unit}")


def keep_suite(suite: BenchmarkSuite) -> ArtifactRef:
    """A suite in the store, for whoever asked for it on another machine."""
    store = open_store(Settings().store_uri)
    return store.put_bytes(
        canonical_json(suite.model_dump(mode="json")), media_type=SUITE_MEDIA_TYPE
    )


def fetch_suite(ref: ArtifactRef) -> BenchmarkSuite:
    """A suite that a worker kept.

    Raises:
        SourceNotFound: when this machine's store does not have it.
        IntegrityError: when the bytes are not those, or no suite.
    """
    data = open_store(Settings().store_uri).read_bytes(ref.digest)
    try:
        return BenchmarkSuite.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(f"{ref.uri} is no report of a benchmark: {error}") from error


def benchmark_fingerprint() -> dict[str, object]:
    """What a latency cannot be taken elsewhere from: a cached one is reused here alone.

    The host, its cores and kernel, the versions of every runtime and device driver, and the
    threads and the share of the processor that the environment allows.
    """
    threads = {name: os.environ[name] for name in sorted(THREAD_VARIABLES) if name in os.environ}
    return {
        **host_fingerprint(),
        "affinity": list(allotted()),
        "devices": device_fingerprint(),
        "threads": threads,
        "quota": _quota(),
    }


def host_fingerprint() -> dict[str, str | int]:
    """The machine that something ran on."""
    return {
        "host": platform.node(),
        "cpu": cpu_model(CPUINFO),
        "cores": allotted_cores(),
        "kernel": platform.release(),
    }


def _quota() -> str:
    """A container's share of the processor, in the kernel's words; empty where there is none."""
    try:
        return CPU_QUOTA.read_text(encoding="ascii").strip()
    except OSError:
        return ""
