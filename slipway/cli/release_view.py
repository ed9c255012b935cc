"""What `slipway release` tells a person: variants, bundle, report, what to open next."""

import shutil
import sys
from pathlib import Path

from rich.console import Console

from slipway.cli.output import say
from slipway.reporting import frontier
from slipway.reporting.summary import cost_sentence
from slipway.reporting.terminal import print_variants
from slipway.reports import ReleaseReport
from slipway.settings import Settings


def print_release(report: ReleaseReport) -> None:
    """Print what a release came to on stdout."""
    width = None if sys.stdout.isatty() else 120
    print_variants(Console(file=sys.stdout, width=width), report.evidence)
    for point in report.evidence.nearest:
        say(f"nearest   {point.label}: {frontier.words(report.evidence.frontiers[0], point)}")
    if report.bundle is not None:
        say(f"bundle    {report.bundle.path}")
        say(f"digest    {report.bundle.digest}")
    say(f"report    {report.report}")
    if report.registered is not None:
        made = "made" if report.registered.created else "found, not made again"
        alias = f" @{report.registered.alias}" if report.registered.alias else ""
        say(f"version   {report.registered.name} {report.registered.version}{alias} ({made})")
        uri = Settings().registry_uri
        if uri.startswith("sqlite:"):
            program = shutil.which("mlflow") or Path(sys.executable).with_name("mlflow")
            say(f"MLflow    {program} ui --backend-store-uri {uri}")
            say("          then open http://127.0.0.1:5000")
        elif report.registered.url:
            say(f"MLflow    {report.registered.url}")
    if report.cost is not None:
        say(f"cost      {cost_sentence(report.cost, report.cache)}")
