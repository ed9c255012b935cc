"""The measurement on real sessions: interleaved, bounded, and honest about the machine."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from slipway.benchmarking import loop
from slipway.benchmarking.inputs import (
    BatchDimension,
    largest_case,
    make_feeds,
    settle_dimensions,
)
from slipway.benchmarking.loop import run_interleaved, warm_up
from slipway.benchmarking.placement import (
    AFFINITIES,
    allotted,
    caller_pinned,
    session_entries,
)
from slipway.errors import (
    CheckFailed,
    ChildOutOfMemory,
    DataError,
    RequestError,
    SpecError,
)
from slipway.isolation.runner import Limits, run_isolated
from slipway.protocols import BenchmarkRequest
from slipway.providers import allotted_cores
from slipway.providers.sessions import Session
from slipway.reports import BenchmarkSuite, TensorInfo
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import BenchmarkSpec, Precision
from slipway.stages.workspace import PRELOAD
from tests import tiny_models

WIDE = """
<ir_version: 10, opset_import: ["" : 18]>
wide (float[batch, 16] x) => (float[batch, 4] y) {
    h = MatMul (x, first)
    a = MatMul (h, second)
    y = MatMul (a, third)
}
"""


def spec(**changes: object) -> BenchmarkSpec:
    return BenchmarkSpec.model_validate(
        {"queries": 30, "processes": 3, "max_seconds": 5, "intra_op_threads": 1, **changes}
    )


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    cases = tuple(
        GoldenCase(
            {"x": random.standard_normal((n, 16)).astype(np.float32)},
            {"y": np.zeros((n, 4), np.float32)},
        )
        for n in (1, 3)
    )
    path = tmp_path / "golden.npz"
    GoldenSet(cases).save(path)
    return path


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    return tiny_models.save(tiny_models.mlp(), tmp_path, "mlp.onnx")


@pytest.fixture
def heavy(tmp_path: Path) -> Path:
    shapes: dict[str, tuple[int, ...]] = {
        "first": (16, 1500),
        "second": (1500, 1500),
        "third": (1500, 4),
    }
    return tiny_models.save(tiny_models.with_weights(WIDE, shapes), tmp_path, "heavy.onnx")


def request(models: dict[Precision, Path], golden: Path, **changes: object) -> BenchmarkRequest:
    return BenchmarkRequest(models=models, golden=golden, options=spec(**changes))


def measure(
    request: BenchmarkRequest, folder: Path, *, memory_bytes: int | None = None
) -> BenchmarkSuite:
    """As a stage does it: in a child that has no onnxruntime of its own."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return run_isolated(
        "slipway.benchmarking.harness:measure",
        request,
        returns=BenchmarkSuite,
        scratch=scratch,
        what="the benchmark",
        preload=PRELOAD,
        limits=Limits(timeout_s=250, memory_bytes=memory_bytes),
    )


def test_a_much_slower_variant_is_called_slower(
    mlp: Path, heavy: Path, golden: Path, tmp_path: Path
) -> None:
    result = measure(request({"fp32": mlp, "fp16": heavy}, golden), tmp_path)
    baseline, slow = result.rows
    assert (baseline.verdict, baseline.ratio, baseline.ratio_interval) == ("baseline", None, None)
    assert slow.verdict == "slower"
    assert slow.ratio is not None
    assert slow.ratio > 2
    reverse = measure(request({"fp32": heavy, "fp16": mlp}, golden), tmp_path)
    assert reverse.rows[1].verdict == "faster"


def test_every_variant_is_measured_at_every_batch_size(
    mlp: Path, golden: Path, tmp_path: Path
) -> None:
    models: dict[Precision, Path] = {"fp32": mlp, "fp16": mlp}
    result = measure(request(models, golden, batch_sizes=[1, 4]), tmp_path)
    assert [(r.precision, r.batch_size) for r in result.rows] == [
        ("fp32", 1),
        ("fp16", 1),
        ("fp32", 4),
        ("fp16", 4),
    ]
    assert all(r.queries >= 30 and r.throughput > 0 for r in result.rows)
    assert all(r.processes >= 3 for r in result.rows)


