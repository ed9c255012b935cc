"""A promotion as markdown and as rows of plain text, for Prefect's artifacts and the terminal."""

from slipway.promotion.records import (
    APPROVALS,
    CopiedFrom,
    Move,
    PolicyReport,
    PromotionReport,
)
from slipway.reporting import formatting as fmt
from slipway.reporting.markdown import escape
from slipway.specs import PolicySpec

_SHORT = len("sha256:") + 16  # what a form is wide enough for; the record has it all
HEADER = ("rule", "outcome", "found", "asked for", "why")


def promotion_markdown(report: PromotionReport) -> str:
    """The verdict, who asked and why, and every rule with its value and its bound."""
    about = [f"by {report.by}", *([f"reason: {report.reason}"] if report.reason else [])]
    if report.copied_from:
        about.append(f"copied from {described(report.copied_from)}")
    if report.approved_by:
        about.append(f"approved by {', '.join(report.approved_by)}")
    if report.override:
        about.append(f"override: {report.override}")
    if report.record is not None:
        about.append(f"record {report.record}, {report.record_digest}")
    parts = [f"## {escape(report.verdict)}", "\n".join(f"- {escape(line)}" for line in about)]
    if report.url:
        page = f"version {report.to_version} of {report.name} in MLflow"
        parts.append(f"[{escape(page)}]({report.url})")
    if report.policy is not None:
        parts.append(_table(report.policy))
    return "\n\n".join(parts) + "\n"


def approval_markdown(record: Move, policy: PolicySpec) -> str:
    """What somebody is asked to approve: the move, who asks and why, and every rule's answer."""
    came = "" if record.from_version is None else f" instead of version {record.from_version}"
    goes = f"version {record.to_version}" if record.copied_from is None else "a copy"
    question = f"Point {record.alias} of {record.name} at {goes}{came}?"
    about = [f"asked by {record.by}", *([f"reason: {record.reason}"] if record.reason else [])]
    if record.override:
        about.append(f"overrides what failed: {record.override}")
    if record.approved_by:
        about.append(f"approved so far by {', '.join(record.approved_by)}")
    about.append(f"bundle {record.to_digest[:_SHORT]}\u2026")
    if record.copied_from is not None:
        about.append(f"copied from {described(record.copied_from)}")
    number = fmt.count(policy.approvals, "person", "people")
    parts = [
        f"## {escape(question)}",
        f"The policy wants {number} other than {escape(record.by)} to approve this.",
        "\n".join(f"- {escape(line)}" for line in about),
    ]
    if record.policy is not None:
        parts.append(_table(_without(record.policy, APPROVALS)))
    return "\n\n".join(parts) + "\n"


def _without(policy: PolicyReport, rule: str) -> PolicyReport:
    return policy.model_copy(update={"rules": tuple(r for r in policy.rules if r.rule != rule)})


def described(copied: CopiedFrom) -> str:
    """A version of another environment, and how it fared there."""
    text = f"version {copied.version} of {copied.name} in {copied.registry}"
    record = copied.record
    if record is None:
        return f"{text}, where no alias was moved to it"
    policy = "rolled back to" if record.policy is None else "policy passed"
    if record.policy is not None and not record.policy.passed:
        policy = f"policy overridden: {record.override}"
    return f"{text}: {record.alias} since {record.at:%Y-%m-%d} by {record.by}, {policy}"


def rule_rows(policy: PolicyReport) -> tuple[tuple[str, ...], ...]:
    """One row a rule, under `HEADER`."""
    return tuple(
        (rule.rule, rule.outcome, rule.value, rule.bound, rule.reason or "")
        for rule in policy.rules
    )


def _table(policy: PolicyReport) -> str:
    lines = [HEADER, (":---",) * len(HEADER)]
    lines += [tuple(map(escape, row)) for row in rule_rows(policy)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
