"""What estimators compute about new rows, as expressions of ONNX operators.

Each formula takes a fitted estimator, its input as a float matrix, and `Ops`; it is scikit-learn's
own, from the method that is named. Estimators that skl2onnx 1.20 has no converter for, or a wrong
one: its LinearDiscriminantAnalysis gives sigmoid(2 d) for sigmoid(d) where there are two classes,
its QuantileTransformer takes the one end of a run of equal quantiles for the middle, and its
RadiusNeighbors fail on most rows.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from scipy import linalg
from skl2onnx.algebra import onnx_ops
from sklearn.gaussian_process import kernels

_FLOAT: Final = 1  # onnx.TensorProto's number
Model = Any  # an estimator; scikit-learn has no types
Expression = Any  # a node of skl2onnx's algebra, which has none either


class Ops:
    """ONNX's operators by name, at one opset, and constants in one type."""

    def __init__(self, opset: int, dtype: type[np.floating[Any]] = np.float32) -> None:
        self._opset = opset
        self.dtype = dtype

    def constant(self, values: Any) -> Any:  # noqa: ANN401 - an array of any type
        """Numbers of the graph."""
        return np.asarray(values).astype(self.dtype)

    def __getattr__(self, name: str) -> Callable[..., Expression]:
        """The operator, as in `ops.MatMul(x, weights)`."""
        made = getattr(onnx_ops, f"Onnx{name}")
        return functools.partial(made, op_version=self._opset)


class CannotConvertError(NotImplementedError):
    """An estimator with a parameter that its formula here does not know."""


def _whole(*values: int) -> Any:  # noqa: ANN401
    return np.array(values, dtype=np.int64)


def _centred(mean: Any, matrix: Any, x: Expression, op: Ops) -> Expression:  # noqa: ANN401
    return op.MatMul(op.Sub(x, op.constant(mean)), op.constant(matrix))


def squared_distances(x: Expression, points: Any, op: Ops) -> Expression:  # noqa: ANN401
    """(n, m), from differences: expanding the square cancels where points are near."""
    apart = op.Sub(op.Unsqueeze(x, _whole(1)), op.constant(points)[np.newaxis])
    return op.ReduceSum(op.Mul(apart, apart), _whole(2), keepdims=0)


def _distances(x: Expression, points: Any, metric: str, op: Ops) -> Expression:  # noqa: ANN401
    if metric == "euclidean":
        return op.Sqrt(squared_distances(x, points, op))
    if metric != "manhattan":
        raise CannotConvertError(f"metric {metric!r}")
    apart = op.Sub(op.Unsqueeze(x, _whole(1)), op.constant(points)[np.newaxis])
    return op.ReduceSum(op.Abs(apart), _whole(2), keepdims=0)


def _kernel(model: Model, x: Expression, points: Any, op: Ops) -> Expression:  # noqa: ANN401
    """sklearn.metrics.pairwise's kernels; None is its default of one over the features."""
    points = np.asarray(points.toarray() if hasattr(points, "toarray") else points)
    gamma = 1 / points.shape[1] if model.gamma is None else model.gamma
    coef = 1 if model.coef0 is None else model.coef0
    if model.kernel == "rbf":
        return op.Exp(op.Mul(squared_distances(x, points, op), op.constant([-gamma])))
    inner = op.MatMul(x, op.constant(points.T))
    if model.kernel == "linear":
        return inner
    scaled = op.Add(op.Mul(inner, op.constant([gamma])), op.constant([coef]))
    if model.kernel in ("poly", "polynomial"):
        return op.Pow(scaled, op.constant([3 if model.degree is None else model.degree]))
    if model.kernel == "sigmoid":
        return op.Tanh(scaled)
    raise CannotConvertError(f"kernel {model.kernel!r}")


# What transforms.


def fast_ica(model: Model, x: Expression, op: Ops) -> Expression:
    """FastICA.transform."""
    mean = model.mean_ if model.whiten else np.zeros(model.components_.shape[1])
    return _centred(mean, model.components_.T, x, op)


