"""Ranges against a peer's, onnxruntime's own calibrators on the same samples, to the last bit."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from slipway.errors import DataError
from slipway.precisions.calibration import (
    calibrate,
    choose_ranges,
    collect,
    plan_calibration,
    second_pass,
)
from slipway.precisions.policy import choose_op_types
from slipway.precisions.preprocess import preprocess
from slipway.precisions.ranges import MeasuredRanges, Range
from slipway.precisions.sharding import share_of
from slipway.precisions.states import State, merge_states
from slipway.samples.arrays import Samples
from slipway.specs import CalibrationMethod, Optimization
from tests import tiny_models

METHODS: tuple[CalibrationMethod, ...] = ("mse", "minmax", "percentile", "entropy")


@pytest.fixture
def samples() -> Samples:
    random = np.random.default_rng(0)
    return Samples({"image": random.standard_normal((30, 1, 8, 8)).astype(np.float32)})


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return preprocess(tiny_models.cnn(), tmp_path)


def ranges(
    model: Path,
    samples: Samples,
    method: CalibrationMethod = "minmax",
    optimization: Optimization = "extended",
    percentile: float = 99.999,
) -> MeasuredRanges:
    return calibrate(
        model,
        samples,
        method=method,
        op_types=op_types_for(method, model),
        optimization=optimization,
        percentile=percentile,
    )


def op_types_for(method: CalibrationMethod, model: Path) -> tuple[str, ...]:
    """All that are quantized; few for entropy, which takes the peer seconds a tensor."""
    return ("Gemm",) if method == "entropy" else choose_op_types(onnx.load(model))


def peer_ranges(
    model: Path, samples: Samples, method: CalibrationMethod, percentile: float = 99.999
) -> dict[str, Range]:
    from onnxruntime.quantization.calibrate import CalibrationMethod as Theirs
    from onnxruntime.quantization.calibrate import create_calibrator

    class Reader:
        def __init__(self) -> None:
            self.batches: Iterator[Samples] = samples.batches(1)

        def get_next(self) -> object:
            batch = next(self.batches, None)
            return dict(batch.arrays) if batch is not None else None

    calibrator = create_calibrator(
        str(model),
        list(op_types_for(method, model)),
        augmented_model_path=str(model.with_name("augmented.onnx")),
        calibrate_method={
            "minmax": Theirs.MinMax,
            "percentile": Theirs.Percentile,
            "entropy": Theirs.Entropy,
        }[method],
        extra_options={
            "percentile": {"percentile": percentile},
            # Its default of 128 bins leaves one candidate, the extremes.
            "entropy": {"num_bins": 2048},
        }.get(method, {}),
    )
    calibrator.collect_data(Reader())
    return {
        name: (float(np.min(data.range_value[0])), float(np.max(data.range_value[1])))
        for name, data in calibrator.compute_data().items()
    }


@pytest.mark.parametrize(
    ("method", "percentile"),
    [("minmax", 0), ("percentile", 99.999), ("percentile", 98.0), ("percentile", 60.0),
     ("percentile", 100.0), ("entropy", 0)],
)  # fmt: skip
def test_ranges_are_onnxruntimes_bit_for_bit(
    method: CalibrationMethod, percentile: float, prepared: Path, samples: Samples
) -> None:
    theirs = peer_ranges(prepared, samples, method, percentile)
    assert dict(ranges(prepared, samples, method, percentile=percentile)) == theirs


def test_at_full_optimization_ranges_are_onnxruntimes_up_to_rounding(
    prepared: Path, samples: Samples
) -> None:
    methods: tuple[CalibrationMethod, ...] = ("minmax", "percentile")
    for method in methods:
        ours = ranges(prepared, samples, method, "all")
        for name, expected in peer_ranges(prepared, samples, method).items():
            assert ours[name] == pytest.approx(expected, rel=1e-6), (method, name)


def test_what_was_seen_is_told_beside_what_was_chosen(prepared: Path, samples: Samples) -> None:
    extremes = ranges(prepared, samples)
    for method in METHODS:
        found = ranges(prepared, samples, method)
        assert found.observed.items() <= dict(extremes).items()
        for name, (low, high) in found.items():
            assert min(0, extremes[name][0]) <= low <= high <= max(0, extremes[name][1])
            assert found.largest(name) == max(map(abs, extremes[name]))


def test_only_the_tensors_asked_for_are_measured(prepared: Path, samples: Samples) -> None:
    found = calibrate(prepared, samples, method="minmax", tensors=["image"])
    assert set(found) == {"image"}


def test_a_tensor_that_is_not_there_is_refused(prepared: Path, samples: Samples) -> None:
    with pytest.raises(DataError, match="no tensor 'absent'"):
        calibrate(prepared, samples, method="minmax", tensors=["absent"])


@pytest.mark.parametrize("optimization", ["extended", "all"])
def test_entropy_is_not_minmax_by_another_name(prepared: Path, optimization: Optimization) -> None:
    random = np.random.default_rng(0)
    heavy_tailed = random.standard_t(3, (64, 1, 8, 8)).astype(np.float32)
    found = calibrate(
        prepared,
        Samples({"image": heavy_tailed}),
        method="entropy",
        tensors=["image"],
        optimization=optimization,
    )
    low, high = found["image"]
    seen = found.observed["image"]
    assert high - low < 0.8 * (seen[1] - seen[0])


@pytest.mark.parametrize("optimization", ["extended", "all"])
@pytest.mark.parametrize("method", METHODS)
def test_order_and_batching_do_not_matter(
    method: CalibrationMethod,
    optimization: Optimization,
    prepared: Path,
    samples: Samples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forth = ranges(prepared, samples, method, optimization)
    shuffled = np.random.default_rng(1).permutation(samples["image"])
    for batch in (1, 7, 30):  # of 30 samples, after the first one: with a smaller last batch
        monkeypatch.setattr("slipway.precisions.exposing.MOST_SAMPLES", batch)
        assert ranges(prepared, Samples({"image": shuffled}), method, optimization) == forth


@pytest.mark.parametrize("method", METHODS)
def test_shards_merge_to_the_same_ranges_in_any_order(
    method: CalibrationMethod, prepared: Path, samples: Samples, tmp_path: Path
) -> None:
    op_types = op_types_for(method, prepared)
    plan = plan_calibration(
        prepared, planned=30, method=method, op_types=op_types, optimization="extended"
    )
    while True:
        paths = [tmp_path / f"{start}.npz" for start in (0, 11, 23)]
        for path, (start, stop) in zip(paths, [(0, 11), (11, 23), (23, 30)], strict=True):
            collect(prepared, samples, plan, start=start, stop=stop).save(path)
        merged = merge_states(State.load(path) for path in paths)
        turned = merge_states(State.load(path) for path in reversed(paths))
        merged.save(tmp_path / "merged.npz")
        turned.save(tmp_path / "turned.npz")
        assert (tmp_path / "merged.npz").read_bytes() == (tmp_path / "turned.npz").read_bytes()
        following = second_pass(merged)
        if following is None:
            break
        plan = following
    assert choose_ranges(merged) == ranges(prepared, samples, method)


def test_a_killed_calibration_resumes_from_its_saved_state(
    prepared: Path, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.precisions.calibration.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr("slipway.precisions.calibration.SAVE_SHARE", 0)
    monkeypatch.setattr("slipway.precisions.exposing.MOST_SAMPLES", 4)
    state, seen = tmp_path / "state.npz", []
    wanted = ranges(prepared, samples, "entropy")

    def killed(done: int, *_: object) -> None:
        if done > 12:
            raise KeyboardInterrupt

    def again(progress: object = None) -> Mapping[str, Range]:
        return calibrate(
            prepared,
            samples,
            method="entropy",
            op_types=op_types_for("entropy", prepared),
            optimization="extended",
            state=state,
            progress=progress,  # type: ignore[arg-type]
        )

    with pytest.raises(KeyboardInterrupt):
        again(killed)
    assert State.load(state).samples >= 8
    assert again(lambda done, *_: seen.append(done)) == wanted
    # What was done is not done again; then comes the second pass over all of them.
    assert seen[0] >= 8
    seen.clear()
    assert again(lambda done, *_: seen.append(done)) == wanted
    assert seen == [30]


def test_a_state_of_another_method_or_model_is_refused_by_name(
    prepared: Path, samples: Samples, tmp_path: Path
) -> None:
    state = tmp_path / "state.npz"
    calibrate(prepared, samples, method="minmax", tensors=["image"], state=state)
    with pytest.raises(DataError, match="of another method: minmax, not mse"):
        calibrate(prepared, samples, method="mse", tensors=["image"], state=state)
    model = onnx.load(prepared)
    tiny_models.replace_weight(
        model,
        model.graph.initializer[0].name,
        tiny_models.weight(model, model.graph.initializer[0].name) * 2,
    )
    onnx.save(model, prepared)
    with pytest.raises(DataError, match="of another model"):
        calibrate(prepared, samples, method="minmax", tensors=["image"], state=state)


def test_a_state_of_other_data_is_refused(prepared: Path, samples: Samples, tmp_path: Path) -> None:
    state = tmp_path / "state.npz"
    calibrate(prepared, samples, method="minmax", tensors=["image"], state=state)
    other = Samples({"image": samples["image"] * 2})
    with pytest.raises(DataError, match="of other data"):
        calibrate(prepared, other, method="minmax", tensors=["image"], state=state)


def test_samples_counted_twice_are_refused(prepared: Path, samples: Samples) -> None:
    plan = plan_calibration(prepared, planned=30, method="minmax", tensors=["image"])
    first = collect(prepared, samples, plan, start=0, stop=20)
    with pytest.raises(DataError, match=r"samples 15 to 19 .* counted in both"):
        first.merge(collect(prepared, samples, plan, start=15, stop=30))


@pytest.mark.parametrize("damage", ["cut", "other", "version"])
def test_a_damaged_state_is_refused(
    damage: str, prepared: Path, samples: Samples, tmp_path: Path
) -> None:
    path = tmp_path / "state.npz"
    calibrate(prepared, samples, method="minmax", tensors=["image"], state=path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "other":
        np.savez(path, header=np.zeros(3))
    else:
        path.write_bytes(
            path.read_bytes().replace(
                b"v\0\0\0e\0\0\0r\0\0\0s\0\0\0i\0\0\0o\0\0\0n",
                b"x\0\0\0e\0\0\0r\0\0\0s\0\0\0i\0\0\0o\0\0\0n",
            )
        )
    with pytest.raises(DataError, match=r"state\.npz|header|cannot be read"):
        State.load(path)


def test_a_model_with_fixed_batches_needs_a_whole_one(tmp_path: Path, samples: Samples) -> None:
    model = tiny_models.cnn()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    prepared = preprocess(model, tmp_path)
    first = samples["image"][:24]
    for _ in ("counted", "resumed with what makes no batch left over"):
        found = calibrate(
            prepared, samples, method="minmax", tensors=["image"], state=tmp_path / "state.npz"
        )
        assert found["image"] == (float(first.min()), float(first.max()))
    with pytest.raises(DataError, match="batches of 8 and there are 5 calibration samples"):
        calibrate(prepared, samples.rows(0, 5), method="minmax", tensors=["image"])


@given(st.integers(1, 400), st.integers(1, 9), st.sampled_from([1, 2, 8]))
def test_shares_are_all_samples_once_in_whole_batches(count: int, of: int, batch: int) -> None:
    shares = [share_of(count, number=it + 1, of=of, batch=batch) for it in range(of)]
    assert [sample for share in shares for sample in range(*share)] == list(range(count))
    assert all(start % batch == 0 for start, _ in shares)


def test_weights_in_external_data_stay_there(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((16, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 16])],
        [helper.make_tensor_value_info("y", 1, ["n", 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path / "model.onnx"
    onnx.save_model(
        model, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0
    )
    x = random.standard_normal((9, 16)).astype(np.float32)
    before = sorted(tmp_path.iterdir())
    found = calibrate(path, Samples({"x": x}), method="minmax", op_types=["MatMul"])
    assert found["y"] == pytest.approx(((x @ weight).min(), (x @ weight).max()), rel=1e-5)
    assert sorted(tmp_path.iterdir()) == before
