"""Our formulas made known to skl2onnx, so that they hold inside pipelines and ensembles too."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx._parse import sklearn_parsers_map
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common.data_types import (
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.cluster import (
    AffinityPropagation,
    Birch,
    BisectingKMeans,
    FeatureAgglomeration,
    MeanShift,
)
from sklearn.covariance import EllipticEnvelope
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical
from sklearn.decomposition import FactorAnalysis, FastICA, MiniBatchSparsePCA, SparsePCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import MissingIndicator
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_approximation import (
    AdditiveChi2Sampler,
    Nystroem,
    RBFSampler,
    SkewedChi2Sampler,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.neighbors import (
    NearestCentroid,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)
from sklearn.neural_network import BernoulliRBM
from sklearn.preprocessing import QuantileTransformer
from sklearn.random_projection import SparseRandomProjection
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

from slipway.exporters import sklearn_formulas as formulas
from slipway.exporters.sklearn_formulas import CannotConvertError, Ops

_FLOAT: Final = 1  # onnx.TensorProto's numbers
_INT64: Final = 7
_DOUBLE: Final = 11
Kind = Literal["numbers", "classes", "clusters", "outliers"]

_FORMULAS: Final[dict[Kind, dict[type, Callable[..., Any]]]] = {
    "numbers": {
        FastICA: formulas.fast_ica,
        FactorAnalysis: formulas.factor_analysis,
        SparsePCA: formulas.sparse_pca,
        MiniBatchSparsePCA: formulas.sparse_pca,
        BernoulliRBM: formulas.boltzmann,
        RBFSampler: formulas.rbf_sampler,
        SkewedChi2Sampler: formulas.skewed_chi2,
        AdditiveChi2Sampler: formulas.additive_chi2,
        Nystroem: formulas.nystroem,
        SparseRandomProjection: formulas.projection,
        PLSSVD: formulas.pls_svd,
        FeatureAgglomeration: formulas.agglomerated,
        SequentialFeatureSelector: formulas.selected,
        MissingIndicator: formulas.missing,
        QuantileTransformer: formulas.quantiles,
        CCA: formulas.pls,
        PLSCanonical: formulas.pls,
        KernelRidge: formulas.kernel_ridge,
        GaussianProcessRegressor: formulas.gaussian_process,
        IsotonicRegression: formulas.isotonic,
        DummyRegressor: formulas.dummy_regressor,
        RadiusNeighborsRegressor: formulas.radius_regressor,
    },
    "classes": {
        LinearDiscriminantAnalysis: formulas.discriminant,
        NearestCentroid: formulas.nearest_centroid,
        LabelPropagation: formulas.label_propagation,
        LabelSpreading: formulas.label_propagation,
        DummyClassifier: formulas.dummy_classifier,
        RadiusNeighborsClassifier: formulas.radius_classifier,
    },
    "clusters": {
        AffinityPropagation: formulas.nearest_centre,
        MeanShift: formulas.nearest_centre,
        Birch: formulas.birch,
        BisectingKMeans: formulas.bisected,
    },
    "outliers": {EllipticEnvelope: formulas.elliptic},
}
# Of numbers, whose sums cancel in float32.
_PRECISE: Final = frozenset({GaussianProcessRegressor, KernelRidge, Nystroem})
_OURS: Final = frozenset(cls for formulas in _FORMULAS.values() for cls in formulas)


def has_converter(estimator: Any) -> bool:  # noqa: ANN401 - scikit-learn has no types
    """Whether the estimator's converter is one of ours, which knows no options."""
    return type(estimator) in _OURS


@contextlib.contextmanager
def our_converters() -> Iterator[None]:
    """Let skl2onnx know our formulas; its tables are as before afterwards."""
    tables = (sklearn_operator_name_map, sklearn_parsers_map)
    before = [dict(table) for table in tables]
    try:
        for kind, formulas_of_kind in _FORMULAS.items():
            for cls, formula in formulas_of_kind.items():
                alias = f"Slipway{cls.__name__}"
                update_registered_converter(
                    cls,
                    alias,
                    _shapes(kind),
                    _converter(kind, formula),
                    parser=_parser(kind, alias),
                    overwrite=True,
                )
        yield
    finally:
        for table, entries in zip(tables, before, strict=True):
            table.clear()
            table.update(entries)


def _parser(kind: Kind, alias: str) -> Callable[..., Any]:
    """Declares the outputs: by itself skl2onnx would guess two for a clusterer, and a ZipMap."""

    def parse(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:  # noqa: ANN401, ARG001 - skl2onnx's own types
        operator = scope.declare_local_operator(alias, model)
        operator.inputs.extend(inputs)
        for name, made in _outputs(kind, model):
            operator.outputs.append(scope.declare_local_variable(name, made))
        return operator.outputs

    return parse


def _outputs(kind: Kind, model: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    if kind == "numbers":
        return [("variable", FloatTensorType([None, None]))]
    if kind == "clusters":
        return [("label", Int64TensorType([None]))]
    if kind == "outliers":
        return [("label", Int64TensorType([None, 1])), ("scores", FloatTensorType([None, 1]))]
    text = model.classes_.dtype.kind in "OUS"
    label = (StringTensorType if text else Int64TensorType)([None])
    return [("label", label), ("probabilities", FloatTensorType([None, len(model.classes_)]))]


def _shapes(kind: Kind) -> Callable[[Any], None]:
    def shapes(operator: Any) -> None:  # noqa: ANN401
        made = _outputs(kind, operator.raw_operator)
        for output, (_, found) in zip(operator.outputs, made, strict=False):
            output.type = found

    return shapes


def _converter(kind: Kind, formula: Callable[..., Any]) -> Callable[..., None]:
    def convert(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
        model = operator.raw_operator
        precise = type(model) in _PRECISE
        op = Ops(container.target_opset, np.float64 if precise else np.float32)
        if isinstance(getattr(model, "classes_", None), list):
            raise CannotConvertError("several targets")
        # A pipeline may hand on whole numbers.
        x = op.Cast(operator.inputs[0], to=_DOUBLE if precise else _FLOAT)
        made = formula(model, x, op)
        found = _answers(kind, model, op.Cast(made, to=_FLOAT) if precise else made, op)
        for name, answer in zip(operator.outputs, found, strict=False):
            _named(answer, name, op).add_to(scope, container)

    return convert


def _answers(kind: Kind, model: Any, found: Any, op: Ops) -> list[Any]:  # noqa: ANN401
    """All outputs of a kind from what its formula gives."""
    if kind == "outliers":
        sign = op.Cast(op.GreaterOrEqual(found, op.constant([0])), to=_INT64)
        two, one = np.array([2], dtype=np.int64), np.array([1], dtype=np.int64)
        return [op.Sub(op.Mul(sign, two), one), found]
    if kind != "classes":
        return [found]
    probabilities, scores = found
    best = op.ArgMax(scores, axis=1, keepdims=0)
    text = model.classes_.dtype.kind in "OUS"
    classes = model.classes_.astype(str if text else np.int64)
    return [op.Gather(classes, best, axis=0), probabilities]


def _named(answer: Any, variable: Any, op: Ops) -> Any:  # noqa: ANN401
    """The answer under the name that its reader looks for."""
    return op.Identity(answer, output_names=[variable.full_name])
