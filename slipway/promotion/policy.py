"""Weighing a version against a policy: each rule with its value, its bound and its outcome.

Pure: what is weighed was read before. What a policy asks for and the evidence cannot tell has
failed, with the reason; a rule that compares does not apply where there is nothing yet to compare
with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from slipway.artifacts import canonical_json, digest_bytes
from slipway.benchmarking.objective import meets_slo
from slipway.benchmarking.statistics import verdict
from slipway.promotion.cases import Case
from slipway.promotion.records import APPROVALS, Approval, Outcome, PolicyReport, RuleResult
from slipway.reporting import formatting as fmt
from slipway.reports import (
    BenchmarkReport,
    BenchmarkSuite,
    Estimate,
    Evidence,
    MetricReport,
    VariantReport,
)
from slipway.specs import LOWER_IS_BETTER, PolicySpec, Precision, ProviderName, is_close_or_better

DAY_S: Final = 86_400.0
RESOLUTION: Final = 0.04
"""Two processes of one model differ by up to 4 %: two sessions cannot tell less than that."""


@dataclass(frozen=True)
class Signature:
    """What was found of a bundle's signature."""

    state: Literal["valid", "wrong", "absent", "not checked"]
    detail: str


@dataclass(frozen=True)
class Weighing:
    """All that a policy is answered from."""

    candidate: Case
    current: Case | None
    """What the alias points at; None where it points nowhere, or nothing is known of that."""
    unknown: str | None
    """Why nothing is known of what the alias points at."""
    now_s: float
    by: str
    signature: Signature
    approvals: tuple[Approval, ...] = ()


def evaluate(policy: PolicySpec, weighing: Weighing) -> PolicyReport:
    """Answer every rule of a policy."""
    rules = (
        *_parity(policy, weighing),
        *_metric(policy, weighing),
        *(_objective(weighing, provider, ms) for provider, ms in sorted(policy.slo_p99_ms.items())),
        *_speed(policy, weighing),
        *_signature(policy, weighing),
        *_age(policy, weighing),
        *_approvals(policy, weighing),
    )
    return PolicyReport(
        passed=all(rule.outcome != "failed" for rule in rules),
        policy=digest_bytes(canonical_json(policy.model_dump(mode="json"))),
        rules=rules,
    )


def _rule(
    rule: str, *, passed: bool, value: str, bound: str, reason: str | None = None
) -> RuleResult:
    outcome: Outcome = "passed" if passed else "failed"
    return RuleResult(rule=rule, outcome=outcome, value=value, bound=bound, reason=reason)


def _parity(policy: PolicySpec, weighing: Weighing) -> Iterator[RuleResult]:
    if not policy.parity:
        return
    evidence = weighing.candidate.evidence
    shipped = _shipped(evidence)
    failed = [v.precision for v in shipped if v.validation is None or not v.validation.passed]
    reasons = (*evidence.failures, *(f"{precision} did not pass" for precision in failed))
    yield _rule(
        "parity",
        passed=evidence.passed and not failed and bool(shipped),
        value=f"{len(shipped) - len(failed)} of {len(shipped)} variants passed",
        bound="every variant that ships",
        reason="; ".join(reasons) or (None if shipped else "it ships no variant"),
    )


def _metric(policy: PolicySpec, weighing: Weighing) -> Iterator[RuleResult]:
    """One rule for each pair of variants that serve the same provider."""
    if policy.metric_drop is None:
        return
    bound = f"at most {policy.metric_drop:g} worse"
    current = weighing.current
    if current is None:
        yield _against_nothing("metric", bound, weighing)
        return
    candidate = weighing.candidate
    if not (_has_metric(candidate.evidence) or _has_metric(current.evidence)):
        yield RuleResult(
            rule="metric",
            outcome="not applicable",
            value="none",
            bound=bound,
            reason="neither release has a task metric",
        )
        return
    data = [case.data_digests.get("evaluation") for case in (candidate, current)]
    for mine, theirs in _served_pairs(candidate.evidence, current.evidence):
        name = f"metric of {mine}"
        found, before = _metric_of(candidate.evidence, mine), _metric_of(current.evidence, theirs)
        reason = _incomparable(found, before, same_data=data[0] == data[1])
        if reason or found is None or before is None:
            yield _rule(name, passed=False, value=fmt.DASH, bound=bound, reason=reason)
            continue
        yield _compared(name, found, before, drop=policy.metric_drop, bound=bound)


