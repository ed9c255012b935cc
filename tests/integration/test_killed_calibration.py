"""A calibration killed halfway goes on where it was: real processes, SIGKILL, the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.precisions.relay import Tally, relay
from slipway.precisions.states import State
from slipway.samples.arrays import save_npz
from slipway.specs import ReleaseSpec
from slipway.stages.making import convert_model, fetch_materials
from tests import tiny_models

PROGRAM = (sys.executable, "-c", "from slipway.cli import main; main()")
SAMPLES = 3000
NETWORK = """
<ir_version: 10, opset_import: ["" : 18]>
network (float[batch, 1, 48, 48] image) => (float[batch, 8] scores) {
    a = Conv <pads = [1, 1, 1, 1]> (image, k1, b1)
    r = Relu (a)
    b = Conv <pads = [1, 1, 1, 1]> (r, k2, b2)
    s = Relu (b)
    c = Conv <pads = [1, 1, 1, 1]> (s, k3, b3)
    t = GlobalAveragePool (c)
    scores = Flatten (t)
}
"""
WEIGHTS = {
    "k1": (32, 1, 3, 3), "b1": (32,), "k2": (32, 32, 3, 3), "b2": (32,), "k3": (8, 32, 3, 3),
    "b3": (8,),
}  # fmt: skip
COMMAND = (
    *("quantize", "model.onnx", "--calibration", "calibration.npz", "--precision", "int8-static"),
    *("--samples", str(SAMPLES), "--relative-error", "0.9", "--label-agreement", "0", "--json"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_models.save(tiny_models.with_weights(NETWORK, WEIGHTS), tmp_path)
    images = np.random.default_rng(0).standard_normal((SAMPLES, 1, 48, 48)).astype(np.float32)
    save_npz(tmp_path / "calibration.npz", {"image": images})
    return tmp_path


# What a release does for one precision.
CONVERSION = """
from pathlib import Path
from slipway.specs import ReleaseSpec
from slipway.stages.making import convert_model, fetch_materials
spec = ReleaseSpec.model_validate_json(Path("spec.json").read_text())
given = fetch_materials(spec)
convert_model(spec, "int8-static", given.source, calibration=given.calibration)
"""


class Workplace:
    """Where the same command runs again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state.npz"

    def start(self, *options: str) -> subprocess.Popen[str]:
        """The command, with its state kept."""
        return subprocess.Popen(
            [*PROGRAM, *COMMAND, "--state", "state.npz", *options],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str) -> dict[str, Any]:
        """The report of a run to the end."""
        running = self.start(*options)
        out, err = running.communicate(timeout=300)
        assert running.returncode == 0, err
        report: dict[str, Any] = json.loads(out)
        return report

    def counted(self) -> int:
        """How many samples the state that is kept has counted."""
        return State.load(self.state).samples if self.state.exists() else 0

    def kill_after(self, counted: int, kill: Callable[[int], None]) -> tuple[int, str, str]:
        """Start, and kill when more samples than so many are counted in the state."""
        running = self.start("--out", "killed.onnx")
        wait(lambda: self.counted() > counted)
        kill(running.pid)
        out, err = running.communicate(timeout=60)
        assert 0 < self.counted() < SAMPLES
        assert not (self.folder / "killed.onnx").exists()
        return running.returncode, out, err


def wait(until: Callable[[], bool]) -> None:
    """Look every few milliseconds; what never comes is an error."""
    deadline = time.monotonic() + 120
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def children(pid: int) -> Iterator[int]:
    """Every process below one."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child
            yield from children(child)


def kill_child(pid: int) -> None:
    """The one that calibrates, alone."""
    os.kill(next(children(pid)), signal.SIGKILL)


def kill_all(pid: int) -> None:
    """The command; what it started ends with it."""
    below = list(children(pid))
    assert below
    os.kill(pid, signal.SIGKILL)
    wait(lambda: not any(is_running(child) for child in below))


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_killed_calibration_goes_on_and_gives_the_bytes_of_one_that_was_not(folder: Path) -> None:
    place = Workplace(folder)
    status, out, err = place.kill_after(0, kill_child)
    assert status == 1
    assert json.loads(out)["error"]["type"] == "ChildCrashed"
    assert "SIGKILL" in err

    status, _, _ = place.kill_after(place.counted(), kill_all)
    assert status == -signal.SIGKILL

    before = place.counted()
    resumed = place.run("--out", "resumed.onnx")
    assert resumed["calibration"]["resumed"] == before
    assert resumed["calibration"]["samples"] == SAMPLES

    place.state.unlink()
    whole = place.run("--out", "whole.onnx")
    assert whole["calibration"]["resumed"] == 0
    assert whole["calibration"]["batches"] > resumed["calibration"]["batches"] > 0
    assert (folder / "resumed.onnx").read_bytes() == (folder / "whole.onnx").read_bytes()


def test_a_killed_release_goes_on_with_its_calibration(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = folder / "home"
    monkeypatch.setenv("SLIPWAY_HOME", str(home))
    spec = ReleaseSpec.model_validate(
        {
            "name": "network",
            "source": {"framework": "onnx", "uri": str(folder / "model.onnx")},
            "data": {"calibration": str(folder / "calibration.npz")},
            "precisions": {"int8-static": {"samples": SAMPLES}},
        }
    )
    (folder / "spec.json").write_text(spec.model_dump_json())
    running = subprocess.Popen([sys.executable, "-c", CONVERSION], cwd=folder)
    wait(lambda: any(home.glob("calibrations/[!.]*.npz")))
    kill_all(running.pid)
    running.wait()
    (state,) = home.glob("calibrations/[!.]*.npz")
    before, tally = State.load(state).samples, Tally()
    assert 0 < before < SAMPLES

    monkeypatch.setattr("slipway.stages.making.relay", partial(relay, progress=tally))
    given = fetch_materials(spec)
    made = convert_model(spec, "int8-static", given.source, calibration=given.calibration)
    assert made.status == "passed"
    assert (tally.resumed, tally.samples) == (before, SAMPLES)
    assert not state.exists()
