"""scikit-learn: every estimator of all_estimators(), beside the plain skl2onnx.convert_sklearn.

Estimators are made as scikit-learn's own test suite makes them, and fitted on the iris table, what
their tags ask for. The reference is the estimator's answers on other rows than ours records.
"""

import functools
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import skops.io
from sklearn.base import clone, is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.datasets import load_iris
from sklearn.decomposition import SparseCoder
from sklearn.feature_extraction.image import PatchExtractor
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import SVC
from sklearn.utils import all_estimators, get_tags
from sklearn.utils._test_common.instance_generator import _construct_instances

from benchmarks.coverage_judge import Framework, Reference
from slipway.protocols import ExportRequest
from slipway.samples.arrays import save_npz
from slipway.specs import SourceSpec

Array = np.ndarray
_TEXTS = np.array(["the cat sat", "a dog ran", "cats and dogs", "sat on the mat", "A mat!"] * 30)
_MISSING = ("SimpleImputer", "KNNImputer", "MissingIndicator", "HistGradientBoosting")
_BINARY = (FixedThresholdClassifier, TunedThresholdClassifierCV)
_LABELS = ("LabelBinarizer", "LabelEncoder")


@functools.cache
def _iris() -> tuple[Array, Array]:
    """Rows in another order, since iris is sorted by class, and moved a little.

    Measured to a tenth, many rows are equally far from each other, and which of them is a neighbour
    is then nobody's promise.
    """
    x, y = load_iris(return_X_y=True)
    random = np.random.default_rng(0)
    order = random.permutation(len(x))
    return (x[order] + random.normal(0, 0.01, x.shape)).astype(np.float32), y[order]


def _table(model: Any) -> Array:  # noqa: ANN401 - an estimator, as everywhere in this file
    """What the tags say that it takes."""
    x, y = _iris()
    name, wants = type(model).__name__, get_tags(model).input_tags
    tables = (
        (name in _LABELS, lambda: y),
        (wants.string and not wants.two_d_array, lambda: _TEXTS),
        (wants.categorical and wants.positive_only, lambda: np.round(x).astype(np.int64)),
        (wants.categorical, lambda: _words(x)),
        (name.startswith(_MISSING), lambda: _with_holes(x)),
        (wants.pairwise, lambda: np.asarray(x @ x[:40].T)),
        (wants.three_d_array, lambda: np.random.default_rng(2).random((150, 8, 8))),
        (wants.one_d_array, lambda: x[:, :1]),
        (wants.positive_only or name == "SkewedChi2Sampler", lambda: x),
        (True, lambda: x - x.mean(axis=0)),
    )
    return next(make() for fits, make in tables if fits)


def _with_holes(x: Array) -> Array:
    holes = np.random.default_rng(1).random(x.shape) < 0.1  # noqa: PLR2004 - a tenth
    return np.where(holes, np.float32(np.nan), x)


def _words(x: Array) -> Array:
    words: Array = np.array(["low", "middle", "high"])[np.digitize(x, [2, 5])]
    return words


def _target(model: Any, kind: str) -> Array:  # noqa: ANN401
    x, y = _iris()
    if kind == "two classes" and isinstance(model, SelfTrainingClassifier):
        numbers: Array = np.minimum(y, 1)  # it takes no strings
        return numbers
    if kind == "two classes":
        roses: Array = np.where(y > 0, "thistle", "rose")
        return roses
    labels: Array = np.c_[y > 0, x[:, 0] > 5.8].astype(int)  # noqa: PLR2004 - about half
    prices: Array = np.c_[x[:, 0] * 2 - x[:, 2], x[:, 1] + x[:, 3] ** 2]
    tags = get_tags(model)
    several = kind == "two targets" or not tags.target_tags.single_output
    if is_regressor(model):
        shifted: Array = prices - prices.min() + 1
        return shifted if several else shifted[:, 0]
    if several and is_classifier(model):
        return labels
    return y


def _fitted(make: Callable[[], Any], kind: str) -> Any:  # noqa: ANN401
    model = make()
    if "random_state" in model.get_params():
        model.set_params(random_state=0)
    table, target = _table(model), _target(model, kind)
    if table.dtype == np.float32:
        table = table.astype(np.float64)  # as most tables are when models are fitted
    if type(model).__name__ in _LABELS:
        return model.fit(target)
    if get_tags(model).input_tags.pairwise:
        return model.fit(table[:40], target[:40])
    if get_tags(model).input_tags.dict:
        return model.fit([{"a": float(v), "b": 1.0} for v in target])
    if type(model).__name__ == "MultiLabelBinarizer":
        return model.fit([[v, 3] for v in target])
    return model.fit(table, None if is_outlier_detector(model) else target)