def _compared(
    name: str, found: MetricReport, before: MetricReport, *, drop: float, bound: str
) -> RuleResult:
    if found.value is None or before.value is None:
        return _rule(name, passed=False, value=fmt.DASH, bound=bound, reason="it is not a number")
    worse = before.value - found.value
    worse = -worse if found.name in LOWER_IS_BETTER else worse
    value = (
        f"{fmt.METRIC_NAMES[found.name]} {fmt.metric_value(found.name, found.value)}, before "
        f"{fmt.metric_value(before.name, before.value)}"
    )
    passed = is_close_or_better(found.value, before.value, metric=found.name, drop=drop)
    reason = None if passed else f"{worse:.3g} worse"
    return _rule(name, passed=passed, value=value, bound=bound, reason=reason)


def _incomparable(
    found: MetricReport | None, before: MetricReport | None, *, same_data: bool
) -> str | None:
    if found is None:
        return "it was not measured for this version"
    if before is None:
        return "it was not measured for the current version; release that anew with the metric"
    if found.name != before.name:
        return f"this version has {found.name}, the current one {before.name}"
    if not same_data:
        return "the two were measured on different data; release both with the same"
    return None


def _objective(weighing: Weighing, provider: ProviderName, slo_p99_ms: float) -> RuleResult:
    name = f"p99 on {provider}"
    bound = f"at most {fmt.milliseconds(slo_p99_ms)}, for sure"
    row = _served_row(weighing.candidate.evidence, provider)
    if row is None:
        return _rule(name, passed=False, value=fmt.DASH, bound=bound, reason="not measured there")
    met = meets_slo(p99=row.p99, others=(row.p50, row.p95), slo_p99_ms=slo_p99_ms)
    reason: str | None = None
    if met is None:
        reason = "undecided: the interval reaches beyond it"
        if row.p99.value_ms is None:
            reason = (
                f"undecided: {row.queries} queries tell no p99; "
                f"{fmt.QUERIES_NEEDED['p99']} would, and more for its interval"
            )
    elif not met:
        reason = "too slow"
    value = f"{row.precision} {fmt.estimate(row.p99)}"
    return _rule(name, passed=met is True, value=value, bound=bound, reason=reason)


def _speed(policy: PolicySpec, weighing: Weighing) -> Iterator[RuleResult]:
    if not policy.not_slower:
        return
    bound = "not slower than the current version"
    if weighing.current is None:
        yield _against_nothing("speed", bound, weighing)
        return
    candidate, current = weighing.candidate.evidence, weighing.current.evidence
    before = {suite.provider for suite in current.suites if suite.status == "measured"}
    both = [s.provider for s in candidate.suites if s.status == "measured" and s.provider in before]
    for provider in both:
        yield _not_slower(provider, candidate, current, bound=bound)
    if not both:
        yield RuleResult(
            rule="speed",
            outcome="not applicable",
            value=fmt.DASH,
            bound=bound,
            reason="no provider that both versions were measured on",
        )


def _not_slower(provider: str, candidate: Evidence, current: Evidence, *, bound: str) -> RuleResult:
    """Compare two sessions; slower only where the whole interval of the ratio says so."""
    name = f"speed on {provider}"
    mine, theirs = _served_row(candidate, provider), _served_row(current, provider)
    if mine is None or theirs is None:
        reason = "the variant that serves was not measured with batch size 1"
        return _rule(name, passed=False, value=fmt.DASH, bound=bound, reason=reason)
    value = f"p50 {fmt.estimate(mine.p50)}, before {fmt.estimate(theirs.p50)}"
    suites = [_suite(evidence, provider) for evidence in (candidate, current)]
    conditions = [suite.conditions for suite in suites if suite is not None]
    machines = [(at.cpu, at.intra_op_threads) for at in conditions if at is not None]
    if len(set(machines)) > 1:
        both = " and ".join(f"{cpu} with {fmt.count(n, 'thread')}" for cpu, n in machines)
        reason = f"measured on different machines, {both}; release both on the same"
        return _rule(name, passed=False, value=value, bound=bound, reason=reason)
    if _ratio(mine.p50, theirs.p50) is None:
        reason = "too few queries to tell"
        return _rule(name, passed=False, value=value, bound=bound, reason=reason)
    said = [
        (label, verdict(_ratio(ours, others), resolution=RESOLUTION))
        for label, ours, others in (
            ("p50", mine.p50, theirs.p50),
            ("p99", mine.p99, theirs.p99),
        )
    ]
    slower = [label for label, word in said if word == "slower"]
    told = f"the {' and the '.join(slower)} is slower for sure"
    return _rule(name, passed=not slower, value=value, bound=bound, reason=told if slower else None)


