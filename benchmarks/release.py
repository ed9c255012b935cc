"""What a release costs, in CPU seconds, beside a plain script that does the same work.

    python benchmarks/release.py

Four things are measured, each in processes of its own, children included:

- the plain script: load the .pt2, export, convert to fp16, dynamic and static INT8, run the
  evaluation set and the same number of interleaved benchmark queries, with torch, onnx and
  onnxruntime called directly;
- Prefect's start-up: an empty flow on the same embedded defaults;
- a cold `slipway release` of the digits CNN, and the same again, unchanged;
- `slipway --help`.

Ratios are of CPU seconds with Prefect's start-up taken off; MLflow's database is made beforehand,
and what that costs is printed. The median of several rounds is reported.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "digits-cnn"
BIN = Path(sys.executable).parent
TARGETS = {"cold": 1.5, "again": 0.10, "help": 0.3}

EMPTY_FLOW = """
from prefect import flow, task

@task
def nothing(): return 1

@flow
def empty(): nothing()

empty()
"""
REGISTER = """
import mlflow
from mlflow import MlflowClient
print(MlflowClient(%r).search_registered_models())
"""


def cpu_seconds(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """CPU seconds of a command and its children, and its stdout."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{ran.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, ran.stdout


def main() -> None:
    """Measure and print a table; exit with 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    if not (EXAMPLE / "out" / "model.pt2").exists():
        subprocess.run([sys.executable, str(EXAMPLE / "train.py")], check=True)
    found: dict[str, list[float]] = {
        key: [] for key in ("plain", "prefect", "database", "mlflow", "cold", "again", "help")
    }
    for number in range(rounds):
        for name, seconds in one_round().items():
            found[name].append(seconds)
        print(f"round {number + 1} of {rounds} done, load {os.getloadavg()[0]:.1f}", flush=True)
    report({name: statistics.median(values) for name, values in found.items()})


def one_round() -> dict[str, float]:
    """Every measurement once, in a folder of its own."""
    used: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = {
            "SLIPWAY_HOME": folder,
            "PREFECT_HOME": f"{folder}/prefect",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        Path(home["PREFECT_HOME"]).mkdir()
        script = str(Path(__file__).with_name("plain_script.py"))
        used["plain"], _ = cpu_seconds([sys.executable, script, str(EXAMPLE / "out")], {})
        # The first start makes Prefect's database; it is not what a release costs.
        cpu_seconds([sys.executable, "-c", EMPTY_FLOW], home)
        used["prefect"], _ = cpu_seconds([sys.executable, "-c", EMPTY_FLOW], home)
        asking = [sys.executable, "-c", REGISTER % f"sqlite:///{folder}/mlflow.db"]
        first, _ = cpu_seconds(asking, home)
        used["mlflow"], _ = cpu_seconds(asking, home)
        used["database"] = first - used["mlflow"]
        release = [str(BIN / "slipway"), "release", str(EXAMPLE / "release.yaml"), "--json"]
        used["cold"], _ = cpu_seconds(release, home)
        used["again"], answer = cpu_seconds(release, home)
        cache = json.loads(answer)["cache"]
        if cache["misses"]:
            sys.exit(f"the second release computed {cache['misses']} stages again")
        used["help"], _ = cpu_seconds([str(BIN / "slipway"), "--help"], {})
    return used


def report(used: dict[str, float]) -> None:
    """Print what was measured against the targets."""
    cold, again = used["cold"] - used["prefect"], used["again"] - used["prefect"]
    print(f"""
                                                   CPU s
plain script                                       {used["plain"]:6.2f}
Prefect's start-up (an empty flow)                 {used["prefect"]:6.2f}
making MLflow's database, once                     {used["database"]:6.2f}
importing MLflow and asking it one question        {used["mlflow"]:6.2f}
cold release, Prefect's start-up included          {used["cold"]:6.2f}
cold release, without it                           {cold:6.2f}
the same release again, without it                 {again:6.2f}
slipway --help                                     {used["help"]:6.2f}

cold release : plain script      {cold / used["plain"]:5.2f}  (at most {TARGETS["cold"]})
again : cold                     {again / cold:5.2f}  (at most {TARGETS["again"]})
slipway --help                   {used["help"]:5.2f} s (at most {TARGETS["help"]})
""")
    missed = (
        cold > TARGETS["cold"] * used["plain"]
        or again > TARGETS["again"] * cold
        or used["help"] > TARGETS["help"]
    )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
