"""What of a model made again is a regression, and what is only noted."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.artifacts import ArtifactRef, digest_bytes
from slipway.errors import UnsupportedOperator
from slipway.reports import (
    Advisory,
    BenchmarkSuite,
    CheckReport,
    Evidence,
    Finding,
    MetricReport,
    RegisteredVersion,
    RegressionReport,
    ValidationReport,
    VariantReport,
)
from slipway.specs import Metric, Precision, RegressionSpec
from slipway.stages.champions import Champion, Subject
from slipway.stages.drifts import changed_tools, compare, export_failed, with_advisories
from slipway.stages.followed import Today
from slipway.stages.making import Materials
from tests.unit.benchmarking.test_frontier import row, variant
from tests.unit.test_verdicts import CONDITIONS, EXPORT, REF, SPEC

VERSION = RegisteredVersion(name="net", version=3, bundle_digest=REF.digest)
SUBJECT = Subject(name="net", version=VERSION)
TOOLS = {"onnxruntime": "1.31.0", "torch": "2.13.0"}
REQUEST = RegressionSpec()


def made(
    precision: Precision = "fp32", *, content: str = "same", size: int = 1000
) -> VariantReport:
    model = ArtifactRef(uri="x", digest=digest_bytes(content.encode()), size_bytes=size)
    return variant(precision).model_copy(update={"model": model, "status": "passed"})


def evidence(*variants: VariantReport) -> Evidence:
    return Evidence(name="net", framework="onnx", export=EXPORT, variants=variants, passed=True)


def champion(*variants: VariantReport, tools: Mapping[str, str] = TOOLS) -> Champion:
    return Champion(
        version=VERSION,
        spec=SPEC,
        materials=Materials(source=REF),
        evidence=evidence(*variants),
        tools=dict(tools),
    )


def today(*variants: VariantReport, tools: Mapping[str, str] = TOOLS, **found: object) -> Today:
    return Today(spec=SPEC, evidence=evidence(*variants), tools=tools, **found)  # type: ignore[arg-type]


def found(before: Champion, after: Today) -> RegressionReport:
    return compare(SUBJECT, before, after, REQUEST)


def kinds(report: RegressionReport) -> list[tuple[str, bool]]:
    return [(drift.kind, drift.regressed) for drift in report.drifts]


def judged(
    *, passed: bool = True, metric: float | None = None, error: str = ""
) -> ValidationReport:
    findings = (Finding(level="error", code="x", message=error),) if error else ()
    return ValidationReport(
        precision="fp32",
        passed=passed,
        reason=None if passed else "off by 3",
        check=CheckReport(passed=not error, findings=findings),
        metric=None if metric is None else measured(metric),
    )


def measured(value: float, *, name: Metric = "accuracy", budget: float = 0.01) -> MetricReport:
    return MetricReport(
        passed=True, name=name, value=value, baseline=None, drop=None, budget=budget, samples=100
    )


def with_metric(report: VariantReport, value: float) -> VariantReport:
    return report.model_copy(update={"validation": judged(metric=value)})


def test_equal_bytes_drift_in_nothing_and_are_equally_fast() -> None:
    report = found(champion(made()), today(made()))
    assert (report.passed, report.drifts, report.cause) == (True, (), None)
    assert report.measures["fp32/latency_ratio"] == 1.0
    assert report.measures["regressions"] == 0.0


def test_other_bytes_are_noted() -> None:
    report = found(champion(made()), today(made(content="other")))
    assert kinds(report) == [("digest", False)]
    assert report.passed


@pytest.mark.parametrize(("size", "regressed"), [(1050, False), (1051, True), (500, False)])
def test_growth_beyond_the_limit_is_a_regression(size: int, *, regressed: bool) -> None:
    report = found(champion(made()), today(made(content="other", size=size)))
    assert kinds(report) == [("digest", False), ("size", regressed)]
    assert report.passed is not regressed


def test_a_variant_that_fails_today_is_a_regression_and_names_the_changed_tool() -> None:
    failed = made().model_copy(update={"status": "failed", "model": None, "reason": "no kernel"})
    report = found(champion(made(), tools={**TOOLS, "torch": "2.12.0", "old": "1"}), today(failed))
    assert kinds(report) == [("variant", True)]
    assert "no kernel" in report.drifts[0].sentence
    assert report.cause == "old 1 became none, torch 2.12.0 became 2.13.0"


def test_a_variant_that_is_new_is_noted() -> None:
    report = found(champion(made()), today(made(), made("fp16", content="half")))
    assert kinds(report) == [("variant", False)]


def test_promoted_bytes_that_todays_runtime_answers_otherwise_are_a_regression() -> None:
    report = found(champion(made()), today(made(), replayed={"fp32": judged(passed=False)}))
    assert kinds(report) == [("replay", True)]
    assert report.cause is not None
    assert "no tool's version changed" in report.cause


def test_promoted_bytes_that_todays_runtime_refuses_name_the_operator() -> None:
    refused = judged(passed=False, error="no kernel for Foo")
    report = found(champion(made()), today(made(), replayed={"fp32": refused}))
    assert kinds(report) == [("operators", True)]
    assert "no kernel for Foo" in report.drifts[0].sentence


@given(
    before=st.floats(0.5, 1),
    after=st.floats(0.5, 1),
    budget=st.floats(0, 0.2),
    name=st.sampled_from(["accuracy", "rmse"]),
)
def test_a_metric_regresses_exactly_when_it_is_worse_by_more_than_the_budget(
    before: float, after: float, budget: float, name: Metric
) -> None:
    old = made().model_copy(
        update={"validation": judged().model_copy(update={"metric": measured(before, name=name)})}
    )
    new = judged().model_copy(update={"metric": measured(after, name=name, budget=budget)})
    report = found(champion(old), today(made(), repeated={"fp32": new}))
    worse = before - after if name == "accuracy" else after - before
    assert report.passed is not (worse > budget)
    assert len(report.drifts) == (before != after)


@pytest.mark.parametrize(
    ("ratio", "verdict", "expected"),
    [
        (1.3, "slower", [("digest", False), ("latency", True)]),
        (0.7, "faster", [("digest", False), ("latency", False)]),
        (1.0, "no difference", [("digest", False)]),
    ],
)
def test_latency_regresses_when_the_fresh_bytes_are_slower_for_sure(
    ratio: float, verdict: str, expected: list[tuple[str, bool]]
) -> None:
    fresh = row("fp32", ratio).model_copy(update={"precision": "fresh", "verdict": verdict})
    suite = BenchmarkSuite(provider="cpu", conditions=CONDITIONS, rows=(fresh,))
    report = found(champion(made()), today(made(content="other"), paired={"fp32": (suite,)}))
    assert kinds(report) == expected
    assert report.measures[f"fp32/{fresh.provider}/batch_{fresh.batch_size}/latency_ratio"] == ratio


def test_a_model_that_cannot_be_exported_today_is_a_regression() -> None:
    error = UnsupportedOperator("aten::foo has no ONNX operator")
    report = export_failed(SUBJECT, champion(made()), {"torch": "2.14.0"}, error)
    assert kinds(report) == [("export", True)]
    assert "torch 2.13.0 became 2.14.0" in str(report.cause)


@pytest.mark.parametrize("fail", [True, False])
def test_an_advisory_fails_a_model_only_where_that_is_asked_for(*, fail: bool) -> None:
    report = found(champion(made()), today(made()))
    known = [
        Advisory(tool="torch", version="2.13.0", kind="vulnerable", sentence="CVE-1"),
        Advisory(tool="torch", version="2.12.0", kind="vulnerable", sentence="of another version"),
        Advisory(tool="onnxruntime", version="1.31.0", kind="unknown", sentence="not asked"),
    ]
    told = with_advisories(report, known, fail=fail)
    assert [drift.sentence for drift in told.drifts] == ["CVE-1", "not asked"]
    assert told.passed is not fail
    assert told.measures["regressions"] == float(fail)


@given(st.dictionaries(st.sampled_from("abc"), st.sampled_from("123")))
def test_tools_have_changed_where_their_versions_differ_and_nowhere_else(
    after: dict[str, str],
) -> None:
    before = {"a": "1", "b": "2"}
    changes = {it.tool: (it.before, it.after) for it in changed_tools(before, after)}
    for tool in "abc":
        pair = (before.get(tool, "none"), after.get(tool, "none"))
        assert changes.get(tool, ("", "")) == (pair if pair[0] != pair[1] else ("", ""))
