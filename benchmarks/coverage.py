"""How much of each framework is exported right, beside the plain converter call on the same models.

    python benchmarks/coverage.py [FRAMEWORK ...] [--details] [--only PATTERN] [--keep FILE]

A case is a model, really trained or filled at random. Ours is right when export and parity pass at
the default tolerance, refused when the error is one of ours and names a reason, wrong or broken
otherwise. The plain call is judged on the same runs with atol 1e-4 + rtol 1e-3, its outputs taken
in their order whatever they are called.

A framework is a file of `coverage_cases/` and a name here. Its cases run in processes of their own,
a group in each: what crashes, hangs or eats all memory is that side's error and no more. With
`--keep`, verdicts are written to a file as they are found, and those in it are not found again: so
an interrupted run goes on, and one after a repair, when the lines of its cases are taken out.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FRAMEWORKS = (
    *("sklearn", "transformers", "xgboost", "lightgbm", "catboost"),
    *("pytorch", "keras", "keras_applications", "tensorflow"),
)
SIDES = ("slipway", "plain")
OUTCOMES = ("right", "refused", "wrong", "error", "unjudged")

Verdicts = dict[tuple[str, str], dict[str, str]]


def measure(name: str, only: str, *, details: bool, keep: Path | None = None) -> Verdicts:
    """What each side of each case of a framework came to; `keep` holds what is known already."""
    (about,), status = _ask(name, None, {})
    if status:
        raise SystemExit(f"the cases of {name} cannot be listed; see above")
    names = [case for case in about["names"] if re.search(only, case)]
    verdicts = {pair: it for pair, it in _kept(name, keep).items() if pair[0] in names}
    while waiting := _waiting(names, verdicts)[: about["group"]]:
        answers, status = _ask(name, waiting, about["environment"])
        for answer in answers:
            _settle(verdicts, name, answer, keep)
        done = {pair: it for pair, it in verdicts.items() if pair[0] in dict(waiting)}
        if details:
            explain(done)
        print(f"{name}: {len(_waiting(names, verdicts))} of {len(names)} left", file=sys.stderr)
        left = _waiting([case for case, _ in waiting], verdicts)
        if left:
            case, sides = left[0]
            reason = _ending(status, about["limit_s"])
            answer = {"case": case, "side": sides[0], "outcome": "error", "reason": reason}
            _settle(verdicts, name, answer, keep)
    return verdicts


def _kept(name: str, keep: Path | None) -> Verdicts:
    if keep is None or not keep.exists():
        return {}
    lines = [json.loads(line) for line in keep.read_text(encoding="utf-8").splitlines()]
    return {(it["case"], it["side"]): it for it in lines if it["framework"] == name}


def _settle(verdicts: Verdicts, name: str, answer: dict[str, str], keep: Path | None) -> None:
    verdicts[answer["case"], answer["side"]] = answer
    if keep is not None:
        with keep.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"framework": name, **answer}) + "\n")


def _waiting(names: list[str], verdicts: Verdicts) -> list[tuple[str, list[str]]]:
    pairs = ((case, [side for side in SIDES if (case, side) not in verdicts]) for case in names)
    return [(case, sides) for case, sides in pairs if sides]


def _ask(name: str, asked: Any, environment: dict[str, str]) -> tuple[list[dict[str, Any]], int]:  # noqa: ANN401 - JSON
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.coverage_worker", name],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("COVERAGE_STDERR") or asked is None else subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        check=False,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def _ending(status: int, limit_s: int) -> str:
    if status == -signal.SIGALRM:
        return f"did not end in {limit_s} s"
    if status < 0:
        return f"its process died of {signal.Signals(-status).name}"
    return f"its process ended with status {status}"


def explain(verdicts: Verdicts) -> None:
    """Print each case that is not right, and why."""
    for (case, side), it in verdicts.items():
        if it["outcome"] != "right":
            print(f"  {case}: {side} {it['outcome']}: {it['reason'][:300]}", flush=True)


def show(name: str, verdicts: Verdicts) -> int:
    """Print a framework's lines; how many of ours are wrong or unexplained."""
    for who in SIDES:
        counts = Counter(it["outcome"] for (_, side), it in verdicts.items() if side == who)
        row = "".join(f"{counts[outcome]:>9}" for outcome in OUTCOMES)
        print(f"{name:<14}{who:<8}{counts.total():>7}{row}", flush=True)
    bad = [it for (_, side), it in verdicts.items() if side == "slipway"]
    return sum(it["outcome"] in {"wrong", "error"} for it in bad)


def main() -> int:
    """Measure, print, and fail on what is wrong or unexplained."""
    parser = argparse.ArgumentParser(description="Coverage of export and parity per framework.")
    parser.add_argument("frameworks", nargs="*", choices=[[], *FRAMEWORKS])
    parser.add_argument("--details", action="store_true", help="print each case that is not right")
    parser.add_argument("--only", default="", help="cases whose name has this pattern")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="go on from what is in it")
    asked = parser.parse_args()
    print(f"{'framework':<14}{'':<8}{'tried':>7}" + "".join(f"{it:>9}" for it in OUTCOMES))
    bad = 0
    for name in asked.frameworks or FRAMEWORKS:
        verdicts = measure(name, asked.only, details=asked.details, keep=asked.keep)
        bad += show(name, verdicts)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
