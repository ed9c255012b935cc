"""scikit-learn model files: skops of known types; pickles only when trusted by digest."""

from typing import Any, Final

import skops.io
from sklearn.base import BaseEstimator

from slipway.errors import UnreadableModel, UntrustedSource
from slipway.exporters.archives import is_pickle, sniff
from slipway.protocols import ExportRequest

# Parts of scikit-learn's own estimators that skops does not list: data held in arrays, with no
# code of the file's in them. Each was looked at; anything else needs trust.
_HARMLESS: Final = frozenset(
    {
        "numpy.dtype",
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neighbors._kd_tree.KDTree64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._ball_tree.BallTree64",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
    }
)


def load_estimator(request: ExportRequest) -> Any:  # noqa: ANN401 - scikit-learn ships no types
    """The estimator in the file.

    Raises:
        UntrustedSource: when loading would run code, or needs types that were never looked at.
        UnreadableModel: when the file is damaged or holds no estimator.
    """
    path = request.path
    kind = sniff(path)
    loaders = {"skops": _load_skops, "pickle-like": _load_pickled}
    if kind not in loaders:
        raise UnreadableModel(f"{path.name} is a {kind} file, not a scikit-learn model")
    try:
        estimator = loaders[kind](request)
    except (UntrustedSource, UnreadableModel):
        raise
    except Exception as error:
        raise UnreadableModel(
            f"{path.name} cannot be loaded ({type(error).__name__}: {error}); truncated, or saved "
            "by another scikit-learn?"
        ) from error
    if not isinstance(estimator, BaseEstimator):
        raise UnreadableModel(f"{path.name} holds a {type(estimator).__name__}, not an estimator")
    return estimator


def _load_skops(request: ExportRequest) -> Any:  # noqa: ANN401
    unknown = skops.io.get_untrusted_types(file=request.path)
    if not _HARMLESS.issuperset(unknown) and not request.source.trusted:
        raise UntrustedSource(
            f"{request.path.name} needs types that are not known to be harmless: "
            f"{', '.join(sorted(set(unknown) - _HARMLESS))}; if you trust the file, set "
            "trusted: true and sha256"
        )
    return skops.io.load(request.path, trusted=unknown)


def _load_pickled(request: ExportRequest) -> Any:  # noqa: ANN401
    if not request.source.trusted and not is_pickle(request.path):
        raise UnreadableModel(
            f"{request.path.name} is no skops file; damaged, or of another framework?"
        )
    if not request.source.trusted:
        raise UntrustedSource(
            f"{request.path.name} is a pickle, which runs code when loaded: save the model with "
            "skops.io.dump, or set trusted: true and sha256 in the spec"
        )
    import joblib

    return joblib.load(request.path)
