"""scikit-learn estimators of many kinds: exported right, or refused with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from slipway.artifacts import digest_file
from slipway.errors import DataError, ExportFailed, SpecError, UnreadableModel
from slipway.exporters import export
from slipway.protocols import ExportRequest, ExportResult
from slipway.providers.signature import read_graph
from slipway.reports import ParityReport
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenSet
from slipway.specs import SourceSpec, TensorSpec, Tolerance
from slipway.validation.parity import check_parity
from tests.models import sklearn as sklearn_models
from tests.models.sklearn import classes, columns, numbers

X, Y = numbers(), classes()
TEXTS = np.array(["the cat sat", "a dog ran", "cats and dogs", "sat on the mat"] * 30)
ABOUT = np.array([0, 1, 1, 0] * 30)

ARRAY_MODELS: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: LogisticRegression().fit(X, Y),
    "logistic regression of strings": lambda: LogisticRegression().fit(X, Y.astype(str)),
    "linear svc": lambda: LinearSVC(random_state=0).fit(X, Y),
    "svc": lambda: SVC().fit(X, Y),
    "tree": lambda: DecisionTreeClassifier(random_state=0).fit(X, Y),
    "forest": lambda: RandomForestClassifier(8, random_state=0).fit(X, Y),
    "forest regressor": lambda: RandomForestRegressor(8, random_state=0).fit(X, X[:, 0]),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=5, random_state=0).fit(X, Y),
    "hist boosting": lambda: HistGradientBoostingClassifier(max_iter=5).fit(X, Y),
    "hist boosting regressor": lambda: HistGradientBoostingRegressor(max_iter=5).fit(X, X[:, 0]),
    "neighbours": lambda: KNeighborsClassifier().fit(X, Y),
    "perceptron": lambda: MLPClassifier(solver="lbfgs", max_iter=500, random_state=0).fit(X, Y),
    "calibrated": lambda: CalibratedClassifierCV(LogisticRegression()).fit(X, Y),
    "ridge": lambda: Ridge().fit(X, X[:, 0]),
    "two targets": lambda: LinearRegression().fit(X, X[:, :2]),
    "two targets by forest": lambda: RandomForestRegressor(4, random_state=0).fit(X, X[:, :2]),
    "k-means": lambda: KMeans(3, n_init=1, random_state=0).fit(X),
    "pca": lambda: PCA(2).fit(X),
    "scaler": lambda: StandardScaler().fit(X),
    "isolation forest": lambda: IsolationForest(n_estimators=8, random_state=0).fit(X),
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y),
}
CLASSIFIER = ("label", "probabilities")
OUTPUTS = {
    **dict.fromkeys(ARRAY_MODELS, CLASSIFIER),
    **dict.fromkeys(("linear svc", "svc", "k-means"), ("label",)),
    **dict.fromkeys(
        (
            *("forest regressor", "hist boosting regressor", "ridge", "two targets"),
            "two targets by forest",
        ),
        ("prediction",),
    ),
    **dict.fromkeys(("pca", "scaler"), ("features",)),
    "isolation forest": ("label", "scores"),
}


def export_in(folder: Path, request: ExportRequest) -> ExportResult:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return export(request, scratch)


def parity(result: ExportResult) -> ParityReport:
    golden = GoldenSet.load(result.golden)
    return check_parity(result.model, golden, tolerance=Tolerance(), label_agreement=1.0)


def exported(model: Any, folder: Path, data: dict[str, Array] | None, **asked: Any) -> ExportResult:
    result = export_in(folder, sklearn_models.save(model, folder, data, **asked))
    report = parity(result)
    assert report.passed, [output.reason for output in report.outputs]
    return result


def trusted(model: Any, folder: Path) -> ExportRequest:
    request = sklearn_models.save(model, folder)
    digest = digest_file(request.path).removeprefix("sha256:")
    source = SourceSpec(framework="sklearn", uri=str(request.path), trusted=True, sha256=digest)
    return request.model_copy(update={"source": source})


@pytest.mark.parametrize("name", list(ARRAY_MODELS))
def test_an_estimator_fitted_on_an_array_answers_the_same(name: str, tmp_path: Path) -> None:
    result = exported(ARRAY_MODELS[name](), tmp_path, {"X": X})
    assert [tensor.name for tensor in result.inputs] == ["X"]
    assert tuple(tensor.name for tensor in result.outputs) == OUTPUTS[name]


def test_inputs_are_made_up_where_there_is_no_data(tmp_path: Path) -> None:
    result = exported(ARRAY_MODELS["forest"](), tmp_path, None)
    assert result.golden_batch_sizes == (1, 3, 32)


def test_string_labels_stay_strings(tmp_path: Path) -> None:
    result = exported(ARRAY_MODELS["logistic regression of strings"](), tmp_path, {"X": X})
    assert result.outputs[0].dtype == "string"
    assert GoldenSet.load(result.golden).cases[-1].outputs["label"].dtype.kind == "U"


def test_whole_number_columns_stay_whole(tmp_path: Path) -> None:
    result = exported(sklearn_models.pipeline(), tmp_path, columns())
    assert {tensor.name: tensor.dtype for tensor in result.inputs} == {
        "age": "int64",
        "income": "float32",
        "city": "string",
    }


def test_a_category_that_was_never_seen_is_answered_the_same(tmp_path: Path) -> None:
    data = columns() | {"city": np.array(["Ulm", "Atlantis"] * 60)}
    exported(sklearn_models.pipeline(), tmp_path, data)


def test_columns_in_another_order_are_found_by_name(tmp_path: Path) -> None:
    shuffled = {name: columns()[name] for name in ("city", "age", "income")}
    result = exported(sklearn_models.pipeline(), tmp_path, shuffled)
    assert [tensor.name for tensor in result.inputs] == ["age", "income", "city"]


def test_columns_that_clash_with_output_names_keep_theirs(tmp_path: Path) -> None:
    table = {"label": X[:, 0], "score": X[:, 1]}
    model = LogisticRegression().fit(pd.DataFrame(table), Y)
    result = exported(model, tmp_path, table)
    assert [tensor.name for tensor in result.inputs] == ["label", "score"]
    assert [tensor.name for tensor in result.outputs] == ["label_out", "probabilities"]


@pytest.mark.parametrize("vectorizer", [CountVectorizer, TfidfVectorizer])
def test_a_text_model_loads_without_the_locale_of_its_author(
    vectorizer: Callable[[], Any], tmp_path: Path
) -> None:
    model = make_pipeline(vectorizer(), LogisticRegression()).fit(TEXTS, ABOUT)
    result = exported(model, tmp_path, {"text": TEXTS})
    assert result.inputs[0].shape == ("batch", 1)
    locales = [
        attribute.s
        for node in read_graph(result.model).graph.node
        for attribute in node.attribute
        if attribute.name == "locale"
    ]
    assert set(locales) == {b"C"}


def test_a_text_model_without_texts_says_what_to_give(tmp_path: Path) -> None:
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(TEXTS, ABOUT)
    with pytest.raises(SpecError, match=r"takes texts: give data\.golden"):
        export_in(tmp_path, sklearn_models.save(model, tmp_path))


@pytest.mark.parametrize(
    "model",
    [
        MultiOutputClassifier(LogisticRegression()),
        RandomForestClassifier(4, random_state=0),
    ],
)
def test_several_targets_are_exported_as_labels_with_a_warning(model: Any, tmp_path: Path) -> None:
    result = exported(model.fit(X, np.c_[Y, Y > 0]), tmp_path, {"X": X})
    assert [(tensor.name, tensor.shape) for tensor in result.outputs] == [("label", ("batch", 2))]
    assert [finding.code for finding in result.findings] == ["probabilities-left-out"]


@pytest.mark.parametrize(
    "model",
    [
        TunedThresholdClassifierCV(LogisticRegression(), scoring="recall"),
        FixedThresholdClassifier(LogisticRegression(), threshold=0.9),
    ],
)
def test_a_threshold_that_the_converter_ignores_is_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match=r"leaves the threshold of .* out"):
        export_in(tmp_path, trusted(model.fit(X, Y > 0), tmp_path))


def test_a_threshold_inside_a_pipeline_is_refused_as_well(tmp_path: Path) -> None:
    model = make_pipeline(
        StandardScaler(), FixedThresholdClassifier(LogisticRegression(), threshold=0.9)
    )
    with pytest.raises(ExportFailed, match="FixedThresholdClassifier"):
        export_in(tmp_path, trusted(model.fit(X, Y > 0), tmp_path))


def test_an_estimator_that_is_not_fitted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="LogisticRegression that is not fitted"):
        export_in(tmp_path, sklearn_models.save(LogisticRegression(), tmp_path))


def test_what_is_no_estimator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableModel, match="holds a dict, not an estimator"):
        export_in(tmp_path, sklearn_models.save({"a": 1}, tmp_path))


def test_columns_of_unknown_type_say_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"types of the columns age, income, city are unknown"):
        export_in(tmp_path, sklearn_models.save(sklearn_models.pipeline(), tmp_path))


def test_data_without_a_column_names_it(tmp_path: Path) -> None:
    data = {name: columns()[name] for name in ("age", "income")}
    with pytest.raises(DataError, match="no array named 'city'; there are age, income"):
        export_in(tmp_path, sklearn_models.save(sklearn_models.pipeline(), tmp_path, data))


def test_data_with_too_few_columns_is_refused(tmp_path: Path) -> None:
    request = sklearn_models.save(ARRAY_MODELS["forest"](), tmp_path, {"X": X[:, :3]})
    with pytest.raises(DataError, match=r"X has shape \[32, 3\], the model takes \[batch, 4\]"):
        export_in(tmp_path, request)


def test_an_input_type_that_no_estimator_takes_is_refused(tmp_path: Path) -> None:
    inputs = {"X": TensorSpec(dtype="float16", shape=("batch", 4))}
    request = sklearn_models.save(ARRAY_MODELS["forest"](), tmp_path, inputs=inputs)
    with pytest.raises(SpecError, match="take no float16"):
        export_in(tmp_path, request)


def test_columns_too_fine_for_float32_are_told(tmp_path: Path) -> None:
    seconds = 1.7e9 + np.arange(len(X)) * 60.0
    table = {"time": seconds, "value": X[:, 0].astype(np.float64)}
    model = DecisionTreeClassifier(random_state=0).fit(pd.DataFrame(table), Y)
    result = export_in(tmp_path, sklearn_models.save(model, tmp_path, table))
    assert [(f.code, f.place) for f in result.findings] == [("float32-cliff", "time")]
