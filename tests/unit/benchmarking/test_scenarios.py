"""Arrivals, queues and sweeps: exact where time is simulated, whole where it is real."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from slipway.benchmarking.arms import Arm
from slipway.benchmarking.scenarios import poisson_arrivals, serve
from slipway.benchmarking.sweeps import best_of, saturation
from slipway.isolation.runner import Limits, run_isolated
from slipway.protocols import BenchmarkRequest
from slipway.reports import (
    BenchmarkReport,
    BenchmarkSuite,
    Estimate,
    ScenarioReport,
    SessionSettings,
    Verdict,
)
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import BenchmarkSpec
from slipway.stages.workspace import PRELOAD
from tests import tiny_models

UNKNOWN = Estimate(value_ms=None, low_ms=None, high_ms=None)


class World:
    """A clock that only queries and waits move."""

    def __init__(self, services: list[int]) -> None:
        self.now = 0
        self.services = iter(services)

    def clock(self) -> int:
        return self.now

    def query(self) -> None:
        self.now += next(self.services)

    def wait(self, moment: int) -> None:
        self.now = max(self.now, moment)


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), min_size=1, max_size=60),
    st.integers(1, 4),
)
@settings(max_examples=60)
def test_latencies_are_those_of_a_queue_with_one_server(
    drawn: list[tuple[int, int]], batch: int
) -> None:
    arrivals = np.cumsum([gap for gap, _ in drawn]).tolist()
    services = [service for _, service in drawn]
    world = World(services)
    latencies, running = serve(
        world.query, arrivals, batch=batch, most_s=60, clock=world.clock, wait=world.wait
    )
    free, expected = 0, []
    for number in range(len(arrivals) // batch):
        members = arrivals[number * batch : (number + 1) * batch]
        free = max(free, members[-1]) + services[number]  # Lindley's recursion
        expected += [free - moment for moment in members]
    assert latencies == expected
    assert running == sum(services[: len(arrivals) // batch])


def test_serving_ends_when_its_time_is_over() -> None:
    world = World([10**9] * 100)
    latencies, _ = serve(
        world.query, [0] * 100, batch=1, most_s=3.5, clock=world.clock, wait=world.wait
    )
    assert len(latencies) == 4


def test_arrivals_come_at_the_asked_rate_and_without_memory() -> None:
    arrivals = poisson_arrivals(rate=100.0, samples=20_000, seed=0)
    gaps = np.diff(arrivals) / 1e9
    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    assert gaps.std() == pytest.approx(0.01, rel=0.03)


def offline_row(batch: int, throughput: float) -> ScenarioReport:
    return ScenarioReport(
        scenario="offline",
        precision="fp32",
        batch_size=batch,
        queries=33,
        p50=UNKNOWN,
        p95=UNKNOWN,
        p99=UNKNOWN,
        throughput=throughput,
    )


def test_throughput_saturates_where_twice_the_batch_gives_under_five_percent() -> None:
    rows = [offline_row(1, 100), offline_row(2, 180), offline_row(4, 186), offline_row(8, 300)]
    assert saturation(rows) == 2
    assert saturation(rows[:1]) == 1
    assert saturation([]) is None


def measured_row(label: str, verdict: Verdict, ratio: float | None) -> BenchmarkReport:
    return BenchmarkReport(
        precision=label,
        provider="cpu",
        batch_size=1,
        queries=700,
        p50=UNKNOWN,
        p95=UNKNOWN,
        p99=UNKNOWN,
        throughput=1.0,
        ratio=ratio,
        ratio_interval=(ratio, ratio) if ratio else None,
        verdict=verdict,
    )


@pytest.mark.parametrize(
    ("labels", "chosen"), [(("fp32", "fp16"), "fp16"), (("a.onnx", "b.onnx"), "b.onnx")]
)
def test_a_sweep_is_of_the_arm_that_is_fastest_for_sure(
    labels: tuple[str, str], chosen: str
) -> None:
    arms = [
        Arm(
            label=label,
            model=Path(label),
            provider="cpu",
            settings=SessionSettings(intra_op_threads=1),
            cache=Path(),
            options={},
        )
        for label in labels
    ]
    rows = [measured_row(labels[0], "baseline", None), measured_row(labels[1], "faster", 0.5)]
    assert best_of(arms, rows, slo_p99_ms=None).label == chosen
    equal = [rows[0], measured_row(labels[1], "no difference", 0.99)]
    assert best_of(arms, equal, slo_p99_ms=None).label == labels[0]


def test_the_server_scenario_needs_a_rate() -> None:
    with pytest.raises(ValidationError, match="needs arrival_rate"):
        BenchmarkSpec(scenarios=("server",))


def test_scenarios_and_a_sweep_are_measured(tmp_path: Path) -> None:
    model = tiny_models.save(tiny_models.mlp(), tmp_path)
    golden = tmp_path / "golden.npz"
    case = {"x": np.ones((1, 16), np.float32)}
    GoldenSet((GoldenCase(case, {"y": np.zeros((1, 4), np.float32)}),)).save(golden)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = {
        "scenarios": ["single-stream", "offline", "server"],
        "arrival_rate": 2000,
        "slo_p99_ms": 60_000,
        "queries": 30,
        "processes": 2,
        "sweep": {"max_batch_size": 2},
    }
    suite = run_isolated(
        "slipway.benchmarking.harness:measure",
        BenchmarkRequest(
            models={"fp32": model}, golden=golden, options=BenchmarkSpec.model_validate(options)
        ),
        returns=BenchmarkSuite,
        scratch=scratch,
        what="the benchmark",
        preload=PRELOAD,
        limits=Limits(timeout_s=250),
    )
    kinds = [(row.scenario, row.batch_size) for row in suite.scenarios]
    assert kinds[0] == ("offline", 1)
    assert kinds[-1] == ("server", 1)
    served = suite.scenarios[-1]
    assert served.queries == 30
    assert served.arrival_rate == 2000
    assert served.p99.value_ms is None  # thirty samples tell no p99
    assert served.meets_slo is None
    assert suite.sweep is not None
    assert suite.sweep.precision == "fp32"
    assert {trial.settings.execution_mode for trial in suite.sweep.trials} == {
        "sequential",
        "parallel",
    }
    assert {trial.settings.graph_optimization for trial in suite.sweep.trials} >= {"none", "basic"}
    assert suite.sweep.best_batch_size in {1, 2}
    assert suite.sweep.largest_within_slo is None
