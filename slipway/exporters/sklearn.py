"""scikit-learn to ONNX through skl2onnx: estimators and Pipelines, number and string columns.

Sources: skops files of known types by default; joblib and pickle only when trusted by digest.
Outputs have the same names whatever the estimator: `label` and `probabilities`, `prediction`,
`features`, or `label` and `scores`.
"""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnx.helper
import pandas as pd
import skl2onnx
from skl2onnx.common.data_types import (
    BooleanTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from skl2onnx.common.exceptions import MissingShapeCalculator
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from slipway.errors import DataError, ExportFailed, SpecError
from slipway.exporters.cleaning import clean_model, finish_export
from slipway.exporters.estimators import (
    Source,
    answers_of,
    check_estimator,
    feature_names,
    final_step,
    first_step,
    has_several_targets,
    parts_of,
    takes_columns,
    takes_text,
)
from slipway.exporters.naming import output_names
from slipway.exporters.noise import measure_noise
from slipway.exporters.recording import (
    as_inputs,
    golden_cases,
    golden_samples,
    record_golden,
    tool_versions,
)
from slipway.exporters.sklearn_converters import has_converter, our_converters
from slipway.exporters.sklearn_files import load_estimator
from slipway.exporters.sklearn_formulas import CannotConvertError
from slipway.exporters.sklearn_graphs import (
    fit_shapes,
    name_batch,
    pin_opset,
    rename_inputs,
    rename_outputs,
)
from slipway.exporters.sklearn_wrappers import unwrapped
from slipway.protocols import ExportRequest, ExportResult
from slipway.reports import Finding, TensorInfo
from slipway.samples.arrays import Array, Samples
from slipway.specs import DType

ML_OPSET: Final = 3  # what every tree and linear operator of onnxruntime knows
_TYPES: Final = {
    "float32": FloatTensorType,
    "int64": Int64TensorType,
    "string": StringTensorType,
    "bool": BooleanTensorType,
}


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Export a scikit-learn source; see `slipway.protocols.Exporter`."""
    estimator = load_estimator(request)
    check_estimator(estimator, request.path.name)
    samples = golden_samples(request)
    problems: list[ExportFailed] = []
    for inputs in _input_choices(estimator, samples, request):
        outputs = output_names(
            tuple(answers_of(estimator)),
            inputs=[tensor.name for tensor in inputs],
            asked=request.outputs,
        )
        by_column = takes_columns(estimator, request)
        source = Source(estimator, inputs, outputs, by_column=by_column)
        try:
            model = _convert(source, request)
        except ExportFailed as error:
            problems.append(error)
            continue
        path = scratch / "model.onnx"
        onnx.save(model, path)
        cases = golden_cases(inputs, samples, seed=request.seed)
        golden = record_golden(cases, _running(source))
        fit_shapes(path, golden.cases[-1].inputs, golden.cases[-1].outputs)
        return finish_export(
            path,
            golden,
            request=request,
            scratch=scratch,
            route="skl2onnx",
            tools=tool_versions("scikit-learn", "skl2onnx", "onnx"),
            findings=[*_float_cliffs(inputs, samples), *_left_out(estimator)],
            noise=measure_noise(golden, float64=_running(source)),
        )
    raise problems[-1]


def _input_choices(
    estimator: Any,  # noqa: ANN401
    samples: Samples | None,
    request: ExportRequest,
) -> Iterator[tuple[TensorInfo, ...]]:
    """Ways to type the inputs, the most faithful first: whole numbers as such, then as floats."""
    if request.inputs:
        yield as_inputs(request.inputs)
        return
    names = feature_names(estimator)
    if names is None and takes_text(estimator):
        yield (TensorInfo(name=_text_name(samples), dtype="string", shape=("batch", 1)),)
        return
    if names is None:
        one = get_tags(first_step(estimator)).input_tags.one_d_array
        count = 1 if one else getattr(estimator, "n_features_in_", None)
        if count is None:
            raise SpecError("the estimator does not say how many features it takes: give inputs")
        for dtype in _table_types(samples):
            yield (TensorInfo(name="X", dtype=dtype, shape=("batch", int(count))),)
        return
    if samples is None:
        raise SpecError(
            f"the types of the columns {', '.join(names)} are unknown: give data.evaluation or "
            "data.golden with these columns, or inputs"
        )
    columns = samples.select(names)
    yield tuple(_column(name, columns[name]) for name in names)
    if any(columns[name].dtype.kind in "iub" for name in names):
        yield tuple(_column(name, columns[name], whole=False) for name in names)


def _table_types(samples: Samples | None) -> tuple[DType, ...]:
    """Of a table without column names: strings, or floats and, where that fails, whole numbers."""
    array = samples.arrays.get("X") if samples is not None else None
    if array is None or array.dtype.kind == "f":
        return ("float32",)
    return ("string",) if array.dtype.kind in "US" else ("float32", "int64")


def _text_name(samples: Samples | None) -> str:
    """The one array of strings in the data."""
    arrays = samples.arrays if samples is not None else {}
    texts = [name for name, array in arrays.items() if array.dtype.kind == "U"]
    if len(texts) != 1:
        raise SpecError(
            "the model takes texts: give data.golden or data.evaluation with one array of strings, "
            f"or name the input in inputs (string arrays found: {', '.join(texts) or 'none'})"
        )
    return texts[0]


def _column(name: str, array: Array, *, whole: bool = True) -> TensorInfo:
    if array.dtype.kind in "US":
        return TensorInfo(name=name, dtype="string", shape=("batch", 1))
    if whole and array.dtype.kind in "iub":
        return TensorInfo(name=name, dtype="int64", shape=("batch", 1))
    return TensorInfo(name=name, dtype="float32", shape=("batch", 1))


def _convert(source: Source, request: ExportRequest) -> onnx.ModelProto:
    estimator = _with_columns(source, unwrapped(source.estimator))
    final = final_step(estimator)
    # An option that a converter does not know is an error, and not every classifier has this one.
    options: dict[int, dict[str, Any]] = {}
    if is_classifier(final) and hasattr(final, "predict_proba") and not has_converter(final):
        options[id(final)] = {"zipmap": False}
    for part in parts_of(estimator):
        # The default is en_US, which slim images do not have: the model would not load there.
        if isinstance(part, CountVectorizer):
            options[id(part)] = {"locale": "C"}
    types = []
    for tensor in source.inputs:
        if tensor.dtype not in _TYPES:
            raise SpecError(f"input {tensor.name}: scikit-learn models take no {tensor.dtype}")
        sizes = [size if isinstance(size, int) else None for size in tensor.shape]
        types.append((tensor.name, _TYPES[tensor.dtype](sizes)))
    try:
        with warnings.catch_warnings(), _plain_ints(), our_converters():
            warnings.simplefilter("ignore")
            model: onnx.ModelProto = skl2onnx.convert_sklearn(
                estimator,
                name="slipway",  # a random graph name would change the digest
                initial_types=types,
                target_opset={"": request.opset, "ai.onnx.ml": ML_OPSET},
                options=options,
            )
    except MissingShapeCalculator as error:
        raise ExportFailed(
            f"{_unknown(error, final)} has no converter to ONNX, neither of skl2onnx nor of ours: "
            "put another estimator in its place, or one that is fitted to its answers",
            facts={"kind": "unsupported-operator", "operator": _unknown(error, final)},
        ) from error
    except CannotConvertError as error:
        raise ExportFailed(f"{type(final).__name__} is not exported with {error}") from error
    except Exception as error:
        raise ExportFailed(
            f"skl2onnx does not convert {type(final).__name__}: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}; put another estimator or other parameters in "
            "its place"
        ) from error
    pin_opset(model, request.opset)
    rename_outputs(model, source.outputs)
    rename_inputs(model, [tensor.name for tensor in source.inputs])
    clean_model(model, dimensions={})
    name_batch(model)
    return model


def _unknown(error: MissingShapeCalculator, final: Any) -> str:  # noqa: ANN401
    """The class that skl2onnx does not know, which it names by its module."""
    found = re.search(r"<class '(?:\w+\.)*(\w+)'>", str(error))
    return found.group(1) if found else type(final).__name__


def _with_columns(source: Source, estimator: Any) -> Any:  # noqa: ANN401
    """The estimator, with its columns joined first where it picks none by name itself."""
    first = first_step(estimator)
    if not source.by_column or isinstance(first, ColumnTransformer):
        return estimator
    names = [tensor.name for tensor in source.inputs]
    join = ColumnTransformer([("columns", "passthrough", names)])
    join.fit(pd.DataFrame({name: [0.0, 1.0] for name in names}))
    return Pipeline([("join", join), ("model", estimator)])


def _left_out(estimator: Any) -> list[Finding]:  # noqa: ANN401
    if not has_several_targets(estimator):
        return []
    return [
        Finding(
            level="warning",
            code="probabilities-left-out",
            message="the model classifies several targets, whose probabilities ONNX holds as a "
            "sequence, which cannot be served; the labels alone are exported",
        )
    ]


def _running(source: Source) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
    def run(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        try:
            return source.run(feeds)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"the source model does not run on the golden data: {error}") from error

    return run


@contextlib.contextmanager
def _plain_ints() -> Iterator[None]:
    """Pass bools in attribute lists as ints.

    protobuf 7.34 and later refuse a bool in a list of ints, which skl2onnx 1.20 writes for
    HistGradientBoosting (`nodes_missing_value_tracks_true`).
    """
    original = onnx.helper.make_attribute

    def make_attribute(key: str, value: Any, *rest: Any, **named: Any) -> onnx.AttributeProto:  # noqa: ANN401
        if isinstance(value, list) and any(isinstance(item, bool | np.bool_) for item in value):
            value = [int(item) for item in value]
        return original(key, value, *rest, **named)

    onnx.helper.make_attribute = make_attribute
    try:
        yield
    finally:
        onnx.helper.make_attribute = original


def _float_cliffs(inputs: Sequence[TensorInfo], samples: Samples | None) -> list[Finding]:
    """Columns whose float32 spacing at their largest value is coarse against their spread.

    Timestamps in seconds are the usual case: float32 steps by 128 there.
    """
    findings = []
    for tensor in inputs:
        if samples is None or tensor.dtype != "float32" or tensor.name not in samples.arrays:
            continue
        values = np.asarray(samples[tensor.name], dtype=np.float64)
        values = values[np.isfinite(values)]
        deviation = float(values.std()) if values.size else 0.0
        if deviation and float(np.spacing(np.float32(np.abs(values).max()))) > 1e-4 * deviation:
            findings.append(
                Finding(
                    level="warning",
                    code="float32-cliff",
                    message=f"{tensor.name} is too fine for float32: values up to "
                    f"{np.abs(values).max():g} with a deviation of {deviation:g}; subtract an "
                    "offset before the model",
                    place=tensor.name,
                )
            )
    return findings