def test_few_queries_give_a_median_and_no_p99(mlp: Path, golden: Path, tmp_path: Path) -> None:
    (row,) = measure(request({"fp32": mlp}, golden), tmp_path).rows
    assert row.p50.value_ms is not None
    assert row.p99.value_ms is None


def test_enough_queries_give_a_p99(mlp: Path, golden: Path, tmp_path: Path) -> None:
    options = {"queries": 700, "slo_p99_ms": 1000.0}
    (row,) = measure(request({"fp32": mlp}, golden, **options), tmp_path).rows
    assert row.p99.value_ms is not None
    assert row.meets_slo is True


def test_an_impossible_objective_is_missed(heavy: Path, golden: Path, tmp_path: Path) -> None:
    (row,) = measure(request({"fp32": heavy}, golden, slo_p99_ms=0.001), tmp_path).rows
    assert row.meets_slo is False


def test_the_objective_is_judged_at_batch_size_one_alone(
    mlp: Path, golden: Path, tmp_path: Path
) -> None:
    asked = request({"fp32": mlp}, golden, slo_p99_ms=0.0001, batch_sizes=[2])
    (row,) = measure(asked, tmp_path).rows
    assert row.meets_slo is None


def test_the_time_budget_ends_the_measurement(heavy: Path, golden: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    asked = request({"fp32": heavy}, golden, queries=1_000_000, max_seconds=0.3)
    (row,) = measure(asked, tmp_path).rows
    # A million queries would take ten minutes; a busy machine may need seconds for one batch.
    assert time.monotonic() - started < 60
    assert 0 < row.queries < 1_000_000


def test_conditions_are_recorded(mlp: Path, golden: Path, tmp_path: Path) -> None:
    conditions = measure(request({"fp32": mlp}, golden), tmp_path).conditions
    assert conditions is not None
    assert conditions.intra_op_threads == 1
    assert conditions.cores == allotted_cores()
    assert conditions.confidence == 0.95
    assert conditions.cpu
    assert conditions.onnxruntime


def test_a_fixed_batch_is_measured_at_its_own_size_alone(golden: Path, tmp_path: Path) -> None:
    model = tiny_models.mlp()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    path = tiny_models.save(model, tmp_path)
    (row,) = measure(request({"fp32": path}, golden, batch_sizes=[1, 8]), tmp_path).rows
    assert row.batch_size == 3


def test_a_golden_set_of_another_model_is_refused(golden: Path, tmp_path: Path) -> None:
    path = tiny_models.save(tiny_models.cnn(), tmp_path)
    with pytest.raises(DataError, match="no input 'image'; it has x"):
        measure(request({"fp32": path}, golden), tmp_path)


def test_no_models_are_refused(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="at least one model"):
        measure(request({}, golden), tmp_path)


def test_a_file_that_is_no_model_is_refused(golden: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(CheckFailed, match=r"broken\.onnx"):
        measure(request({"fp32": path}, golden), tmp_path)


def test_variants_take_turns_in_an_order_that_changes() -> None:
    seen: list[str] = []
    window = run_interleaved(
        {"fp32": lambda: seen.append("a"), "fp16": lambda: seen.append("b")},
        batch_size=1,
        rounds=200,
        most_s=60,
        threads=1,
        waits=False,
        seed=0,
    )
    assert window.rounds == 200
    measured = seen[-400:]
    rounds = [tuple(measured[i : i + 2]) for i in range(0, 400, 2)]
    assert set(rounds) == {("a", "b"), ("b", "a")}
    assert 60 < rounds.count(("a", "b")) < 140


def test_warming_up_ends_when_latency_is_stable() -> None:
    assert warm_up(lambda: None, most_s=60, clock=ticking([50, 40, 30, 20, 15] + [10] * 100)) == 13


def test_warming_up_is_bounded() -> None:
    growing = ticking([int(1.05**i * 1000) for i in range(200)])
    assert warm_up(lambda: None, most_s=60, clock=growing) == loop.WARMUP_MOST
    growing = ticking([int(1.05**i * 1000) for i in range(200)])
    assert warm_up(lambda: None, most_s=60, most=12, clock=growing) == 12
    assert warm_up(lambda: None, most_s=1e-9, clock=ticking([10] * 10)) == 1


def ticking(latencies: list[int]) -> "Clock":
    return Clock(latencies)


class Clock:
    """A clock under which each query takes the next of the given times."""

    def __init__(self, latencies: list[int]) -> None:
        self.times = self._times(latencies)

    def __call__(self) -> int:
        return next(self.times)

    @staticmethod
    def _times(latencies: list[int]) -> Iterator[int]:
        now = 0
        yield now
        for latency in latencies:
            yield now
            now += latency
            yield now
            yield now


@pytest.mark.parametrize("threads", [1, 2])
def test_one_model_measured_as_two_variants_is_about_as_fast(
    threads: int, tmp_path: Path, golden: Path, mlp: Path
) -> None:
    asked = request({"fp32": mlp, "fp16": mlp}, golden, queries=300, intra_op_threads=threads)
    ratio = measure(asked, tmp_path).rows[1].ratio
    assert ratio is not None
    assert 0.8 < ratio < 1.25


def test_the_caller_is_pinned_only_while_workers_have_the_other_cores() -> None:
    before = os.sched_getaffinity(0)
    with caller_pinned(2, allotted()):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    with caller_pinned(1, allotted()):
        assert os.sched_getaffinity(0) == before


def test_workers_are_put_on_cores_of_their_own() -> None:
    assert session_entries(3, (4, 6, 8)) == {AFFINITIES: "7;9"}
    assert session_entries(1, (4, 6, 8)) == {}
    assert session_entries(4, (4, 6, 8)) == {}


# What must hold before anything is timed


def test_every_node_of_a_model_on_the_cpu_ran_there(
    mlp: Path, golden: Path, tmp_path: Path
) -> None:
    (placed,) = measure(request({"fp32": mlp}, golden), tmp_path).placements
    assert placed.share == 1
    assert placed.copies == 0
    assert sum(placed.operators["CPUExecutionProvider"].values()) >= 3


def test_a_provider_that_is_not_there_is_reported_with_the_cpu_s_rows_labelled(
    mlp: Path, golden: Path, tmp_path: Path
) -> None:
    asked = request({"fp32": mlp}, golden, providers=["cuda"])
    suite = measure(asked.model_copy(update={"provider": "cuda"}), tmp_path)
    assert suite.provider == "cuda"
    assert suite.status == "missing environment"
    assert suite.reason is not None
    assert "onnxruntime-gpu" in suite.reason
    assert [row.provider for row in suite.rows] == ["cpu fallback for cuda"]


def test_no_fallback_is_measured_where_the_cpu_is_anyway(
    mlp: Path, golden: Path, tmp_path: Path
) -> None:
    asked = request({"fp32": mlp}, golden, providers=["cpu", "cuda"])
    suite = measure(asked.model_copy(update={"provider": "cuda"}), tmp_path)
    assert suite.status == "missing environment"
    assert suite.rows == ()


def test_an_unknown_provider_option_is_named(mlp: Path, golden: Path, tmp_path: Path) -> None:
    asked = request({"fp32": mlp}, golden, provider_options={"cpu": {"use_arina": False}})
    with pytest.raises(SpecError, match=r"provider_options\.cpu\.use_arina.*use_arena"):
        measure(asked, tmp_path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = Log (x)", "output y holds NaN.*--golden"),
        ("r = RandomNormalLike (x)  y = Add (x, r)", "output y differs between two runs"),
    ],
)
def test_a_model_whose_latency_means_nothing_is_refused(
    body: str, message: str, golden: Path, tmp_path: Path
) -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 18]>
    g (float[batch, 16] x) => (float[batch, 16] y) {{ {body} }}"""
    path = tiny_models.save(onnx.parser.parse_model(text), tmp_path)
    with pytest.raises(CheckFailed, match=message):
        measure(request({"fp32": path}, golden), tmp_path)


def test_a_model_beyond_the_memory_limit_says_so(golden: Path, tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[batch, 16] x) => (float[batch, 16] y)
    <int64[3] much = {1000, 1000, 1000}, int64[2] axes = {0, 1}>
    { wide = Unsqueeze (x, axes)
      one = ReduceSum <keepdims = 0> (wide)
      huge = Expand (one, much)
      all = ReduceMax <keepdims = 0> (huge)
      y = Add (x, all) }"""
    path = tiny_models.save(onnx.parser.parse_model(text), tmp_path)
    with pytest.raises(ChildOutOfMemory, match="SLIPWAY_MEMORY_LIMIT_BYTES"):
        measure(request({"fp32": path}, golden), tmp_path, memory_bytes=2 << 30)


