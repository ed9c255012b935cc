"""How a regression run reads on a terminal."""

from slipway.cli.output import say
from slipway.reporting.regression import changes, headline, verdict
from slipway.reports import NightlyReport


def print_regression(report: NightlyReport) -> None:
    """A block a model: the verdict, what differs, and what changed since."""
    for model in report.models:
        version = f" version {model.version}" if model.version else ""
        say(f"{model.name}{version}: {verdict(model)}")
        for drift in sorted(model.drifts, key=lambda drift: not drift.regressed):
            say(f"  {'REGRESSED' if drift.regressed else 'noted'}  {drift.sentence}")
        if model.changed_tools:
            say(f"  changed since: {changes(model)}")
    for advisory in report.advisories:
        say(f"tool: {advisory.sentence}")
    say(headline(report))
    if report.page:
        say(f"page      {report.page}")