def factor_analysis(model: Model, x: Expression, op: Ops) -> Expression:
    """FactorAnalysis.transform: the posterior mean of the factors."""
    scaled = model.components_ / model.noise_variance_
    posterior = linalg.inv(np.eye(len(scaled)) + scaled @ model.components_.T)
    return _centred(model.mean_, scaled.T @ posterior, x, op)


def sparse_pca(model: Model, x: Expression, op: Ops) -> Expression:
    """SparsePCA.transform: ridge regression on the components, solved once."""
    parts = model.components_
    gram = parts @ parts.T + model.ridge_alpha * np.eye(len(parts))
    return _centred(model.mean_, linalg.solve(gram, parts).T, x, op)


def boltzmann(model: Model, x: Expression, op: Ops) -> Expression:
    """BernoulliRBM.transform."""
    hidden = op.MatMul(x, op.constant(model.components_.T))
    return op.Sigmoid(op.Add(hidden, op.constant(model.intercept_hidden_)))


def _waves(model: Model, x: Expression, op: Ops) -> Expression:
    turned = op.Add(
        op.MatMul(x, op.constant(model.random_weights_)), op.constant(model.random_offset_)
    )
    return op.Mul(op.Cos(turned), op.constant([np.sqrt(2 / model.n_components)]))


def rbf_sampler(model: Model, x: Expression, op: Ops) -> Expression:
    """RBFSampler.transform."""
    return _waves(model, x, op)


def skewed_chi2(model: Model, x: Expression, op: Ops) -> Expression:
    """SkewedChi2Sampler.transform."""
    return _waves(model, op.Log(op.Add(x, op.constant([model.skewedness]))), op)


def additive_chi2(model: Model, x: Expression, op: Ops) -> Expression:
    """AdditiveChi2Sampler.transform; zeros stay zeros."""
    interval = model.sample_interval or {1: 0.8, 2: 0.5, 3: 0.4}[model.sample_steps]
    empty = op.Equal(x, op.constant([0]))
    safe = op.Where(empty, op.constant([1]), x)
    log = op.Mul(op.Log(safe), op.constant([interval]))
    found = [op.Sqrt(op.Mul(safe, op.constant([interval])))]
    for step in range(1, model.sample_steps):
        weight = 2 * interval / np.cosh(np.pi * step * interval)
        size = op.Sqrt(op.Mul(safe, op.constant([weight])))
        turned = op.Mul(log, op.constant([step]))
        found += [op.Mul(size, op.Cos(turned)), op.Mul(size, op.Sin(turned))]
    return op.Concat(*(op.Where(empty, op.constant([0]), part) for part in found), axis=1)


def nystroem(model: Model, x: Expression, op: Ops) -> Expression:
    """Nystroem.transform."""
    if model.kernel_params:
        raise CannotConvertError("kernel_params")
    kernel = _kernel(model, x, model.components_, op)
    return op.MatMul(kernel, op.constant(model.normalization_.T))


def projection(model: Model, x: Expression, op: Ops) -> Expression:
    """SparseRandomProjection.transform."""
    matrix = model.components_
    return op.MatMul(x, op.constant((matrix.toarray() if hasattr(matrix, "toarray") else matrix).T))


def pls_svd(model: Model, x: Expression, op: Ops) -> Expression:
    """PLSSVD.transform."""
    return _centred(model._x_mean, model.x_weights_ / model._x_std[:, np.newaxis], x, op)  # noqa: SLF001 - fitted, and public nowhere


def agglomerated(model: Model, x: Expression, op: Ops) -> Expression:
    """FeatureAgglomeration.transform: the mean of each cluster of features."""
    if model.pooling_func is not np.mean:
        raise CannotConvertError("a pooling_func other than numpy.mean")
    members = model.labels_[:, np.newaxis] == np.unique(model.labels_)
    return op.MatMul(x, op.constant(members / members.sum(axis=0)))


def selected(model: Model, x: Expression, op: Ops) -> Expression:
    """The columns that a selector keeps."""
    return op.Gather(x, _whole(*np.flatnonzero(model.get_support())), axis=1)