# Inputs


def tensors(**shapes: tuple[int | str | None, ...]) -> list[TensorInfo]:
    return [TensorInfo(name=n, dtype="float32", shape=s) for n, s in shapes.items()]


def test_inputs_without_the_batch_dimension_are_left_alone() -> None:
    inputs = tensors(x=("n", 4), table=(7, 4), other=("m", 2), number=())
    recorded: dict[str, Array] = {
        "x": np.arange(8, dtype=np.float32).reshape(2, 4),
        "table": np.ones((7, 4), np.float32),
        "other": np.ones((3, 2), np.float32),
        "number": np.array(1, np.float32),
    }
    feeds = make_feeds(inputs, recorded, batch=BatchDimension.of(inputs), size=5)
    assert {name: array.shape for name, array in feeds.items()} == {
        "x": (5, 4),
        "table": (7, 4),
        "other": (3, 2),
        "number": (),
    }
    np.testing.assert_array_equal(feeds["x"][4], feeds["x"][0])


def test_feeds_have_the_dtypes_of_the_variant() -> None:
    inputs = [TensorInfo(name="x", dtype="float16", shape=("n", 4))]
    feeds = make_feeds(
        inputs, {"x": np.ones((1, 4), np.float32)}, batch=BatchDimension.of(inputs), size=2
    )
    assert feeds["x"].dtype == np.float16


