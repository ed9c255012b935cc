"""Each rule of a policy; and that nothing passes which was asked for and cannot be known."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.artifacts import digest_bytes
from slipway.promotion.policy import DAY_S, Signature, Weighing, evaluate
from slipway.promotion.records import Approval, PolicyReport, RuleResult
from slipway.reports import Estimate, Evidence
from slipway.specs import PolicySpec
from tests.promotion_cases import UNKNOWN, about, case, evidence

NONE = PolicySpec(parity=False, metric_drop=None, not_slower=False, max_age_days=None)


def weighing(candidate: Evidence | None = None, current: Evidence | None = None) -> Weighing:
    """A candidate beside a current version; without any given, equal ones."""
    return Weighing(
        candidate=case(candidate),
        current=case(current, version=1),
        unknown=None,
        now_s=DAY_S,
        by="anna",
        signature=Signature("absent", "the bundle is not signed"),
    )


def only(report: PolicyReport) -> RuleResult:
    (rule,) = report.rules
    return rule


def ask(**rules: object) -> PolicySpec:
    return NONE.model_copy(update=rules)


def test_equal_releases_pass_the_default_policy() -> None:
    report = evaluate(PolicySpec(), weighing())
    assert report.passed
    assert [rule.rule for rule in report.rules] == [
        *("parity", "metric of int8-static", "speed on cpu", "age")
    ]
    assert {rule.outcome for rule in report.rules} == {"passed"}


def test_a_policy_that_asks_nothing_has_no_rules() -> None:
    report = evaluate(NONE, weighing(evidence(valid=False)))
    assert (report.passed, report.rules) == (True, ())


def test_every_rule_shows_what_was_found_and_asked() -> None:
    policy = PolicySpec(slo_p99_ms={"cpu": 5}, signature=True, approvals=1)
    for rule in evaluate(policy, weighing()).rules:
        assert rule.value
        assert rule.bound
        assert rule.reason or rule.outcome == "passed"


def test_a_variant_that_did_not_pass_fails_parity() -> None:
    rule = only(evaluate(ask(parity=True), weighing(evidence(valid=False))))
    assert (rule.outcome, rule.value) == ("failed", "1 of 2 variants passed")
    assert rule.reason == "int8-static did not pass"


@pytest.mark.parametrize(
    ("metric", "passed"), [(0.99, True), (0.981, True), (0.979, False), (1.0, True)]
)
def test_the_metric_is_held_against_the_current_versions(metric: float, passed: bool) -> None:
    rule = only(evaluate(ask(metric_drop=0.01), weighing(evidence(metric=metric))))
    assert rule.outcome == ("passed" if passed else "failed")
    assert rule.value.startswith("accuracy ")
    assert rule.value.endswith(" %, before 99.0 %")


def test_a_lower_error_is_better() -> None:
    worse = evidence(metric=0.5, metric_name="rmse")
    better = evidence(metric=0.4, metric_name="rmse")
    assert evaluate(ask(metric_drop=0.01), weighing(better, worse)).passed
    assert only(evaluate(ask(metric_drop=0.01), weighing(worse, better))).reason == "0.1 worse"


def test_metrics_on_different_data_are_not_compared() -> None:
    other = case(version=1, evaluation=digest_bytes(b"other data"))
    rule = only(evaluate(ask(metric_drop=0.01), replace(weighing(), current=other)))
    assert rule.outcome == "failed"
    assert "different data" in str(rule.reason)


@pytest.mark.parametrize(
    ("candidate", "current", "why"),
    [
        (evidence(metric=None), evidence(), "not measured for this version"),
        (evidence(), evidence(metric=None), "not measured for the current version"),
        (evidence(metric_name="f1"), evidence(), "has f1, the current one accuracy"),
    ],
)
def test_a_metric_that_cannot_be_compared_has_failed(
    candidate: Evidence, current: Evidence, why: str
) -> None:
    rule = only(evaluate(ask(metric_drop=0.01), weighing(candidate, current)))
    assert rule.outcome == "failed"
    assert why in str(rule.reason)


def test_without_a_metric_anywhere_the_rule_does_not_apply() -> None:
    none = evidence(metric=None)
    rule = only(evaluate(ask(metric_drop=0.01), weighing(none, none)))
    assert rule.outcome == "not applicable"


def test_the_first_champion_is_compared_with_nothing() -> None:
    report = evaluate(PolicySpec(), replace(weighing(), current=None))
    outcomes = {rule.rule: rule.outcome for rule in report.rules}
    assert outcomes == {
        "parity": "passed",
        "metric": "not applicable",
        "speed": "not applicable",
        "age": "passed",
    }
    assert report.passed


def test_a_champion_of_which_nothing_is_known_blocks() -> None:
    found = replace(weighing(), current=None, unknown="its bundle is gone")
    report = evaluate(PolicySpec(), found)
    assert [rule.rule for rule in report.failures] == ["metric", "speed"]
    assert {rule.reason for rule in report.failures} == {"its bundle is gone"}


@pytest.mark.parametrize(
    ("limit", "outcome", "why"),
    [
        (2.2, "passed", None),
        (2.05, "failed", "undecided: the interval reaches beyond it"),
        (0.5, "failed", "too slow"),
    ],
)
def test_the_p99_must_be_kept_for_sure(limit: float, outcome: str, why: str | None) -> None:
    rule = only(evaluate(ask(slo_p99_ms={"cpu": limit}), weighing()))
    assert (rule.rule, rule.outcome, rule.reason) == ("p99 on cpu", outcome, why)


def test_a_p99_that_few_queries_cannot_tell_has_failed() -> None:
    rule = only(evaluate(ask(slo_p99_ms={"cpu": 5}), weighing(evidence(p99=UNKNOWN))))
    assert rule.outcome == "failed"
    assert "queries tell no p99" in str(rule.reason)


def test_a_provider_that_was_not_measured_has_failed() -> None:
    rule = only(evaluate(ask(slo_p99_ms={"cuda": 5}), weighing()))
    assert (rule.outcome, rule.reason) == ("failed", "not measured there")


@pytest.mark.parametrize(
    ("p50", "passed"),
    [(about(1.0), True), (about(1.14), True), (about(1.2), False), (about(0.5), True)],
)
def test_slower_is_what_both_intervals_say(p50: Estimate, passed: bool) -> None:
    # Intervals of 5 % to each side and sessions that differ by 4 %: 15 % is the least to be told.
    rule = only(evaluate(ask(not_slower=True), weighing(evidence(p50=p50))))
    assert rule.outcome == ("passed" if passed else "failed")


def test_a_slower_tail_is_slower() -> None:
    rule = only(evaluate(ask(not_slower=True), weighing(evidence(p99=about(4.0)))))
    assert rule.reason == "the p99 is slower for sure"


def test_latencies_of_different_machines_are_not_compared() -> None:
    rule = only(evaluate(ask(not_slower=True), weighing(evidence(cpu="Xeon"))))
    assert rule.outcome == "failed"
    assert "Xeon with 2 threads and EPYC with 2 threads" in str(rule.reason)


def test_too_few_queries_tell_no_speed() -> None:
    rule = only(evaluate(ask(not_slower=True), weighing(evidence(p50=UNKNOWN, p99=UNKNOWN))))
    assert (rule.outcome, rule.reason) == ("failed", "too few queries to tell")


def test_unmeasured_releases_have_no_speed_to_compare() -> None:
    none = evidence().model_copy(update={"suites": ()})
    rule = only(evaluate(ask(not_slower=True), weighing(none, none)))
    assert rule.outcome == "not applicable"


def test_old_evidence_has_failed() -> None:
    found = replace(weighing(), now_s=31 * DAY_S)
    rule = only(evaluate(ask(max_age_days=30.0), found))
    assert (rule.outcome, rule.value) == ("failed", "registered 31.0 days ago")


@pytest.mark.parametrize(
    ("state", "required", "outcomes"),
    [
        ("valid", True, ["passed"]),
        ("absent", True, ["failed"]),
        ("wrong", True, ["failed"]),
        ("not checked", True, ["failed"]),
        ("absent", False, []),
        ("wrong", False, ["failed"]),
    ],
)
def test_a_signature_that_is_wrong_fails_even_where_none_is_required(
    state: str, required: bool, outcomes: list[str]
) -> None:
    found = replace(weighing(), signature=Signature(state, "why"))  # type: ignore[arg-type]
    report = evaluate(ask(signature=required), found)
    assert [rule.outcome for rule in report.rules] == outcomes


@pytest.mark.parametrize(
    ("approvals", "passed"),
    [
        ((), False),
        (("boris",), False),
        (("boris", "Boris "), False),
        (("boris", "anna"), False),
        (("boris", "clara"), True),
    ],
)
def test_approvals_are_of_different_people_other_than_who_asks(
    approvals: tuple[str, ...], passed: bool
) -> None:
    answers = tuple(Approval(by=name, approved=True) for name in approvals)
    rule = only(evaluate(ask(approvals=2), replace(weighing(), approvals=answers)))
    assert rule.outcome == ("passed" if passed else "failed")


def test_one_who_declines_is_enough_to_fail() -> None:
    answers = (
        Approval(by="boris", approved=True),
        Approval(by="clara", approved=False, comment="not before Monday"),
    )
    rule = only(evaluate(ask(approvals=1), replace(weighing(), approvals=answers)))
    assert (rule.outcome, rule.reason) == ("failed", "declined by clara: not before Monday")


def test_an_override_covers_what_failed_but_not_the_approvals() -> None:
    failed = evaluate(ask(parity=True), weighing(evidence(valid=False)))
    assert not failed.settled(override=None)
    assert failed.settled(override="an emergency")
    lonely = evaluate(ask(approvals=1), weighing())
    assert not lonely.settled(override="an emergency")


values = st.floats(0.5, 1.0)
policies = st.builds(
    PolicySpec,
    parity=st.booleans(),
    metric_drop=st.none() | st.floats(0, 0.5),
    slo_p99_ms=st.dictionaries(st.sampled_from(["cpu", "cuda"]), st.floats(0.1, 10)),
    not_slower=st.booleans(),
    max_age_days=st.none() | st.floats(0.1, 60),
    signature=st.booleans(),
    approvals=st.integers(0, 2),
)
weighings = st.builds(
    lambda metric, other, p50, days, approvals: replace(
        weighing(evidence(metric=metric, p50=about(p50)), evidence(metric=other)),
        now_s=days * DAY_S,
        approvals=tuple(Approval(by=name, approved=True) for name in approvals),
    ),
    values,
    values,
    st.floats(0.2, 5),
    st.floats(0, 90),
    st.lists(st.sampled_from(["boris", "clara", "anna"]), max_size=2).map(tuple),
)


@given(policies, weighings)
def test_a_policy_passes_exactly_when_no_rule_failed(policy: PolicySpec, found: Weighing) -> None:
    report = evaluate(policy, found)
    assert report.passed == (not report.failures)
    assert len({rule.rule for rule in report.rules}) == len(report.rules)
    assert all(rule.reason for rule in report.failures)


@given(policies, policies, weighings)
def test_a_policy_that_asks_for_more_never_lets_more_through(
    one: PolicySpec, other: PolicySpec, found: Weighing
) -> None:
    both = _stricter(one, other)
    if evaluate(both, found).passed:
        assert evaluate(one, found).passed
        assert evaluate(other, found).passed


@given(policies, weighings)
def test_the_same_is_answered_each_time(policy: PolicySpec, found: Weighing) -> None:
    assert evaluate(policy, found) == evaluate(policy, found)


def _stricter(one: PolicySpec, other: PolicySpec) -> PolicySpec:
    """All that either asks for."""

    def least(a: float | None, b: float | None) -> float | None:
        return min((x for x in (a, b) if x is not None), default=None)

    shared = {**one.slo_p99_ms, **other.slo_p99_ms}
    return PolicySpec(
        parity=one.parity or other.parity,
        metric_drop=least(one.metric_drop, other.metric_drop),
        slo_p99_ms={
            provider: min(p.slo_p99_ms[provider] for p in (one, other) if provider in p.slo_p99_ms)
            for provider in shared
        },
        not_slower=one.not_slower or other.not_slower,
        max_age_days=least(one.max_age_days, other.max_age_days),
        signature=one.signature or other.signature,
        approvals=max(one.approvals, other.approvals),
    )
