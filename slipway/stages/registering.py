"""What a registry is told of a release: the bundle, its numbers, and where they come from."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from slipway.errors import RequestError
from slipway.packaging.layout import (
    EVIDENCE_NAME,
    PROVENANCE_NAME,
    SBOM_NAME,
    SPEC_NAME,
    benchmark_path,
)
from slipway.packaging.manifest import bundle_tree
from slipway.packaging.provenance import read_data_digests
from slipway.promotion.log import logged_aliases
from slipway.protocols import Measurement, Registration, VariantRecord
from slipway.registries import open_registry
from slipway.reporting.figures import figure_files
from slipway.reporting.markdown import summary_markdown
from slipway.reports import (
    BenchmarkReport,
    BenchmarkSuite,
    BundleReport,
    Evidence,
    RegisteredVersion,
    VariantReport,
)
from slipway.settings import Settings
from slipway.specs import REGISTRY_SCHEMES, ReleaseSpec, file_name, scheme_of
from slipway.stores import open_store

# Shown beside the version, besides the HTML report.
_SHOWN: Final = (EVIDENCE_NAME, SPEC_NAME, PROVENANCE_NAME, SBOM_NAME)

_SERVERS: Final = frozenset({"http", "https"})


def register_release(
    spec: ReleaseSpec,
    bundle: BundleReport,
    evidence: Evidence,
    *,
    links: Mapping[str, str] | None = None,
) -> RegisteredVersion | None:
    """Make one version of the bundle, or find it; None where the spec registers nothing.

    Args:
        spec: What was asked.
        bundle: The bundle, unpacked on this machine.
        evidence: What was found.
        links: Addresses by their text, such as that of the run which asks; named in the
            description of a version that is made here.

    Raises:
        RequestError: for an alias that promotions move.
    """
    if spec.register_as is None:
        return None
    settings = Settings()
    name, alias = spec.register_as.name, spec.register_as.alias
    if (name, alias) in logged_aliases(open_store(settings.store_uri), name):
        raise RequestError(
            f"{name}@{alias} is moved by promotions alone, which its log records; register under "
            "another alias, such as challenger, and `slipway promote` the version"
        )
    registration = describe_release(spec, bundle, evidence, links=links or {})
    return register_bundle(registration, settings=settings)


def register_bundle(registration: Registration, *, settings: Settings) -> RegisteredVersion:
    """Make the version, of files that a server's readers find in the store where that is S3.

    Elsewhere the server is sent a copy of the bundle; MLflow's own SQLite reads it where it lies.
    """
    if scheme_of(settings.store_uri) == "s3" and scheme_of(settings.registry_uri) in _SERVERS:
        from slipway.stores.s3 import S3Store

        store = S3Store(settings.store_uri, settings=settings)
        files_uri = store.lay_out(bundle_tree(registration.bundle), registration.bundle_digest)
        registration = registration.model_copy(update={"files_uri": files_uri})
    return open_registry(settings.registry_uri).register(registration)


def describe_release(
    spec: ReleaseSpec, bundle: BundleReport, evidence: Evidence, *, links: Mapping[str, str]
) -> Registration:
    """The registration of a release whose spec names what to register it as."""
    if spec.register_as is None:
        raise ValueError(f"{spec.name} is not to be registered")
    folder = Path(bundle.path)
    measured = (benchmark_path(suite.provider) for suite in evidence.suites)
    shown = (folder / name for name in (*_SHOWN, *measured))
    return Registration(
        name=spec.register_as.name,
        bundle=folder,
        bundle_digest=bundle.digest,
        bundle_uri=bundle.ref.uri,
        alias=spec.register_as.alias,
        description=summary_markdown(evidence, links=links),
        tags=_tags(evidence),
        params=_params(spec, evidence),
        metrics=tuple(_metrics(evidence)),
        variants=tuple(_variant(variant, evidence) for variant in _shipped(evidence)),
        datasets=read_data_digests(folder),
        source_uri=spec.source.uri if scheme_of(spec.source.uri) in REGISTRY_SCHEMES else None,
        evidence=(Path(bundle.report), *(path for path in shown if path.is_file())),
        plots=figure_files(evidence),
    )


def _tags(evidence: Evidence) -> dict[str, str]:
    """Few: a row of MLflow's table holds about six."""
    chosen = {f"selected.{provider}": name for provider, name in evidence.selected.items()}
    return {"framework": evidence.framework, **chosen}


