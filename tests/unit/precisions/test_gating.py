"""Calibration data: what is refused, and what is said of it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slipway.errors import DataError
from slipway.precisions.gating import audit_data, choose_samples
from slipway.samples.arrays import Array, Samples, save_npz
from tests import tiny_models


def rows(count: int, scale: float = 1.0, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    return (random.standard_normal((count, 16)) * scale).astype(np.float32)


def test_chosen_samples_are_spread_over_the_data(tmp_path: Path) -> None:
    model = tiny_models.mlp()
    data = Samples({"x": np.repeat(np.arange(100.0), 16).reshape(100, 16)})
    chosen = choose_samples(model, data, count=5, work=tmp_path)
    assert chosen["x"][:, 0].tolist() == [0, 25, 50, 74, 99]


def codes(samples: Samples, evaluation: Samples | None = None) -> list[str]:
    return [finding.code for finding in audit_data(samples, evaluation)]


def test_good_data_is_passed_without_a_word() -> None:
    assert (
        codes(Samples({"x": rows(100)}), Samples({"x": rows(100, seed=1), "label": rows(100)}))
        == []
    )


def test_few_samples_are_said() -> None:
    assert codes(Samples({"x": rows(31)})) == ["calibration-few"]


def test_an_input_that_never_changes_is_said() -> None:
    (finding,) = audit_data(Samples({"x": rows(40), "mask": np.ones((40, 3), np.int64)}))
    assert finding.code == "calibration-constant"
    assert finding.place == "mask"


def test_inputs_scaled_in_another_way_than_the_evaluations_are_refused() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16)).astype(np.float32)
    for ours, theirs in ((pixels, pixels / 255), (pixels / 255, pixels)):
        with pytest.raises(DataError, match=r"x lies in \[.*\]; prepare both in the same way"):
            audit_data(Samples({"x": ours}), Samples({"x": theirs}))


def test_data_narrower_than_the_evaluations_is_said() -> None:
    half = np.clip(rows(100), -1, 1)
    assert codes(Samples({"x": half}), Samples({"x": rows(100)})) == ["calibration-narrow"]


def test_samples_of_another_name_or_shape_are_refused(tmp_path: Path) -> None:
    model = tiny_models.mlp()
    with pytest.raises(DataError, match="no array named 'x'"):
        choose_samples(model, Samples({"y": rows(5)}), count=3, work=tmp_path)
    with pytest.raises(DataError, match=r"\[5, 15\], the model takes \[batch, 16\]"):
        choose_samples(model, Samples({"x": rows(5)[:, 1:]}), count=3, work=tmp_path)


PEAK = """
import sys
from pathlib import Path
from slipway.precisions.gating import choose_samples
from slipway.precisions.states import digest_samples
from slipway.samples.arrays import map_samples
from tests import tiny_models

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10

model = tiny_models.with_weights(
    '<ir_version: 10, opset_import: ["" : 18]>'
    "g (float[batch, 16384] x) => (float[batch, 16384] y) { y = Relu (x) }"
)
before = peak()
folder = Path(sys.argv[1])
chosen = choose_samples(model, map_samples(folder / "data.npz"), count=700, work=folder)
digest_samples(chosen)
print(len(chosen), peak() - before)
"""


def test_samples_are_chosen_in_little_memory_from_a_large_file(tmp_path: Path) -> None:
    values = np.arange(1000, dtype=np.float32)[:, np.newaxis] + np.zeros(16384, np.float32)
    save_npz(tmp_path / "data.npz", {"x": values})
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], check=True, capture_output=True, text=True
    )
    count, grown = map(int, done.stdout.split())
    assert count == 700
    # What was chosen takes 46 MB, and the file 66.
    assert grown < 20e6
