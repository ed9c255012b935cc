"""What promote, rollback and history tell a person."""

import sys
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from slipway.cli.output import complain, say
from slipway.promotion.pages import HEADER, described, rule_rows
from slipway.promotion.records import PromotionRecord, PromotionReport
from slipway.reporting.formatting import DASH
from slipway.stages.histories import AliasHistory, HistoryReport

_STYLES = {"passed": "green", "failed": "bold red", "not applicable": "dim"}


def print_promotion(report: PromotionReport) -> None:
    """The verdict and the rules."""
    say(report.verdict)
    if report.policy is not None:
        _print(HEADER, rule_rows(report.policy))
    if report.override and report.passed:
        say(f"overridden by {report.by}: {report.override}")
    if report.copied_from:
        say(f"copied    from {described(report.copied_from)}")
    if report.record is not None:
        say(f"record    {report.record}, {report.record_digest}")


def print_history(report: HistoryReport) -> None:
    """A table for each alias, the oldest record first, and where log and registry disagree."""
    for told in report.aliases:
        where = "nowhere" if told.current is None else f"version {told.current}"
        say(f"{report.name}@{told.alias}: {where}{'' if told.records else ', never logged'}")
        if told.records:
            _print(
                ("#", "when (UTC)", "what", "from", "to", "by", "policy", "why"),
                map(_row, told.records),
            )
        _tell_drift(report.name, told)
    if not report.aliases:
        say(f"{report.name} has no aliases")


def _tell_drift(name: str, told: AliasHistory) -> None:
    if told.drift and told.repaired:
        say(f"repaired: {told.drift}")
    elif told.drift:
        complain(f"{told.drift}; slipway history {name} --alias {told.alias} --repair")


def _row(record: PromotionRecord) -> tuple[str, ...]:
    policy = DASH
    if record.policy is not None:
        policy = "passed" if record.policy.passed else "failed"
    if record.override:
        policy = "overridden"
    copied = record.copied_from
    origin = f"a copy of version {copied.version} of {copied.name}" if copied else None
    approved = f"approved by {', '.join(record.approved_by)}" if record.approved_by else None
    why = "; ".join(filter(None, (origin, record.reason, record.override, approved)))
    return (
        str(record.number),
        f"{record.at:%Y-%m-%d %H:%M}",
        record.kind,
        DASH if record.from_version is None else str(record.from_version),
        str(record.to_version),
        record.by,
        policy,
        why,
    )


def _print(header: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120).print(table)
