"""The process of `coverage.py` that runs a group of cases: a crash here is one side's failure.

    python -m benchmarks.coverage_worker FRAMEWORK < CASES

CASES is a JSON list of [case, sides still to do]; null asks for the framework's case names. Answers
are JSON lines on standard output, which nothing else can write to.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from benchmarks.coverage_judge import Framework, Verdict, ours, plainly


def main() -> None:
    """Run what standard input asks for."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    name, asked = sys.argv[1], json.load(sys.stdin)
    framework: Framework = importlib.import_module(f"benchmarks.coverage_cases.{name}").FRAMEWORK
    with _quiet():
        if asked is None:
            print(
                json.dumps(
                    {
                        "names": list(framework.cases()),
                        "group": framework.group,
                        "limit_s": framework.limit_s,
                        "environment": dict(framework.environment),
                    }
                ),
                file=answers,
            )
            return
        limit = int(framework.memory_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        cases = framework.cases()
        for case, sides in asked:
            _run(framework, case, cases[case], sides, answers)
            signal.alarm(0)


def _run(
    framework: Framework, case: str, make: Callable[[], Any], sides: list[str], answers: TextIO
) -> None:
    """Both sides of a case; the alarm ends the process, whatever native code it is in."""
    signal.alarm(framework.limit_s)
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        model = make()
        request = framework.save(model, folder)
        reference = framework.reference(model, request) if framework.reference else None
        if "slipway" in sides:
            verdict, reference = ours(request, folder, reference)
            _tell(answers, case, "slipway", verdict)
        signal.alarm(framework.limit_s)
        _tell(answers, case, "plain", plainly(framework, model, request, folder, reference))


def _tell(answers: TextIO, case: str, side: str, verdict: Verdict) -> None:
    print(json.dumps({"case": case, "side": side, **asdict(verdict)}), file=answers)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    main()