def missing(model: Model, x: Expression, op: Ops) -> Expression:
    """MissingIndicator.transform, of NaN."""
    if not (isinstance(model.missing_values, float) and np.isnan(model.missing_values)):
        raise CannotConvertError("missing_values other than NaN")
    return op.Cast(op.IsNaN(op.Gather(x, _whole(*model.features_), axis=1)), to=_FLOAT)


def quantiles(model: Model, x: Expression, op: Ops) -> Expression:
    """QuantileTransformer.transform: interpolation; halfway up where quantiles are equal."""
    if model.output_distribution != "uniform":
        raise CannotConvertError("an output_distribution other than uniform")
    knots, levels = op.constant(model.quantiles_.T), np.asarray(model.references_)
    parts = op.Unsqueeze(x, _whole(2))
    low, width = knots[np.newaxis, :, :-1], np.diff(knots)[np.newaxis]
    flat = width == 0
    slope = op.Div(op.Sub(parts, low), op.constant(np.where(flat, 1, width)))
    ramp = op.Min(op.Max(slope, op.constant([0])), op.constant([1]))
    above = op.Cast(op.Greater(parts, low), to=_FLOAT)
    reached = op.Cast(op.GreaterOrEqual(parts, low), to=_FLOAT)
    step = op.Mul(op.Add(above, reached), op.constant([0.5]))
    risen = op.Mul(op.Where(flat, step, ramp), op.constant(np.diff(levels)))
    found = op.Add(op.ReduceSum(risen, _whole(2), keepdims=0), op.constant([levels[0]]))
    # At the ends a run counts as a whole.
    found = op.Where(op.LessOrEqual(x, knots[:, 0]), op.constant([levels[0]]), found)
    return op.Where(op.GreaterOrEqual(x, knots[:, -1]), op.constant([levels[-1]]), found)


# What predicts numbers.


def pls(model: Model, x: Expression, op: Ops) -> Expression:
    """CCA.predict and PLSCanonical.predict."""
    centred = _centred(model._x_mean, model.coef_.T, x, op)  # noqa: SLF001 - as above
    return op.Add(centred, op.constant(model.intercept_))


def kernel_ridge(model: Model, x: Expression, op: Ops) -> Expression:
    """KernelRidge.predict."""
    if model.kernel_params:
        raise CannotConvertError("kernel_params")
    dual = model.dual_coef_.reshape(len(model.dual_coef_), -1)
    return op.MatMul(_kernel(model, x, model.X_fit_, op), op.constant(dual))


def gaussian_process(model: Model, x: Expression, op: Ops) -> Expression:
    """GaussianProcessRegressor.predict: its mean."""
    train, weights = model.X_train_, model.alpha_
    found = op.MatMul(
        _covariance(model.kernel_, x, train, op), op.constant(weights.reshape(len(train), -1))
    )
    scaled = op.Mul(found, op.constant(np.atleast_1d(model._y_train_std)))  # noqa: SLF001 - as above
    return op.Add(scaled, op.constant(np.atleast_1d(model._y_train_mean)))  # noqa: SLF001 - as above


def _covariance(kernel: Any, x: Expression, points: Any, op: Ops) -> Expression:  # noqa: ANN401
    """sklearn.gaussian_process.kernels, between rows that differ."""
    if isinstance(kernel, kernels.Sum | kernels.Product):
        combine = op.Add if isinstance(kernel, kernels.Sum) else op.Mul
        return combine(*(_covariance(part, x, points, op) for part in (kernel.k1, kernel.k2)))
    if isinstance(kernel, kernels.Exponentiation):
        power = op.constant([kernel.exponent])
        return op.Pow(_covariance(kernel.kernel, x, points, op), power)
    if isinstance(kernel, kernels.DotProduct):
        return op.Add(op.MatMul(x, op.constant(points.T)), op.constant([kernel.sigma_0**2]))
    if isinstance(kernel, kernels.ConstantKernel | kernels.WhiteKernel):
        nothing = op.Mul(squared_distances(x, points, op), op.constant([0]))
        value = getattr(kernel, "constant_value", 0)  # noise is of a row with itself
        return op.Add(nothing, op.constant([value]))
    scale = np.asarray(kernel.length_scale) if hasattr(kernel, "length_scale") else None
    if type(kernel) is kernels.RBF:
        near = squared_distances(op.Div(x, op.constant(scale)), points / scale, op)
        return op.Exp(op.Mul(near, op.constant([-0.5])))
    raise CannotConvertError(f"a kernel with {type(kernel).__name__} in it: use RBF")


