"""What differs between a promoted release and the same made today, and what of it is a regression.

The rules are here and nowhere else; no model is touched.
"""

from collections.abc import Iterator, Mapping, Sequence

from slipway.reporting import formatting as fmt
from slipway.reports import (
    Advisory,
    BenchmarkSuite,
    CacheReport,
    Drift,
    Evidence,
    MetricReport,
    NightlyReport,
    RegressionReport,
    ToolChange,
    ValidationReport,
    VariantReport,
)
from slipway.specs import LOWER_IS_BETTER, Precision, RegressionSpec
from slipway.stages.champions import Champion, Subject
from slipway.stages.followed import Today, fresh_rows, measures


def compare(
    subject: Subject, champion: Champion | None, today: Today, request: RegressionSpec
) -> RegressionReport:
    """Everything that differs, and the verdict: failed where anything is worse than allowed."""
    if champion is None:
        drifts = tuple(_failures(today.evidence))
        changed: tuple[ToolChange, ...] = ()
    else:
        drifts = tuple(_drifts(champion, today, request))
        changed = changed_tools(champion.tools, today.tools)
    return _report(subject, drifts, changed, today.tools).model_copy(
        update={
            "measures": measures(champion, today, drifts),
            "suites": tuple(suite for suites in today.paired.values() for suite in suites),
        }
    )


def export_failed(
    subject: Subject, champion: Champion | None, tools: Mapping[str, str], error: Exception
) -> RegressionReport:
    """The report of a model that today's tools cannot export at all."""
    drift = Drift(kind="export", place="export", regressed=True, sentence=str(error))
    changed = changed_tools(champion.tools, tools) if champion else ()
    return _report(subject, (drift,), changed, tools)


def not_compared(subject: Subject, error: BaseException) -> RegressionReport:
    """The report of a model for which something else than the model stood in the way."""
    sentence = f"{type(error).__name__}: {error}"
    drift = Drift(kind="error", place=subject.name, regressed=True, sentence=sentence)
    return _report(subject, (drift,), (), {}).model_copy(update={"cause": None})


def gather(models: Sequence[RegressionReport], advisories: Sequence[Advisory]) -> NightlyReport:
    """All models' reports in one."""
    passed = all(model.passed for model in models)
    return NightlyReport(
        passed=passed,
        models=tuple(models),
        advisories=tuple(advisories),
        cache=CacheReport(
            hits=sum(model.cache.hits for model in models),
            misses=sum(model.cache.misses for model in models),
        ),
    )


def _report(
    subject: Subject,
    drifts: tuple[Drift, ...],
    changed: tuple[ToolChange, ...],
    tools: Mapping[str, str],
) -> RegressionReport:
    version = subject.version
    regressed = any(drift.regressed for drift in drifts)
    return RegressionReport(
        name=subject.name,
        version=version.version if version else None,
        bundle_digest=version.bundle_digest if version else None,
        passed=not regressed,
        drifts=drifts,
        tools=dict(tools),
        changed_tools=changed,
        cause=_cause(changed, known=version is not None) if regressed else None,
        measures={"regressions": float(sum(d.regressed for d in drifts))},
    )


