"""A quick part of benchmarks/coverage.py: what is exported right today stays so, the rest refused.

The whole of it takes minutes; this takes the estimators that our own formulas and rewritings are
for, and one of each kind of refusal.
"""

import warnings
from pathlib import Path

import pytest
from sklearn.dummy import DummyClassifier

from benchmarks import coverage
from benchmarks.coverage_cases import sklearn as sklearn_cases
from benchmarks.coverage_judge import Verdict, ours
from slipway.exporters.sklearn_converters import _OURS

# Toy data does not converge, and estimators announce their next releases.
pytestmark = pytest.mark.filterwarnings("ignore")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    CASES = sklearn_cases.FRAMEWORK.cases()
REWRITTEN = (
    "FrozenEstimator", "GaussianMixture", "GridSearchCV #2", "HistGradientBoostingClassifier",
    "IsolationForest", "KBinsDiscretizer", "OneHotEncoder", "OneVsOneClassifier",
    "QuadraticDiscriminantAnalysis", "RFE", "SGDOneClassSVM", "SelfTrainingClassifier",
    "TransformedTargetRegressor", "VotingClassifier",
)  # fmt: skip
REFUSED = {
    "DBSCAN": "answers about the rows that it was fitted on",
    "DictVectorizer": "takes dicts, and ONNX takes tensors",
    "DummyClassifier": "answers at random",
    "HashingVectorizer": "use TfidfVectorizer",
    "KNeighborsRegressor #2": "fit it on the features themselves",
    "LabelEncoder": "encodes targets",
    "LocalOutlierFactor": "novelty=True makes it answer",
    "NMF": "has no converter to ONNX, neither of skl2onnx nor of ours",
    "TunedThresholdClassifierCV, two classes": "apply the threshold to the probabilities",
}
DYING = """
import os
from benchmarks.coverage_cases.sklearn import FRAMEWORK as SKLEARN
from benchmarks.coverage_judge import Framework
from tests.models import sklearn as sklearn_models

def plain(model, request, folder):
    if first():
        os.abort()
    return SKLEARN.plain(model, request, folder)

def first():
    marker = os.path.join(os.environ["PYTHONPATH"], "died")
    if os.path.exists(marker):
        return False
    open(marker, "w").close()
    return True

CASES = dict.fromkeys(("first", "second"), sklearn_models.classifier)
FRAMEWORK = Framework(lambda: CASES, sklearn_models.save, plain)
"""
# The first DummyClassifier answers at random.
FORMULAS = sorted(f"{cls.__name__}{' #2' * (cls is DummyClassifier)}" for cls in _OURS)


def verdict(name: str, folder: Path) -> Verdict:
    model = CASES[name]()
    request = sklearn_cases.FRAMEWORK.save(model, folder)
    assert sklearn_cases.FRAMEWORK.reference is not None
    found, _ = ours(request, folder, sklearn_cases.FRAMEWORK.reference(model, request))
    return found


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_of_ours_answers_as_the_estimator_at_every_batch_size(
    name: str, tmp_path: Path
) -> None:
    assert verdict(name, tmp_path) == Verdict("right")


@pytest.mark.parametrize("name", REWRITTEN)
def test_what_the_plain_converter_refuses_or_misshapes_is_right(name: str, tmp_path: Path) -> None:
    assert verdict(name, tmp_path) == Verdict("right")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    found = verdict(name, tmp_path)
    assert found.outcome == "refused"
    assert REFUSED[name] in found.reason


def test_what_kills_its_process_is_that_sides_error_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No __init__.py on either side: a folder like it on the path adds to the package.
    added = tmp_path / "benchmarks" / "coverage_cases"
    added.mkdir(parents=True)
    (added / "dying.py").write_text(DYING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = coverage.measure("dying", "", details=False)
    assert [it["outcome"] for it in found.values()] == ["right", "error", "right", "right"]
    assert "died of SIGABRT" in found["first", "plain"]["reason"]
