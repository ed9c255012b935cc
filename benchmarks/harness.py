"""What the benchmark harness is worth: false alarms, power, coverage, its own cost, its time.

    python benchmarks/harness.py [--sessions 60]

- A/A: one model as both arms, in sessions of the default budget. A verdict other than `no
  difference` is a false alarm: at most 5 % at 95 % confidence.
- Power: the second arm has 5 % more layers, all alike. `slower` in at least nine of ten sessions.
- Coverage: how often a session's interval of the ratio holds the long-run value, which is 1 in the
  A/A test, and the mean over all sessions in the other.
- Cost: CPU time per query of the harness's loop beside the tightest Python loop over the same bound
  inputs, in alternating blocks, at about 0.1 ms a query: less than 3 % more.
- Time: a default run of one model on one provider, from the command line: at most 30 s.

The tests prove the statistics on simulated noise; this is the real machine with all that runs
on it.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from slipway.artifacts import Value
from slipway.benchmarking.arms import Arm, bind_all, feeds_of
from slipway.benchmarking.collecting import Plan, collect
from slipway.benchmarking.inputs import BatchDimension
from slipway.benchmarking.loop import run_rounds
from slipway.benchmarking.processes import in_process
from slipway.benchmarking.rows import compare, windows_at
from slipway.reports import SessionSettings
from slipway.samples.arrays import Arrays
from slipway.specs import BenchmarkSpec

TARGETS = {"alarms": 0.05, "power": 0.9, "cost": 0.03, "seconds": 30}
LAYERS, MORE_LAYERS, WIDTH = 100, 105, 128
BLOCKS, QUERIES_A_BLOCK = 60, 200
RECORDED: Arrays = {"x": np.ones((1, WIDTH), np.float32)}


class Session(Value):
    """What one session said of its second arm."""

    verdict: str
    ratio: float
    low: float
    high: float
    disturbed: int
    seconds: float


class Costs(Value):
    """Nanoseconds of CPU time per query, block by block."""

    tight: tuple[float, ...]
    harness: tuple[float, ...]


def chain(layers: int, path: Path) -> Path:
    """A model of equal layers: its time is proportional to their number."""
    random = np.random.default_rng(0)
    weights = (random.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32)
    nodes = []
    for index in range(layers):
        source = "x" if index == 0 else f"a{index - 1}"
        nodes.append(helper.make_node("MatMul", [source, "w"], [f"m{index}"]))
        target = "y" if index == layers - 1 else f"a{index}"
        nodes.append(helper.make_node("Tanh", [f"m{index}"], [target]))
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH])
        for name in ("x", "y")
    ]
    graph = helper.make_graph(
        nodes, "chain", values[:1], values[1:], [numpy_helper.from_array(weights, "w")]
    )
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    return path


def arm(label: str, model: Path) -> Arm:
    """A model on one thread of the CPU."""
    return Arm(
        label=label,
        model=model,
        provider="cpu",
        settings=SessionSettings(intra_op_threads=1),
        cache=model.parent,
        options={},
    )


def run_session(first: Path, second: Path, number: int) -> Session:
    """One session of the default budget, as a release measures two variants."""
    arms = [arm("first", first), arm("second", second)]
    plan = Plan.of(BenchmarkSpec(), arms=len(arms))
    began = time.monotonic()
    found = collect(arms, RECORDED, plan, scratch=first.parent, seed=1000 * number)
    measured = windows_at(found, 1, wanted=plan.processes)
    ratio, interval, verdict = compare(measured, "second")
    if ratio is None or interval is None:
        sys.exit("the time sufficed for one process alone: there is no interval to judge")
    return Session(
        verdict=verdict,
        ratio=ratio,
        low=interval[0],
        high=interval[1],
        disturbed=measured.disturbed,
        seconds=time.monotonic() - began,
    )


def measure_costs(model: Path) -> Costs:
    """The harness's loop and the tightest one, in alternating blocks on the same session."""
    import onnxruntime as ort

    session = arm("model", model).open()
    batch = BatchDimension.of(session.inputs)
    feeds = feeds_of({"model": session}, RECORDED, batch=batch, size=1)
    query = bind_all({"model": session}, feeds)["model"]
    inner = session._session  # noqa: SLF001 - the tightest loop there is skips Python's own class
    binding = inner.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(RECORDED["x"], "cpu"))
    binding.bind_output("y", "cpu")
    run, bound = inner._sess.run_with_iobinding, binding._iobinding  # noqa: SLF001
    orders = [[0]] * QUERIES_A_BLOCK
    tight, harness = [], []
    for _ in range(BLOCKS):
        began = time.thread_time_ns()
        for _ in range(QUERIES_A_BLOCK):
            run(bound, None)
        middle = time.thread_time_ns()
        run_rounds([query], orders, most_s=600)
        ended = time.thread_time_ns()
        tight.append((middle - began) / QUERIES_A_BLOCK)
        harness.append((ended - middle) / QUERIES_A_BLOCK)
    return Costs(tight=tuple(tight), harness=tuple(harness))