def isotonic(model: Model, x: Expression, op: Ops) -> Expression:
    """IsotonicRegression.predict: straight between its thresholds."""
    knots, levels = op.constant(model.X_thresholds_), np.asarray(model.y_thresholds_)
    if model.out_of_bounds == "raise":
        raise CannotConvertError(
            "out_of_bounds='raise': no graph can raise; 'nan' or 'clip' is fine"
        )
    if len(knots) == 1:
        raise CannotConvertError("a single threshold")
    ramp = op.Div(op.Sub(x, knots[np.newaxis, :-1]), np.diff(knots)[np.newaxis])
    risen = op.Mul(
        op.Min(op.Max(ramp, op.constant([0])), op.constant([1])), op.constant(np.diff(levels))
    )
    found = op.Add(op.ReduceSum(risen, _whole(1), keepdims=1), op.constant([levels[0]]))
    if model.out_of_bounds == "clip":
        return found
    outside = op.Or(op.Less(x, knots[:1]), op.Greater(x, knots[-1:]))
    return op.Where(outside, op.constant([np.nan]), found)


def _same_for_all(row: Any, x: Expression, op: Ops) -> Expression:  # noqa: ANN401
    constant = op.constant(row).reshape(1, -1)
    rows = op.Slice(op.Shape(x), _whole(0), _whole(1))
    return op.Expand(constant, op.Concat(rows, _whole(constant.shape[1]), axis=0))


def dummy_regressor(model: Model, x: Expression, op: Ops) -> Expression:
    """DummyRegressor.predict."""
    return _same_for_all(model.constant_, x, op)


def _near(model: Model, x: Expression, op: Ops) -> Expression:
    """1 for each training row within the radius."""
    plain = model.metric == "euclidean" or (model.metric == "minkowski" and model.p == 2)  # noqa: PLR2004
    if not plain or model.weights != "uniform":
        raise CannotConvertError("a metric other than euclidean, or weights other than uniform")
    squared = squared_distances(x, model._fit_X, op)  # noqa: SLF001 - as above
    return op.Cast(op.LessOrEqual(squared, op.constant([model.radius**2])), to=_FLOAT)


def _share(near: Expression, values: Any, op: Ops) -> Expression:  # noqa: ANN401
    return op.Div(op.MatMul(near, op.constant(values)), op.ReduceSum(near, _whole(1), keepdims=1))


def radius_regressor(model: Model, x: Expression, op: Ops) -> Expression:
    """RadiusNeighborsRegressor.predict; NaN where there are no neighbours."""
    targets = model._y.reshape(len(model._y), -1)  # noqa: SLF001 - as above
    return _share(_near(model, x, op), targets, op)


# What predicts classes: their probabilities, and scores where the label does not follow them.


def discriminant(model: Model, x: Expression, op: Ops) -> tuple[Expression, Expression]:
    """LinearDiscriminantAnalysis.predict_proba."""
    scores = op.Add(op.MatMul(x, op.constant(model.coef_.T)), op.constant(model.intercept_))
    if len(model.classes_) > 2:  # noqa: PLR2004 - two classes have one score
        found = op.Softmax(scores, axis=1)
        return found, found
    signed = op.Concat(op.Neg(scores), scores, axis=1)
    return op.Sigmoid(signed), signed


def nearest_centroid(model: Model, x: Expression, op: Ops) -> tuple[Expression, Expression]:
    """NearestCentroid.predict_proba; its labels go by plain distance where priors are equal."""
    spread = np.where(model.within_class_std_dev_ != 0, model.within_class_std_dev_, 1)
    apart = _distances(op.Div(x, op.constant(spread)), model.centroids_ / spread, model.metric, op)
    prior = op.constant(2 * np.log(model.class_prior_))
    scores = op.Sub(prior, op.Mul(apart, apart))
    found = op.Softmax(scores, axis=1)
    if np.isclose(model.class_prior_, 1 / len(model.classes_)).all():
        return found, op.Neg(_distances(x, model.centroids_, model.metric, op))
    return found, scores


