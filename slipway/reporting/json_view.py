"""What `slipway release --json` prints: a stable shape that scripts depend on.

Plain dictionaries, strictly JSON: what is absent or not finite is None.
"""

import math
from typing import Any

from slipway.artifacts import Value
from slipway.reporting import cells, summary
from slipway.reports import (
    BenchmarkReport,
    BundleReport,
    Estimate,
    FrontierPoint,
    MetricReport,
    ParityReport,
    RegisteredVersion,
    ReleaseReport,
    VariantReport,
)

JsonObject = dict[str, Any]


def release_json(report: ReleaseReport) -> JsonObject:
    """The release as one JSON object; every key is always there."""
    return {
        "passed": report.passed,
        "bundle": _bundle(report.bundle),
        "registered": _registered(report.registered),
        "report": report.report,
        "cache": {"hits": report.cache.hits, "misses": report.cache.misses},
        "variants": [_variant(variant) for variant in report.evidence.variants],
        "nearest": [_point(point) for point in report.evidence.nearest],
    }


def _point(point: FrontierPoint) -> JsonObject:
    return {
        "label": point.label,
        "precision": point.precision,
        "metric": _finite(point.metric),
        "loss": _finite(point.loss),
        "size_bytes": point.size_bytes,
        "latency_ratio": _finite(point.latency_ratio),
        "reason": point.reason,
    }


def _bundle(bundle: BundleReport | None) -> JsonObject | None:
    return {"path": bundle.path, "digest": bundle.digest} if bundle else None


def _registered(version: RegisteredVersion | None) -> JsonObject | None:
    if version is None:
        return None
    return {"name": version.name, "version": version.version, "alias": version.alias}


def _variant(variant: VariantReport) -> JsonObject:
    return {
        "precision": variant.precision,
        "status": variant.status,
        "reason": summary.reason_of(variant) if variant.status != "passed" else None,
        "required": variant.required,
        "size_bytes": variant.model.size_bytes if variant.model else None,
        "digest": variant.model.digest if variant.model else None,
        "parity": _parity(cells.parity_of(variant)),
        "metric": _metric(cells.metric_of(variant)),
        "diagnosis": _plain(variant.validation and variant.validation.diagnosis),
        "divergence": _plain(variant.validation and variant.validation.divergence),
        "benchmarks": [_benchmark(row) for row in variant.benchmarks],
    }


def _parity(parity: ParityReport | None) -> JsonObject | None:
    if parity is None:
        return None
    worst = cells.worst_output(parity) if parity.outputs else None
    return {
        "passed": parity.passed,
        "max_abs_error": _finite(worst.max_abs_error) if worst else None,
        "max_rel_error": _finite(worst.max_rel_error) if worst else None,
        "output": worst.output if worst else None,
    }


def _plain(found: Value | None) -> JsonObject | None:
    return found.model_dump(mode="json") if found else None


def _metric(metric: MetricReport | None) -> JsonObject | None:
    if metric is None:
        return None
    return {
        "name": metric.name,
        "value": _finite(metric.value),
        "baseline": _finite(metric.baseline),
        "drop": _finite(metric.drop),
    }


def _benchmark(row: BenchmarkReport) -> JsonObject:
    return {
        "provider": row.provider,
        "batch_size": row.batch_size,
        **{
            f"{name}_ms": _finite(cells.percentile(row, name).value_ms)
            for name in cells.PERCENTILES
        },
        "interval_ms": {name: _interval(cells.percentile(row, name)) for name in cells.PERCENTILES},
        "throughput": _finite(row.throughput),
        "verdict": row.verdict,
    }


def _interval(estimate: Estimate) -> list[float] | None:
    low, high = _finite(estimate.low_ms), _finite(estimate.high_ms)
    return None if low is None or high is None else [low, high]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