def share(count: int, total: int) -> str:
    """A share with its 95 % interval, by Wilson's score."""
    p, z = count / total, 1.96
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    return f"{p:6.1%}  ({count} of {total}; {low:.1%} to {high:.1%})"


def covered(sessions: Sequence[Session], truth: float) -> int:
    """How many intervals hold the truth."""
    return sum(one.low <= truth <= one.high for one in sessions)


def main() -> None:
    """Measure and print a table; exit with 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=60)
    count = parser.parse_args().sessions
    with tempfile.TemporaryDirectory() as folder:
        model = chain(LAYERS, Path(folder) / "model.onnx")
        slower = chain(MORE_LAYERS, Path(folder) / "slower.onnx")
        costs = in_process(lambda: measure_costs(model), returns=Costs, what="the cost")
        began = time.monotonic()
        command = [str(Path(sys.executable).parent / "slipway"), "benchmark", str(model)]
        subprocess.run(command, check=True, capture_output=True)
        default_s = time.monotonic() - began
        same, more = [], []
        for number in range(count):
            same.append(run_session(model, model, 2 * number))
            more.append(run_session(model, slower, 2 * number + 1))
    report(same, more, costs, default_s)


def report(
    same: Sequence[Session], more: Sequence[Session], costs: Costs, default_s: float
) -> None:
    """Print what was found beside what was to be."""
    total = len(same)
    alarms = sum(one.verdict != "no difference" for one in same)
    found = sum(one.verdict == "slower" for one in more)
    truth = math.exp(statistics.mean(math.log(one.ratio) for one in more))
    width = statistics.median(one.high - one.low for one in same)
    disturbed = statistics.mean(one.disturbed for one in (*same, *more))
    cost = statistics.median(h / t - 1 for h, t in zip(costs.harness, costs.tight, strict=True))
    query_ms = min(costs.tight) / 1e6
    print(f"""
{total} sessions each, load {os.getloadavg()[0]:.1f}, {disturbed:.1f} disturbed processes a session

false alarms, one model twice        {share(alarms, total)}   at most 5 %
slowdown of {truth - 1:.1%} found              {share(found, total)}   at least 90 %
interval holds 1, one model twice    {share(covered(same, 1.0), total)}   about 95 %
interval holds the long-run slowdown {share(covered(more, truth), total)}   about 95 %
interval's width, median             {width:6.1%}
seconds a session, median            {statistics.median(one.seconds for one in same):6.1f}
cost over the tightest loop          {cost:6.1%}  at {query_ms:.3f} ms a query   below 3 %
default run of one model             {default_s:6.1f} s   at most 30 s
""")
    slack = 2 * math.sqrt(0.05 * 0.95 / total)  # what so few sessions can tell
    missed = (
        alarms / total > TARGETS["alarms"] + slack
        or found / total < TARGETS["power"]
        or cost > TARGETS["cost"]
        or default_s > TARGETS["seconds"]
    )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
