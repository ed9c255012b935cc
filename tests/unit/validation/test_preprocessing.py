"""Answers recorded from inputs that were prepared otherwise, told by what was done to them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slipway.protocols import ParityRequest
from slipway.providers.sessions import Session
from slipway.reports import Diagnosis
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import Tolerance
from slipway.stages.children import parity
from slipway.validation.diagnosis import diagnose
from tests import tiny_models

MEAN = np.array([5, 100, -3, 0.2] * 4)
DEVIATION = np.array([2, 30, 1, 0.1] * 4)

Prepare = Callable[[Array], Array]


def told(
    folder: Path, name: str, shape: tuple[int, ...], draw: Prepare, prepare: Prepare
) -> Diagnosis | None:
    """The diagnosis of a model whose answers were recorded on prepared inputs, given raw ones."""
    model = tiny_models.save(tiny_models.cnn() if name == "image" else tiny_models.mlp(), folder)
    session = Session(model)
    random = np.random.default_rng(0)
    cases = []
    for rows in (1, 3, 32):
        raw = draw(random.standard_normal((rows, *shape))).astype(np.float32)
        answers = session.run({name: prepare(raw).astype(np.float32)})
        cases.append(GoldenCase({name: raw}, answers))
    return diagnose(session, GoldenSet(tuple(cases)), Tolerance(), model=model)


def pixels(x: Array) -> Array:
    clipped: Array = np.clip(128 + 60 * x, 0, 255)
    return clipped


def table(x: Array) -> Array:
    columns: Array = x * DEVIATION + MEAN
    return columns


def test_pixels_that_were_not_divided_by_255_are_told(tmp_path: Path) -> None:
    found = told(tmp_path, "image", (1, 8, 8), pixels, lambda x: x / 255)
    assert found is not None
    assert found.kind == "preprocessing"
    assert "agree once input image is divided by 255" in found.sentence


def test_a_mean_and_deviation_of_their_own_are_found(tmp_path: Path) -> None:
    found = told(tmp_path, "image", (1, 8, 8), pixels, lambda x: (x / 255 - 0.1307) / 0.3081)
    assert found is not None
    assert float(found.evidence["scale"]) == pytest.approx(1 / 255 / 0.3081, rel=1e-3)
    assert float(found.evidence["offset"]) == pytest.approx(-0.1307 / 0.3081, rel=1e-3)


def test_columns_that_were_standardised_are_told_with_each_scale(tmp_path: Path) -> None:
    found = told(tmp_path, "x", (16,), table, lambda x: (x - MEAN) / DEVIATION)
    assert found is not None
    assert found.kind == "preprocessing"
    scales = [float(value) for value in str(found.evidence["scale"]).split(", ")]
    assert scales == pytest.approx(list(1 / DEVIATION), rel=1e-2)


def test_what_no_scale_and_offset_explains_is_not_called_preprocessing(tmp_path: Path) -> None:
    found = told(tmp_path, "x", (16,), table, lambda x: np.log(np.abs(x) + 1))
    assert found is None or found.kind != "preprocessing"


def test_what_hardly_changes_the_inputs_is_not_called_preprocessing(tmp_path: Path) -> None:
    found = told(tmp_path, "x", (16,), lambda x: x, lambda x: x * 1.01)
    assert found is None or found.kind != "preprocessing"


def test_the_parity_of_a_bare_file_is_explained_as_well(tmp_path: Path) -> None:
    model = tiny_models.save(tiny_models.cnn(), tmp_path)
    raw = pixels(np.random.default_rng(0).standard_normal((8, 1, 8, 8))).astype(np.float32)
    answers = Session(model).run({"image": (raw / 255).astype(np.float32)})
    golden = tmp_path / "golden.npz"
    np.savez(golden, image=raw, **answers)  # type: ignore[arg-type]
    report = parity(ParityRequest(model=model, golden=golden, tolerance=Tolerance()), tmp_path)
    assert not report.passed
    assert report.diagnosis is not None
    assert report.diagnosis.kind == "preprocessing"
    same = tmp_path / "same.npz"
    np.savez(same, image=(raw / 255).astype(np.float32), **answers)  # type: ignore[arg-type]
    right = parity(ParityRequest(model=model, golden=same, tolerance=Tolerance()), tmp_path)
    assert right.passed
    assert right.diagnosis is None
