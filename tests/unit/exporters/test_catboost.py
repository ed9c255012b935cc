"""CatBoost: every loss is right or refused by name."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("catboost", reason="the extra catboost is not installed")

import catboost

from slipway.errors import ExportFailed, UnreadableModel, UntrustedSource
from slipway.exporters import export
from slipway.isolation.runner import run_isolated
from slipway.protocols import ExportRequest, ExportResult
from slipway.providers.sessions import Session
from slipway.samples.golden import GoldenSet
from slipway.specs import SourceSpec, Tolerance
from slipway.validation.checking import check_model
from slipway.validation.parity import check_parity
from tests.models import catboost as models


def exported(request: ExportRequest, folder: Path) -> Any:
    scratch = folder / "scratch"
    scratch.mkdir()
    return export(request, scratch)


@pytest.mark.parametrize("case", models.CASES)
def test_the_graph_repeats_catboost(case: str, tmp_path: Path) -> None:
    made = exported(models.save(models.CASES[case](), tmp_path), tmp_path)
    assert check_model(made.model).findings == ()
    golden = GoldenSet.load(made.golden)
    report = check_parity(made.model, golden, tolerance=Tolerance())
    assert report.passed, [output.reason for output in report.outputs]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("categorical, one-hot", r"categorical features \(city\)"),
        ("categorical, counted", r"categorical features \(city\)"),
        ("sum of models, which forgets its loss", "loss function"),
        ("classes that are fractions", "fractions"),
    ],
)
def test_what_no_graph_repeats_is_refused_by_name(case: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match=reason):
        exported(models.save(models.REFUSED[case](), tmp_path), tmp_path)


@pytest.mark.parametrize(
    "case", ["Logloss words", "Logloss codes", "threshold", "MultiClass names"]
)
def test_labels_are_those_that_catboost_predicts(case: str, tmp_path: Path) -> None:
    model = models.CASES[case]()
    made = exported(models.save(model, tmp_path), tmp_path)
    answers = Session(made.model).run({"X": models.numbers()})
    expected = np.asarray(model.predict(models.numbers(), prediction_type="Class")).ravel()
    assert np.array_equal(answers["label"].astype(expected.dtype), expected)
    assert len(set(expected)) > 1


def test_predictions_are_those_of_the_regressor_class(tmp_path: Path) -> None:
    path = models.save(models.CASES["RMSEWithUncertainty"](), tmp_path).path
    regressor = catboost.CatBoostRegressor().load_model(str(path))
    made = exported(models.save(models.CASES["RMSEWithUncertainty"](), tmp_path), tmp_path)
    answers = Session(made.model).run({"X": models.numbers()})
    assert np.allclose(answers["prediction"], regressor.predict(models.numbers()), atol=1e-5)


def test_a_pickle_is_refused_with_the_way_to_save_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"any": 1}))
    request = ExportRequest(source=SourceSpec(framework="catboost", uri=str(path)), path=path)
    with pytest.raises(UntrustedSource, match="save_model"):
        exported(request, tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_file_leaves_the_worker_alive(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    request = models.save(models.train("RMSE"), tmp_path)
    data = bytearray(request.path.read_bytes())
    data[8:] = random.permutation(np.frombuffer(bytes(data[8:]), np.uint8)).tobytes()
    request.path.write_bytes(bytes(data))
    scratch = tmp_path / "job" / "scratch"
    scratch.mkdir(parents=True)
    with pytest.raises(UnreadableModel, match=r"model\.cbm"):
        run_isolated(
            "slipway.exporters:export",
            request,
            returns=ExportResult,
            scratch=scratch,
            what="the export",
            reads=[tmp_path],
        )