def _params(spec: ReleaseSpec, evidence: Evidence) -> dict[str, str]:
    """What was asked and decides; the whole spec is among the run's files."""
    asked = {
        "source": file_name(spec.source.uri),
        "framework": evidence.framework,
        "route": evidence.export.route,
        "opset": str(evidence.export.opset),
        "precisions": ", ".join(spec.precisions.asked()),
        "providers": ", ".join(spec.benchmark.providers),
        "batch_sizes": ", ".join(map(str, spec.benchmark.batch_sizes)),
        "metric": spec.metric,
        "budget": json.dumps(spec.budget.model_dump(mode="json", exclude_none=True)),
        "slo_p99_ms": spec.benchmark.slo_p99_ms,
    }
    return {name: str(value) for name, value in asked.items() if value is not None}


def _shipped(evidence: Evidence) -> Iterator[VariantReport]:
    """The variants that the bundle holds."""
    return (variant for variant in evidence.variants if variant.model is not None)


def _metrics(evidence: Evidence) -> Iterator[Measurement]:
    """All variants' numbers under one run's names, and the machine that they were taken on.

    `system/` is where MLflow's page looks for what it calls system metrics.
    """
    for variant in evidence.variants:
        for found in _numbers(variant):
            yield found.model_copy(update={"name": f"{variant.precision}/{found.name}"})
    for suite in evidence.suites:
        at = suite.conditions
        yield from _scenarios(suite)
        if at is None or not suite.rows:  # nobody came to measuring
            continue
        machine = {
            "cores": at.cores,
            "intra_op_threads": at.intra_op_threads,
            "load_average": at.load_average,
            "steal_percent": at.steal_percent,
            "others_percent": at.others_percent,
            "frequency_mhz": at.frequency_mhz,
        }
        for name, value in machine.items():
            if value is not None:
                yield Measurement(name=f"system/{suite.provider}/{name}", value=value)


def _scenarios(suite: BenchmarkSuite) -> Iterator[Measurement]:
    """What was measured beside single-stream latency, which the variants have themselves."""
    for row in suite.scenarios:
        place = f"{row.precision}/{suite.provider}/{row.scenario}"
        yield from _some(f"{place}/throughput", row.throughput, row.batch_size)
        for name, estimate in (("p50", row.p50), ("p95", row.p95), ("p99", row.p99)):
            yield from _some(f"{place}/{name}_ms", estimate.value_ms, row.batch_size)


def _numbers(variant: VariantReport) -> Iterator[Measurement]:
    """One variant's numbers; those of a benchmark by batch size, as the step."""
    validation = variant.validation
    if validation is not None and validation.metric is not None:
        yield from _some(validation.metric.name, validation.metric.value)
    if validation is not None and validation.parity is not None:
        errors = [o.max_abs_error for o in validation.parity.outputs if o.max_abs_error is not None]
        yield from _some("max_abs_error", max(errors, default=None))
    if variant.model is not None:
        yield Measurement(name="size_bytes", value=variant.model.size_bytes)
    for row in variant.benchmarks:
        yield from _measured(row)


def _measured(row: BenchmarkReport) -> Iterator[Measurement]:
    for name, estimate in (("p50", row.p50), ("p95", row.p95), ("p99", row.p99)):
        yield from _some(f"{row.provider}/{name}_ms", estimate.value_ms, row.batch_size)
    yield from _some(f"{row.provider}/throughput", row.throughput, row.batch_size)
    yield from _some(f"{row.provider}/latency_ratio", row.ratio, row.batch_size)


def _some(name: str, value: float | None, step: int = 0) -> Iterator[Measurement]:
    if value is not None:
        # MLflow's names have no other signs than these.
        plain = "".join(c if c.isalnum() or c in "_-./ " else "-" for c in name)
        yield Measurement(name=plain, value=value, step=step)


def _variant(variant: VariantReport, evidence: Evidence) -> VariantRecord:
    """What decided a variant, and its numbers."""
    model = variant.model
    settings = {key: str(value) for key, value in sorted(variant.conversion.settings.items())}
    selected = [p for p, chosen in evidence.selected.items() if chosen == variant.precision]
    facts = {
        "status": variant.status,
        "selected_for": ", ".join(selected) or "none",
        "tree_sha256": model.digest.removeprefix("sha256:") if model else "",
    }
    return VariantRecord(
        name=variant.precision, params={**settings, **facts}, metrics=tuple(_numbers(variant))
    )
