"""What is measured runs where it was asked to, and the proof of it is read right."""

from pathlib import Path

import numpy as np
import pytest

from slipway.benchmarking.soundness import check_repeatable, read_profile, share_on, too_little
from slipway.errors import CheckFailed
from slipway.providers.sessions import Session
from slipway.reports import Placement
from tests import tiny_models

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


def test_a_profile_tells_where_nodes_ran(tmp_path: Path) -> None:
    path = tiny_models.save(tiny_models.cnn(), tmp_path)
    session = Session(path, profile=tmp_path / "profile")
    session.run({"image": np.ones((2, 1, 8, 8), np.float32)})
    ran, copies = read_profile(session.end_profile())
    assert ran[CPU]["Conv"] + ran[CPU].get("FusedConv", 0) >= 1
    assert sum(ran[CPU].values()) >= 5
    assert copies == 0


def test_copies_between_devices_are_counted_and_are_no_nodes_of_the_model() -> None:
    def event(operator: str, provider: str) -> dict[str, object]:
        about = {"op_name": operator, "provider": provider}
        return {"cat": "Node", "name": f"{operator}_kernel_time", "args": about}

    events: list[dict[str, object]] = [
        event("MemcpyFromHost", CUDA),
        event("Conv", CUDA),
        event("Conv", CUDA),
        event("MemcpyToHost", CUDA),
        event("Gather", CPU),
        {"cat": "Session", "name": "model_run", "args": {}},
    ]
    assert read_profile(events) == ({CPU: {"Gather": 1}, CUDA: {"Conv": 2}}, 2)


def placed(share: float) -> Placement:
    operators = {CPU: {"Shape": 3, "Gather": 2}, CUDA: {"Conv": 5}}
    return Placement(precision="fp16", operators=operators, share=share)


def test_too_small_a_share_names_what_ran_elsewhere() -> None:
    assert share_on(CUDA, placed(0).operators) == 0.5
    assert too_little([placed(0.5)], ort_name=CUDA, least=0.5) is None
    reason = too_little([placed(0.5)], ort_name=CUDA, least=0.9)
    assert reason is not None
    assert "50% of fp16's nodes ran on CUDAExecutionProvider" in reason
    assert "CPUExecutionProvider ran Shape 3, Gather 2" in reason


def test_a_model_that_was_folded_away_ran_where_it_was_asked_to() -> None:
    assert share_on(CUDA, {}) == 1


def test_answers_that_differ_by_the_order_of_a_sum_are_the_same() -> None:
    y = np.array([1.0, -200.0, 1e-6, np.inf])
    check_repeatable("m", {"y": y}, {"y": y * (1 + 1e-5)})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.array([1.0, 2.0]), np.array([1.0, 2.5])),
        (np.array([1, 2]), np.array([1, 3])),
        (np.array(["a"], object), np.array(["b"], object)),
    ],
)
def test_other_answers_are_refused(first: np.ndarray, second: np.ndarray) -> None:
    with pytest.raises(CheckFailed, match="output y differs between two runs"):
        check_repeatable("m", {"y": first}, {"y": second})