def changed_tools(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[ToolChange, ...]:
    """Tools that both know, whose versions differ, and those that only one of them has."""
    return tuple(
        ToolChange(tool=tool, before=before.get(tool, "none"), after=after.get(tool, "none"))
        for tool in sorted(before.keys() | after.keys())
        if before.get(tool) != after.get(tool)
    )


def with_advisories(
    report: RegressionReport, advisories: Sequence[Advisory], *, fail: bool
) -> RegressionReport:
    """The report with what the package index says against the tools that it was made with."""
    added = tuple(
        Drift(
            kind="advisory",
            place=advisory.tool,
            regressed=fail and advisory.kind != "unknown",
            sentence=advisory.sentence,
        )
        for advisory in advisories
        if report.tools.get(advisory.tool) == advisory.version
    )
    failed = [drift for drift in added if drift.regressed]
    return report.model_copy(
        update={
            "drifts": (*report.drifts, *added),
            "passed": report.passed and not failed,
            "cause": report.cause or (failed[0].sentence if failed else None),
            "measures": {
                **report.measures,
                "regressions": report.measures.get("regressions", 0.0) + len(failed),
            },
        }
    )


def _cause(changed: Sequence[ToolChange], *, known: bool) -> str:
    if not known:
        return "there is no promoted version to compare with"
    if not changed:
        return (
            "no tool's version changed since: the machine, its load, or a source of chance in the "
            "model"
        )
    return ", ".join(f"{it.tool} {it.before} became {it.after}" for it in changed)


def _failures(evidence: Evidence) -> Iterator[Drift]:
    """Without a promoted version there is nothing to drift from: what fails a release fails."""
    for failure in evidence.failures:
        yield Drift(kind="variant", place=evidence.name, regressed=True, sentence=failure)


def _drifts(champion: Champion, today: Today, request: RegressionSpec) -> Iterator[Drift]:
    fresh = {variant.precision: variant for variant in today.evidence.variants}
    promoted = [variant for variant in champion.evidence.variants if variant.status == "passed"]
    for before in promoted:
        yield from _replay(before, today.replayed.get(before.precision))
        after = fresh.get(before.precision)
        if after is None or after.status != "passed":
            yield _lost(before, after)
            continue
        yield from _content(before, after, request)
        yield from _answers(before, today)
        for suite in today.paired.get(before.precision, ()):
            yield from _latency(before, suite)
    known = {variant.precision for variant in promoted}
    for variant in today.evidence.variants:
        if variant.status == "passed" and variant.precision not in known:
            yield Drift(
                kind="variant",
                place=variant.precision,
                regressed=False,
                sentence=f"{variant.precision} passes today; the promoted version has none",
            )


def _replay(before: VariantReport, replayed: ValidationReport | None) -> Iterator[Drift]:
    """The promoted bytes under today's runtime."""
    if replayed is None or replayed.passed:
        return
    errors = [it.message for it in replayed.check.findings if it.level == "error"]
    yield Drift(
        kind="operators" if errors else "replay",
        place=before.precision,
        regressed=True,
        sentence=f"the promoted {before.precision} no longer passes with today's runtime: "
        f"{'; '.join(errors) or replayed.reason}",
    )


def _lost(before: VariantReport, after: VariantReport | None) -> Drift:
    what = f"{after.status}: {after.reason}" if after else "no longer asked for"
    return Drift(
        kind="variant",
        place=before.precision,
        regressed=after is not None,
        sentence=f"the promoted version has {before.precision}; today's is {what}",
    )


def _content(
    before: VariantReport, after: VariantReport, request: RegressionSpec
) -> Iterator[Drift]:
    if before.model is None or after.model is None or before.model.digest == after.model.digest:
        return
    place = before.precision
    old, new = before.model, after.model
    yield Drift(
        kind="digest",
        place=place,
        regressed=False,
        sentence=f"{place} has other bytes today: {fmt.short_digest(old.digest)} became "
        f"{fmt.short_digest(new.digest)}",
    )
    if old.size_bytes == new.size_bytes:
        return
    growth = new.size_bytes / old.size_bytes - 1 if old.size_bytes else 0.0
    yield Drift(
        kind="size",
        place=place,
        regressed=new.size_bytes > old.size_bytes * (1 + request.size_growth),
        sentence=f"{place} was {fmt.size(old.size_bytes)} and is {fmt.size(new.size_bytes)}: "
        f"{fmt.percent(abs(growth))} {'larger' if growth > 0 else 'smaller'}, "
        f"{fmt.percent(request.size_growth)} more is allowed",
        before=float(old.size_bytes),
        after=float(new.size_bytes),
    )


def _answers(before: VariantReport, today: Today) -> Iterator[Drift]:
    """The fresh variant on the promoted version's golden set and evaluation data."""
    found = today.repeated.get(before.precision)
    if found is None:
        return
    if not found.passed:
        yield Drift(
            kind="parity" if found.parity is not None and not found.parity.passed else "variant",
            place=before.precision,
            regressed=True,
            sentence=f"today's {before.precision} does not give the promoted version's answers: "
            f"{found.reason}",
        )
    recorded = before.validation.metric if before.validation else None
    if recorded is not None and found.metric is not None:
        yield from _metric(before.precision, recorded, found.metric)


def _metric(precision: Precision, old: MetricReport, new: MetricReport) -> Iterator[Drift]:
    if old.value is None or new.value is None or old.name != new.name or old.value == new.value:
        return
    worse = new.value - old.value if old.name in LOWER_IS_BETTER else old.value - new.value
    yield Drift(
        kind="metric",
        place=precision,
        regressed=worse > new.budget,
        sentence=f"{fmt.METRIC_NAMES[old.name]} of {precision} was "
        f"{fmt.metric_value(old.name, old.value)} and is {fmt.metric_value(old.name, new.value)}; "
        f"a drop of {fmt.scientific(new.budget)} is allowed",
        before=old.value,
        after=new.value,
    )


def _latency(before: VariantReport, suite: BenchmarkSuite) -> Iterator[Drift]:
    place = before.precision
    if suite.status != "measured" or suite.conditions is None:
        yield Drift(
            kind="latency",
            place=place,
            regressed=suite.status == "failed",
            sentence=f"{place} on {suite.provider} was not measured: {suite.reason}",
        )
        return
    for row in fresh_rows(suite):
        if row.verdict not in {"slower", "faster"} or row.ratio is None:
            continue
        low, high = row.ratio_interval or (None, None)
        confidence = suite.conditions.confidence
        yield Drift(
            kind="latency",
            place=place,
            regressed=row.verdict == "slower",
            sentence=f"{place} on {row.provider} at batch {row.batch_size} is {row.verdict} than "
            f"the promoted one: {fmt.times(row.ratio)} its latency "
            f"({fmt.interval(low, high)} at {fmt.percent(confidence, decimals=0)})",
            before=1.0,
            after=row.ratio,
        )
