"""A conversion that is killed goes on from its calibration, and says how far it is."""

from pathlib import Path

import numpy as np
import pytest

from slipway.errors import DataError
from slipway.precisions.calibration import collect, plan_calibration
from slipway.precisions.relay import STATE, relay, tell_progress
from slipway.precisions.states import State
from slipway.samples.arrays import Samples, save_npz
from slipway.specs import PrecisionsSpec
from slipway.stages.ladder import Goal
from slipway.stages.quantizing import quantize_within_budget
from tests import tiny_models


def test_progress_and_state_reach_the_waiting_process(tmp_path: Path) -> None:
    scratch, keep, seen = tmp_path / "scratch", tmp_path / "kept" / "state.npz", []
    scratch.mkdir()
    look = relay(scratch, keep=keep, progress=lambda done, total, _: seen.append((done, total)))
    look()
    tell = tell_progress(scratch)
    assert tell is not None
    tell(3, 10, "calibrating")
    (scratch / STATE).write_bytes(b"first")
    look()
    look()
    assert seen == [(3, 10)]
    assert keep.read_bytes() == b"first"
    again = tmp_path / "again"
    again.mkdir()
    relay(again, keep=keep)
    assert (again / STATE).read_bytes() == b"first"
    assert tell_progress(again) is None


def quantize(folder: Path, state: Path | None = None, **asked: object) -> list[tuple[int, int]]:
    x = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    save_npz(folder / "data.npz", {"x": x})
    seen: list[tuple[int, int]] = []
    out = folder / f"int8-{len(list(folder.iterdir()))}.onnx"
    report = quantize_within_budget(
        tiny_models.save(tiny_models.mlp(), folder),
        out,
        calibration=folder / "data.npz",
        precisions=PrecisionsSpec.model_validate({"int8-static": asked, "int8-dynamic": {}}),
        goal=Goal(),
        state=state,
        progress=lambda done, total, _: seen.append((done, total)),
    )
    assert report.passed
    return seen


def test_quantize_tells_how_far_it_is(tmp_path: Path) -> None:
    assert quantize(tmp_path)[-1] == (64, 64)


def test_quantize_refuses_a_state_of_another_calibration(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    model = tiny_models.save(tiny_models.mlp(), tmp_path)
    plan = plan_calibration(model, planned=64, method="minmax", tensors=["x"])
    state = tmp_path / "state.npz"
    collect(model, Samples({"x": x}), plan, stop=10).save(state)
    with pytest.raises(DataError, match="state is of another model"):
        quantize(tmp_path, state)
    assert State.load(state).samples == 10
