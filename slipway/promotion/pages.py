"""A promotion as markdown and as rows of plain text, for Prefect's artifacts and the terminal."""

from slipway.promotion.records import PolicyReport, PromotionReport
from slipway.reporting.markdown import escape

HEADER = ("rule", "outcome", "found", "asked for", "why")


def promotion_markdown(report: PromotionReport) -> str:
    """The verdict, who asked and why, and every rule with its value and its bound."""
    about = [f"by {report.by}", *([f"reason: {report.reason}"] if report.reason else [])]
    if report.approved_by:
        about.append(f"approved by {', '.join(report.approved_by)}")
    if report.override:
        about.append(f"override: {report.override}")
    if report.record is not None:
        about.append(f"record {report.record}, {report.record_digest}")
    parts = [f"## {escape(report.verdict)}", "\n".join(f"- {escape(line)}" for line in about)]
    if report.policy is not None:
        parts.append(_table(report.policy))
    return "\n\n".join(parts) + "\n"


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