def test_the_largest_recorded_case_is_used(golden: Path) -> None:
    assert largest_case(GoldenSet.load(golden))["x"].shape == (3, 16)


def test_a_bound_query_runs_the_model(tmp_path: Path) -> None:
    session = Session(tiny_models.save(tiny_models.mlp(), tmp_path))
    query = session.bind({"x": np.ones((2, 16), np.float32)})
    query()
    with pytest.raises(CheckFailed, match="fails to run"):
        session.bind({"x": np.ones((2, 15), np.float32)})


def test_strings_are_fed_as_objects(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (string[n, 1] s) => (string[n, 1] t) { t = Identity (s) }"""
    session = Session(tiny_models.save(onnx.parser.parse_model(text), tmp_path))
    batch = BatchDimension.of(session.inputs)
    recorded = {"s": np.array([["a"], ["b"]])}
    session.bind(make_feeds(session.inputs, recorded, batch=batch, size=3))()


def test_sizes_that_nobody_can_guess_are_asked_for() -> None:
    tokens = tensors(ids=("batch", "sequence"), mask=("batch", "sequence"))
    with pytest.raises(DataError, match=r"ids has shape \[batch, sequence\].*--dim sequence=128"):
        settle_dimensions(tokens, {})
    settled = settle_dimensions(tokens, {"sequence": 7})
    assert [tensor.shape for tensor in settled] == [("batch", 7), ("batch", 7)]
    with pytest.raises(DataError, match="there are batch, sequence"):
        settle_dimensions(tokens, {"sequense": 7})
    with pytest.raises(DataError, match=r"x has shape \[n, \?\].*--golden FILE\.npz$"):
        settle_dimensions(tensors(x=("n", None)), {})


def test_the_batch_alone_needs_no_size() -> None:
    images = tensors(image=(None, 3, 8, 8))
    assert settle_dimensions(images, {}) == tuple(images)
    pairs = tensors(a=("n", 4), b=(4, "n"))
    assert settle_dimensions(pairs, {}) == tuple(pairs)