def _signature(policy: PolicySpec, weighing: Weighing) -> Iterator[RuleResult]:
    found = weighing.signature
    if policy.signature or found.state == "wrong":
        yield _rule(
            "signature",
            passed=found.state == "valid",
            value=found.state,
            bound="valid",
            reason=None if found.state == "valid" else found.detail,
        )


def _age(policy: PolicySpec, weighing: Weighing) -> Iterator[RuleResult]:
    if policy.max_age_days is None:
        return
    days = max(0.0, weighing.now_s - weighing.candidate.registered_s) / DAY_S
    old = days > policy.max_age_days
    yield _rule(
        "age",
        passed=not old,
        value=f"registered {days:.1f} days ago",
        bound=f"at most {policy.max_age_days:g} days",
        reason="its evidence is too old; release it again" if old else None,
    )


def _approvals(policy: PolicySpec, weighing: Weighing) -> Iterator[RuleResult]:
    if policy.approvals == 0:
        return
    asking = _person(weighing.by)
    declined = [answer for answer in weighing.approvals if not answer.approved]
    others = {
        _person(answer.by): answer.by
        for answer in weighing.approvals
        if answer.approved and _person(answer.by) != asking
    }
    missing = policy.approvals - len(others)
    reasons = [
        f"declined by {answer.by}" + (f": {answer.comment}" if answer.comment else "")
        for answer in declined
    ]
    if missing > 0:
        reasons.append(f"{missing} missing")
    yield _rule(
        APPROVALS,
        passed=not reasons,
        value=", ".join(others.values()) or "none",
        bound=f"{policy.approvals} other than {weighing.by}",
        reason="; ".join(reasons) or None,
    )


def _person(name: str) -> str:
    return " ".join(name.split()).casefold()


def _against_nothing(rule: str, bound: str, weighing: Weighing) -> RuleResult:
    """A comparison without a current version, or with one of which nothing is known."""
    unknown = weighing.unknown
    return RuleResult(
        rule=rule,
        outcome="failed" if unknown else "not applicable",
        value=fmt.DASH,
        bound=bound,
        reason=unknown or "the alias points nowhere yet",
    )


def _shipped(evidence: Evidence) -> list[VariantReport]:
    return [v for v in evidence.variants if v.status == "passed" and v.model is not None]


def _served_pairs(
    candidate: Evidence, current: Evidence
) -> tuple[tuple[Precision, Precision], ...]:
    """The variants that serve the same provider in both; fp32 where none is selected."""
    pairs = {
        (mine, current.selected.get(provider, "fp32"))
        for provider, mine in candidate.selected.items()
    }
    return tuple(sorted(pairs)) or (("fp32", "fp32"),)


def _has_metric(evidence: Evidence) -> bool:
    return any(v.validation and v.validation.metric for v in evidence.variants)


def _metric_of(evidence: Evidence, precision: Precision) -> MetricReport | None:
    variant = next((v for v in evidence.variants if v.precision == precision), None)
    return variant.validation.metric if variant and variant.validation else None


def _suite(evidence: Evidence, provider: str) -> BenchmarkSuite | None:
    return next((suite for suite in evidence.suites if suite.provider == provider), None)


def _served_row(evidence: Evidence, provider: str) -> BenchmarkReport | None:
    """The measurement of the selected variant with batch size 1, where the provider really ran."""
    suite = _suite(evidence, provider)
    serving = evidence.selected.get(provider, "fp32")
    rows = suite.rows if suite and suite.status == "measured" else ()
    wanted = (r for r in rows if r.precision == serving and r.provider == provider)
    return next((row for row in wanted if row.batch_size == 1), None)


def _ratio(mine: Estimate, theirs: Estimate) -> tuple[float, float] | None:
    """Between which two ratios the latencies' ratio lies, as far as both intervals hold."""
    if mine.low_ms is None or mine.high_ms is None or not theirs.low_ms or not theirs.high_ms:
        return None
    return mine.low_ms / theirs.high_ms, mine.high_ms / theirs.low_ms
