"""The shape that scripts depend on."""

import json
import math

from slipway.artifacts import ArtifactRef
from slipway.reporting.json_view import release_json
from slipway.reports import (
    BundleReport,
    CacheReport,
    Evidence,
    RegisteredVersion,
    ReleaseReport,
)

DIGEST = "sha256:" + "0" * 64


def released(evidence: Evidence) -> ReleaseReport:
    return ReleaseReport(
        name=evidence.name,
        passed=evidence.passed,
        evidence=evidence,
        bundle=BundleReport(
            path="bundles/digits-cnn",
            digest=DIGEST,
            ref=ArtifactRef(uri="store/x", digest=DIGEST, size_bytes=9),
            report="bundles/digits-cnn/evidence/report.html",
        ),
        registered=RegisteredVersion(
            name="digits-cnn", version=3, bundle_digest=DIGEST, alias="challenger", created=True
        ),
        report="bundles/digits-cnn/evidence/report.html",
        cache=CacheReport(hits=4, misses=2),
    )


def test_the_shape_is_the_documented_one(passed_cnn: Evidence) -> None:
    found = release_json(released(passed_cnn))
    assert list(found) == [
        *("passed", "bundle", "registered", "report", "cache", "variants", "nearest")
    ]
    assert found["bundle"] == {"path": "bundles/digits-cnn", "digest": DIGEST}
    assert found["registered"] == {"name": "digits-cnn", "version": 3, "alias": "challenger"}
    assert found["report"] == "bundles/digits-cnn/evidence/report.html"
    assert found["cache"] == {"hits": 4, "misses": 2}
    static = found["variants"][3]
    assert list(static) == [
        "precision",
        "status",
        "reason",
        "required",
        "size_bytes",
        "digest",
        "parity",
        "metric",
        "diagnosis",
        "divergence",
        "benchmarks",
    ]
    assert static["parity"] == {
        "passed": True,
        "max_abs_error": 0.187,
        "max_rel_error": 0.187 * 3.1,
        "output": "logits",
    }
    assert static["metric"] == {
        "name": "accuracy",
        "value": 0.9822,
        "baseline": 0.9833,
        "drop": 0.0011,
    }
    first = static["benchmarks"][0]
    assert first == {
        "provider": "cpu",
        "batch_size": 1,
        "p50_ms": 0.4117,
        "p95_ms": 0.463,
        "p99_ms": 0.561,
        "interval_ms": {"p50": [0.4086, 0.4160], "p95": [0.455, 0.474], "p99": [0.522, 0.688]},
        "throughput": 1000 / 0.4117,
        "verdict": "faster",
    }


def test_what_is_absent_is_null(minimal: Evidence) -> None:
    report = ReleaseReport(
        name="linear", passed=True, evidence=minimal, report="reports/linear.html"
    )
    found = json.loads(json.dumps(release_json(report), allow_nan=False))
    assert found["bundle"] is None
    assert found["registered"] is None
    assert found["report"] == "reports/linear.html"
    (variant,) = found["variants"]
    assert variant["metric"] is None
    assert variant["reason"] is None
    assert variant["benchmarks"] == []


def test_a_skipped_variant_has_its_reason_and_nothing_else(tabular: Evidence) -> None:
    skipped = release_json(released(tabular))["variants"][1]
    assert skipped["status"] == "skipped"
    assert skipped["reason"].startswith("the tree ensemble has no float16 form")
    assert (skipped["size_bytes"], skipped["digest"], skipped["parity"]) == (None, None, None)


def test_a_percentile_that_is_not_estimable_is_null(tabular: Evidence) -> None:
    row = release_json(released(tabular))["variants"][0]["benchmarks"][0]
    assert row["p99_ms"] is None
    assert row["interval_ms"]["p99"] is None
    assert row["interval_ms"]["p50"] == [0.0209, 0.0213]


def test_numbers_that_are_not_finite_are_null(passed_cnn: Evidence) -> None:
    variant = passed_cnn.variants[0]
    assert variant.validation is not None
    assert variant.validation.metric is not None
    metric = variant.validation.metric.model_copy(update={"value": math.nan, "drop": math.inf})
    row = variant.benchmarks[0].model_copy(update={"throughput": math.inf})
    broken = variant.model_copy(
        update={
            "validation": variant.validation.model_copy(update={"metric": metric}),
            "benchmarks": (row,),
        }
    )
    found = release_json(released(passed_cnn.model_copy(update={"variants": (broken,)})))
    assert json.dumps(found, allow_nan=False)
    assert found["variants"][0]["metric"]["value"] is None
    assert found["variants"][0]["benchmarks"][0]["throughput"] is None


def test_a_failing_variant_gives_the_output_that_failed(failed_cnn: Evidence) -> None:
    fp32 = release_json(released(failed_cnn))["variants"][0]
    assert fp32["parity"]["passed"] is False
    assert fp32["parity"]["output"] == "logits"
    assert "differs from the source model" in fp32["reason"]
