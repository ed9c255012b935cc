"""Ranges against a peer's: onnxruntime's own calibrators on the same model and samples."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from slipway.precisions import graphs
from slipway.precisions.audit import Ranges
from slipway.precisions.calibration import calibrate, choose_samples
from slipway.precisions.int8_static import choose_op_types
from slipway.precisions.preprocess import preprocess
from slipway.samples.arrays import Samples
from slipway.specs import CalibrationMethod
from tests import tiny_models


@pytest.fixture
def samples() -> Samples:
    random = np.random.default_rng(0)
    return Samples({"image": random.standard_normal((30, 1, 8, 8)).astype(np.float32)})


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return preprocess(tiny_models.cnn(), tmp_path)


def ranges(model: Path, samples: Samples, method: CalibrationMethod = "minmax") -> Ranges:
    op_types = choose_op_types(graphs.load_model(model))
    return calibrate(model, samples, method=method, op_types=op_types)


def peer_ranges(model: Path, samples: Samples) -> Ranges:
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    class Reader:
        def __init__(self) -> None:
            self.batches: Iterator[Samples] = samples.batches(1)

        def get_next(self) -> object:
            batch = next(self.batches, None)
            return dict(batch.arrays) if batch is not None else None

    calibrator = create_calibrator(
        str(model),
        list(choose_op_types(graphs.load_model(model))),
        augmented_model_path=str(model.with_name("augmented.onnx")),
        calibrate_method=CalibrationMethod.MinMax,
    )
    calibrator.collect_data(Reader())
    found = calibrator.compute_data()
    return {
        name: (float(np.min(data.lowest)), float(np.max(data.highest)))
        for name, data in found.items()
    }


def test_minmax_ranges_are_onnxruntimes(prepared: Path, samples: Samples) -> None:
    ours, theirs = ranges(prepared, samples), peer_ranges(prepared, samples)
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        assert ours[name] == pytest.approx(expected, rel=1e-6), name


def test_every_method_stays_within_the_extremes(prepared: Path, samples: Samples) -> None:
    extremes = ranges(prepared, samples)
    for method in ("percentile", "entropy"):
        for name, (low, high) in ranges(prepared, samples, method).items():
            assert extremes[name][0] - 1e-6 <= low <= high <= extremes[name][1] + 1e-6


def test_entropy_is_not_minmax_by_another_name(prepared: Path) -> None:
    random = np.random.default_rng(0)
    heavy_tailed = random.standard_t(3, (64, 1, 8, 8)).astype(np.float32)
    samples = Samples({"image": heavy_tailed})
    extremes, entropy = ranges(prepared, samples), ranges(prepared, samples, "entropy")
    width = {name: high - low for name, (low, high) in extremes.items()}
    assert entropy["image"][1] - entropy["image"][0] < 0.8 * width["image"]


def test_the_order_of_the_samples_does_not_matter(prepared: Path, samples: Samples) -> None:
    shuffled = np.random.default_rng(1).permutation(samples["image"])
    for method in ("minmax", "percentile", "entropy"):
        forth = ranges(prepared, samples, method)
        back = ranges(prepared, Samples({"image": shuffled}), method)
        for name, expected in forth.items():
            assert back[name] == pytest.approx(expected, rel=1e-5)


def test_chosen_samples_are_spread_over_the_data() -> None:
    model = tiny_models.mlp()
    data = Samples({"x": np.repeat(np.arange(100.0), 16).reshape(100, 16)})
    chosen = choose_samples(model, data, count=5)
    assert chosen["x"][:, 0].tolist() == [0, 25, 50, 74, 99]
