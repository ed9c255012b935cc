"""How commands answer: one JSON object on stdout, or words; errors on stderr with their status.

stdout is the answer's alone. Progress and logs go to stderr.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from slipway.errors import SlipwayError, os_failure

if TYPE_CHECKING:
    from slipway.reports import Finding


@contextlib.contextmanager
def answering(*, as_json: bool, working: str = "") -> Iterator[None]:
    """Turn errors of the house into one message and the documented exit status.

    Args:
        as_json: Whether a refusal is a JSON object on stdout as well.
        working: Shown with a spinner while stderr is a terminal.
    """
    try:
        with _spinner(working):
            yield
    except SlipwayError as error:
        _refuse(error, as_json=as_json)
    except OSError as error:
        where = str(error.filename or working or "slipway")
        _refuse(os_failure(error, where), as_json=as_json)
    except KeyboardInterrupt:
        complain("stopped")
        raise typer.Exit(130) from None


def _refuse(error: SlipwayError, *, as_json: bool) -> NoReturn:
    page = {"report": error.report} if error.report else {}
    if as_json:
        told: dict[str, object] = {"type": type(error).__name__, "message": str(error)}
        if error.facts:
            told["facts"] = error.facts
        print_json({"passed": False, "error": told, **page})
    complain(str(error))
    if page and not as_json:
        say(f"report    {error.report}")
    raise typer.Exit(error.exit_code) from error


def answer(value: Any, *, as_json: bool, words: Callable[[], None], passed: bool = True) -> None:  # noqa: ANN401 - a report
    """Print a report as JSON or in words, and exit with 1 when it did not pass."""
    if as_json:
        print_json(value)
    else:
        words()
    if not passed:
        raise typer.Exit(1)


def print_json(value: Any) -> None:  # noqa: ANN401 - a report or a plain value
    """One JSON object on stdout."""
    plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    sys.stdout.write(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def say(text: str) -> None:
    """A line for people on stdout."""
    sys.stdout.write(text + "\n")


def complain(text: str) -> None:
    """A message for people on stderr."""
    sys.stderr.write(f"slipway: {text}\n")


def tell_findings(findings: "Iterable[Finding]") -> None:
    """What was found, a line each, on stderr."""
    for finding in findings:
        place = f" ({finding.place})" if finding.place else ""
        complain(f"{finding.level}: {finding.code}: {finding.message}{place}")


@contextlib.contextmanager
def progressing(working: str) -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar while stderr is a terminal: what is yielded is told what is done, of how much."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(working, total=None)

        def show(done: int, total: int, what: str) -> None:
            # What comes after calibration cannot be counted: the bar only moves.
            known = done < total
            bar.update(
                task,
                description=what if known else working,
                completed=done,
                total=total if known else None,
            )

        yield show


@contextlib.contextmanager
def _spinner(working: str) -> Iterator[None]:
    if not working or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(working):
        yield
