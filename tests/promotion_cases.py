"""Releases to promote: small evidence with numbers of the test's choice, sealed in real bundles."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from slipway.artifacts import BUNDLE_MEDIA_TYPE, ArtifactRef, canonical_json, digest_bytes
from slipway.packaging.bundle import build_bundle
from slipway.packaging.manifest import bundle_tree, read_manifest
from slipway.promotion.cases import Case
from slipway.protocols import Registration, Registry, Store
from slipway.reports import (
    BenchmarkConditions,
    BenchmarkReport,
    BenchmarkSuite,
    CheckReport,
    ConversionReport,
    Estimate,
    Evidence,
    ExportReport,
    MetricReport,
    Provenance,
    RegisteredVersion,
    ValidationReport,
    VariantReport,
)
from slipway.specs import Metric, PolicySpec, Precision
from slipway.stores.trees import put_tree
from tests.sample_bundles import make_content

MODEL = ArtifactRef(uri="x", digest=digest_bytes(b"model"), size_bytes=100)
UNKNOWN = Estimate(value_ms=None, low_ms=None, high_ms=None)
EVALUATION = digest_bytes(b"evaluation data")


def about(value_ms: float, *, spread: float = 0.05) -> Estimate:
    """An estimate with an interval of so much to each side."""
    return Estimate(
        value_ms=value_ms, low_ms=value_ms * (1 - spread), high_ms=value_ms * (1 + spread)
    )


def evidence(
    *,
    metric: float | None = 0.99,
    metric_name: Metric = "accuracy",
    p50: Estimate | None = None,
    p99: Estimate | None = None,
    valid: bool = True,
    cpu: str = "EPYC",
    name: str = "table",
) -> Evidence:
    """One fp32 variant and one int8-static that serves the CPU."""
    labels: tuple[Precision, ...] = ("fp32", "int8-static")
    rows = tuple(
        BenchmarkReport(
            precision=label,
            provider="cpu",
            batch_size=1,
            queries=700,
            p50=p50 or about(1.0),
            p95=about((p50 or about(1.0)).value_ms or 1.0),
            p99=p99 or about(2.0),
            throughput=1000.0,
            verdict="baseline" if label == "fp32" else "faster",
        )
        for label in labels
    )
    return Evidence(
        name=name,
        framework="onnx",
        export=ExportReport(
            model=MODEL,
            golden=MODEL,
            framework="onnx",
            route="none",
            opset=18,
            inputs=(),
            outputs=(),
            golden_batch_sizes=(1,),
            tools={},
        ),
        variants=tuple(_variant(label, metric, metric_name, valid=valid) for label in labels),
        suites=(
            BenchmarkSuite(
                provider="cpu",
                conditions=BenchmarkConditions(
                    host="h",
                    cpu=cpu,
                    cores=2,
                    intra_op_threads=2,
                    onnxruntime="1.31",
                    confidence=0.95,
                    load_average=0.0,
                    steal_percent=None,
                ),
                rows=rows,
            ),
        ),
        selected={"cpu": "int8-static"},
        passed=True,
    )


def _variant(
    label: Precision, metric: float | None, metric_name: Metric, *, valid: bool
) -> VariantReport:
    passed = valid or label == "fp32"
    found = MetricReport(
        passed=True,
        name=metric_name,
        value=metric,
        baseline=metric,
        drop=0.0,
        budget=0.01,
        samples=100,
    )
    return VariantReport(
        precision=label,
        status="passed",
        required=label == "fp32",
        model=MODEL,
        conversion=ConversionReport(precision=label, status="passed", model=MODEL),
        validation=ValidationReport(
            precision=label,
            passed=passed,
            check=CheckReport(passed=True),
            metric=found if metric is not None else None,
        ),
    )


def provenance(evaluation: str = EVALUATION) -> Provenance:
    """Where a case comes from; what decides is the evaluation data."""
    return Provenance(
        source_digest=digest_bytes(b"source"),
        data_digests={"evaluation": evaluation},
        spec_digest=digest_bytes(b"spec"),
        tools={},
        python="3.11",
        platform="linux",
    )


def case(
    found: Evidence | None = None,
    *,
    version: int = 2,
    registered_s: float = 0.0,
    evaluation: str = EVALUATION,
    policy: PolicySpec | None = None,
) -> Case:
    """A version with that evidence."""
    return Case(
        version=RegisteredVersion(
            name="table", version=version, bundle_digest=digest_bytes(b"%d" % version)
        ),
        registered_s=registered_s,
        files=3,
        evidence=found or evidence(),
        data_digests={"evaluation": evaluation},
        policy=policy,
    )


def release(
    store: Store,
    registry: Registry,
    folder: Path,
    found: Evidence | None = None,
    *,
    policy: dict[str, Any] | None = None,
    name: str = "table",
    extra: dict[str, bytes] | None = None,
) -> RegisteredVersion:
    """Seal a bundle with that evidence, put it into the store and register it."""
    evidence_files = {
        "evidence/report.html": b"<p>fine</p>",
        "evidence/evidence.json": canonical_json((found or evidence()).model_dump(mode="json")),
        "evidence/spec.json": canonical_json(
            {
                "name": name,
                "source": {"framework": "onnx", "uri": "table.onnx"},
                "promotion": policy,
            }
        ),
        **(extra or {}),
    }
    bundle = _sealed(name, tuple(evidence_files.items()), folder)
    ref = put_tree(store, bundle, media_type=BUNDLE_MEDIA_TYPE, tree=bundle_tree(bundle))
    return registry.register(
        Registration(
            name=name,
            bundle=bundle,
            bundle_digest=read_manifest(bundle).digest,
            bundle_uri=ref.uri,
            description="A table model.",
        )
    )


_SEALED: dict[tuple[str, tuple[tuple[str, bytes], ...]], Path] = {}


def _sealed(name: str, files: tuple[tuple[str, bytes], ...], folder: Path) -> Path:
    """A bundle that is only read, made once a process: that takes most of a second."""
    if not (found := _SEALED.get((name, files), folder / "none")).exists():
        content = make_content(folder / "content", name=name)
        found = _SEALED[name, files] = folder / "bundle"
        build_bundle(found, content=replace(content, provenance=provenance(), evidence=dict(files)))
    return found