def _cases() -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {}
    for name, cls in all_estimators():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # deprecated estimators count too
            makers = _makers(cls)
        for at, make in enumerate(makers):
            model = make()
            title = name if at == 0 else f"{name} #{at + 1}"
            if not isinstance(model, _BINARY):
                found[title] = functools.partial(_fitted, make, "")
            tags = get_tags(model).target_tags
            if is_classifier(model) and tags.single_output:
                found[f"{title}, two classes"] = functools.partial(_fitted, make, "two classes")
            if is_regressor(model) and tags.multi_output and tags.single_output:
                found[f"{title}, two targets"] = functools.partial(_fitted, make, "two targets")
    return found


def _makers(cls: Any) -> list[Callable[[], Any]]:  # noqa: ANN401 - a class of estimators
    if cls is FrozenEstimator:
        x, y = _iris()
        inner = LogisticRegression().fit(x - x.mean(axis=0), y)
        return [functools.partial(FrozenEstimator, inner)]
    if cls in (TSNE, SparseCoder, PatchExtractor):
        own: dict[Any, dict[str, Any]] = {
            TSNE: {"max_iter": 250},
            SparseCoder: {"dictionary": np.eye(5, 4)},
            PatchExtractor: {"patch_size": (3, 3)},
        }
        return [functools.partial(cls, **own[cls])]
    made: list[Callable[[], Any]] = [
        functools.partial(clone, model) for model in _construct_instances(cls)
    ]
    if cls is LocalOutlierFactor:
        made.append(functools.partial(cls, novelty=True))
    if cls is SVC:
        made.append(functools.partial(cls, probability=True))
    return made


def _save(model: Any, folder: Path) -> ExportRequest:  # noqa: ANN401
    """As skops, else as joblib; its owner vouches for either."""
    path = folder / "model.skops"
    try:
        skops.io.dump(model, path)
    except skops.io.exceptions.UnsupportedTypeException:
        joblib.dump(model, path)
    table = _table(model)
    name = "text" if table is _TEXTS else "X"
    save_npz(folder / "data.npz", {name: table})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    source = SourceSpec(framework="sklearn", uri=str(path), trusted=True, sha256=digest)
    return ExportRequest(source=source, path=path, golden_inputs=folder / "data.npz")


def _plain(model: Any, _: ExportRequest, folder: Path) -> Path:  # noqa: ANN401
    """`skl2onnx.convert_sklearn` as its documentation calls it."""
    import skl2onnx
    from skl2onnx.common.data_types import guess_data_type

    table = _table(model)
    table = table[:, np.newaxis] if table is _TEXTS else table
    ((_, kind),) = guess_data_type(table)
    kind.shape = [None, *table.shape[1:]]
    onnx.save(skl2onnx.convert_sklearn(model, initial_types=[("X", kind)]), folder / "plain.onnx")
    return folder / "plain.onnx"


def _reference(model: Any, _: ExportRequest) -> Reference | None:  # noqa: ANN401
    """The answers at three batch sizes; None for what answers nothing about new rows."""
    calls = [getattr(model, name, None) for name in _answers(model)]
    if not calls or None in calls or get_tags(model).input_tags.dict:
        return None
    if isinstance(model, HashingVectorizer):
        return None  # a million columns, of which few are not zero
    table = _table(model)
    runs = []
    for rows in (table[-1:], table[-4:-1], table):
        inputs = rows[:, np.newaxis] if table is _TEXTS else rows
        answers = [_asked(call, rows) for call in calls if call is not None]
        dense = [it.toarray() if hasattr(it, "toarray") else np.asarray(it) for it in answers]
        runs.append(({"X": inputs}, dense))
    return Reference(runs)


def _asked(call: Callable[[Array], Any], rows: Array) -> Any:  # noqa: ANN401
    """Fitted on float64, KMeans and NMF take nothing else."""
    try:
        return call(rows)
    except (TypeError, ValueError):
        return call(rows.astype(np.float64))


def _answers(model: Any) -> tuple[str, ...]:  # noqa: ANN401
    if is_classifier(model):
        several = isinstance(getattr(model, "classes_", None), list)
        whole = hasattr(model, "predict_proba") and not several
        return ("predict", "predict_proba") if whole else ("predict",)
    if is_outlier_detector(model):
        return ("predict", "decision_function")
    if is_clusterer(model) and hasattr(model, "predict"):
        return ("predict",)
    return ("predict",) if hasattr(model, "predict") else ("transform",)


FRAMEWORK = Framework(_cases, _save, _plain, _reference)