def label_propagation(model: Model, x: Expression, op: Ops) -> tuple[Expression, Expression]:
    """predict_proba of LabelPropagation and LabelSpreading.

    The nearest row's exponent is taken from all, which the normalisation takes out again: far from
    every row, float32 would otherwise have zeros alone.
    """
    squared = squared_distances(x, model.X_, op)
    shares = op.constant(model.label_distributions_)
    if model.kernel == "rbf":
        nearest = op.TopK(squared, _whole(1), axis=1, largest=0)
        weights = op.Exp(op.Mul(op.Sub(squared, nearest[0]), op.constant([-model.gamma])))
        votes = op.MatMul(weights, shares)
    elif model.kernel == "knn":
        near = op.TopK(squared, _whole(model.n_neighbors), axis=1, largest=0)
        votes = op.ReduceSum(op.Gather(shares, near[1], axis=0), _whole(1), keepdims=0)
    else:
        raise CannotConvertError("a kernel of one's own")
    found = op.Div(votes, op.ReduceSum(votes, _whole(1), keepdims=1))
    return found, found


def dummy_classifier(model: Model, x: Expression, op: Ops) -> tuple[Expression, Expression]:
    """DummyClassifier.predict_proba, of the strategies that are not random."""
    prior = np.asarray(model.class_prior_)
    if model.strategy == "constant":
        prior = model.classes_ == np.ravel(model.constant)[0]
    elif model.strategy == "most_frequent":
        prior = np.arange(len(prior)) == prior.argmax()
    elif model.strategy != "prior":
        raise CannotConvertError(f"strategy {model.strategy!r}, which answers at random")
    found = _same_for_all(prior, x, op)
    return found, found


def radius_classifier(model: Model, x: Expression, op: Ops) -> tuple[Expression, Expression]:
    """RadiusNeighborsClassifier.predict_proba; a row without neighbours is an error there."""
    if model.outputs_2d_ or model.outlier_label is not None:
        raise CannotConvertError("several targets, or an outlier_label")
    votes = np.eye(len(model.classes_))[model._y]  # noqa: SLF001 - as above
    found = _share(_near(model, x, op), votes, op)
    return found, found


# What finds clusters and outliers.


def nearest_centre(model: Model, x: Expression, op: Ops) -> Expression:
    """MeanShift.predict and AffinityPropagation.predict."""
    return _cluster(model.cluster_centers_, range(len(model.cluster_centers_)), x, op)


def birch(model: Model, x: Expression, op: Ops) -> Expression:
    """Birch.predict."""
    return _cluster(model.subcluster_centers_, model.subcluster_labels_, x, op)


def _cluster(centres: Any, labels: Sequence[int], x: Expression, op: Ops) -> Expression:  # noqa: ANN401
    nearest = op.ArgMin(squared_distances(x, centres, op), axis=1, keepdims=0)
    return op.Gather(_whole(*labels), nearest, axis=0)


def bisected(model: Model, x: Expression, op: Ops) -> Expression:
    """BisectingKMeans.predict: at each fork, the side whose centre is nearer."""
    mean = getattr(model, "_X_mean", 0)

    def below(node: Any) -> Expression:  # noqa: ANN401 - a private class
        if node.left is None:
            return _whole(node.label)
        centres = np.vstack((node.left.center, node.right.center)) + mean
        side = op.ArgMin(squared_distances(x, centres, op), axis=1, keepdims=0)
        return op.Where(op.Equal(side, _whole(0)), below(node.left), below(node.right))

    return below(model._bisecting_tree)  # noqa: SLF001 - as above


def elliptic(model: Model, x: Expression, op: Ops) -> Expression:
    """EllipticEnvelope.decision_function."""
    apart = op.Sub(x, op.constant(model.location_))
    squared = op.Mul(op.MatMul(apart, op.constant(model.get_precision())), apart)
    distance = op.ReduceSum(squared, _whole(1), keepdims=1)
    return op.Sub(op.constant([-model.offset_]), distance)
