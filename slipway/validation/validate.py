"""The validation stage: check, parity, metric and the verdict over them, for one variant.

It runs in an isolated child: everything that it reads is local, and what it raises is a
`SlipwayError`.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from slipway.errors import DataError
from slipway.protocols import ValidateRequest
from slipway.providers.sessions import Session
from slipway.reports import (
    CheckReport,
    MetricReport,
    ParityReport,
    ValidationReport,
)
from slipway.samples.arrays import Arrays, Samples, load_samples
from slipway.samples.fitting import fit_inputs
from slipway.samples.golden import GoldenSet
from slipway.specs import LOWER_IS_BETTER, QUANTIZED, Metric, is_close_or_better
from slipway.validation.checking import check_and_open, first_error
from slipway.validation.diagnosis import diagnose
from slipway.validation.explain import explained, find_causes
from slipway.validation.metrics import compute_metric
from slipway.validation.overflow import find_overflow
from slipway.validation.parity import check_parity

BATCH_ROWS: Final = 256
BATCH_BYTES: Final = 8 << 20
"""Input bytes in one batch: activations are a hundred times larger in a deep network."""

TOP_1: Final[frozenset[Metric]] = frozenset({"accuracy", "f1", "top5"})
NOISE: Final = 0.7
"""Relative L2 error from which half of an output's power is error: an SQNR of 3 dB."""


def validate(request: ValidateRequest, scratch: Path) -> ValidationReport:
    """Judge one variant.

    fp32 and fp16 pass where check and parity pass, and the metric, if there is one, is within its
    budget. INT8 passes where the check passes and the metric is within its budget; without a
    metric its outputs are judged by relative error and labels. No variant passes whose outputs are
    missing, of another shape, or not finite where the source's are, nor an fp16 that overflows.

    Raises:
        SourceNotFound, UnreadableModel, DataError: when there is nothing to judge, or nothing to
            judge it by.
    """
    check, session = check_and_open(request.model)
    if session is None:
        return _fail_check(request, check)
    golden = GoldenSet.load(request.golden)
    if request.precision == "fp16":
        overflow = find_overflow(request.model, golden, scratch)
        if overflow is not None:
            findings = (*check.findings, overflow)
            changed = {"passed": False, "findings": findings}
            return _fail_check(request, check.model_copy(update=changed))
    try:
        parity = _check_parity(request, session, golden)
    except DataError as error:
        found = diagnose(session, golden, request.parity.fp32)
        if found is None:
            raise
        raise DataError(f"{error}; {found.sentence}") from error
    metric = _check_metric_if_any(request, session, parity)
    verdict = _conclude(request, check, parity, metric)
    # Another precision is off by design; of the export it can be told what went wrong.
    if request.precision != "fp32" or parity.passed:
        return verdict
    causes = find_causes(request.model, session, golden, request.parity.fp32, scratch)
    return explained(verdict, *causes)


def judge_outputs(
    request: ValidateRequest, session: Session, golden: GoldenSet
) -> tuple[ParityReport, MetricReport | None, str | None]:
    """The verdict on a loaded model's outputs alone: parity, metric, and why it does not pass.

    The check and the model of the request are left aside; `session` is what runs.
    """
    parity = _check_parity(request, session, golden)
    metric = _check_metric_if_any(request, session, parity)
    return parity, metric, _objection(request, parity, metric)


def _check_metric_if_any(
    request: ValidateRequest, session: Session, parity: ParityReport
) -> MetricReport | None:
    if request.metric is None or _incomparable(parity):
        return None
    return _check_metric(request, session)


def _fail_check(request: ValidateRequest, check: CheckReport) -> ValidationReport:
    reason = f"the check failed: {first_error(check)}"
    return ValidationReport(precision=request.precision, passed=False, reason=reason, check=check)


def _is_quantized(request: ValidateRequest) -> bool:
    return request.precision in QUANTIZED


def _check_parity(request: ValidateRequest, session: Session, golden: GoldenSet) -> ParityReport:
    return check_parity(
        session,
        golden,
        tolerance=request.parity.for_precision(request.precision),
        label_agreement=request.parity.label_agreement,
        by="labels" if _is_quantized(request) else "values",
        relative_error=request.parity.int8_relative_error,
    )


def _incomparable(parity: ParityReport) -> str | None:
    """Why an output is not even of the source's kind; no metric makes up for that."""
    for output in parity.outputs:
        if not output.passed and output.max_abs_error is None:
            return f"output {output.output}: {output.reason}"
    return None


def _check_metric(request: ValidateRequest, session: Session) -> MetricReport:
    if request.metric is None or request.evaluation is None:
        raise DataError(f"metric: {request.metric} needs evaluation data with labels in it")
    samples = load_samples(request.evaluation)
    labels = samples[request.labels]
    if len(samples) == 0:
        raise DataError(f"{request.evaluation.name} holds no rows")
    outputs = _run_batches(session, samples.select([i.name for i in session.inputs]))
    value = compute_metric(
        request.metric, outputs=outputs, labels=labels, output=request.metric_output
    )
    baseline = value if request.baseline is None else request.baseline
    known = math.isfinite(value) and math.isfinite(baseline)
    sign = 1 if request.metric in LOWER_IS_BETTER else -1
    return MetricReport(
        passed=known
        and is_close_or_better(
            value, baseline, metric=request.metric, drop=request.budget.metric_drop
        ),
        name=request.metric,
        value=value if math.isfinite(value) else None,
        baseline=baseline if math.isfinite(baseline) else None,
        drop=sign * (value - baseline) + 0.0 if known else None,
        budget=request.budget.metric_drop,
        samples=len(labels),
    )


def _run_batches(session: Session, samples: Samples) -> Arrays:
    """All outputs with a row for each sample, run in batches that fit the model and memory."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in session.output_names}
    for batch, rows in _batches(session, samples):
        for name, array in session.run(fit_inputs(session.inputs, batch)).items():
            if name in parts and array.ndim and len(array) == len(batch):
                parts[name].append(array[:rows])
            else:
                parts.pop(name, None)  # no row for each sample: of no use to a metric
    return {
        name: np.concatenate(arrays)
        for name, arrays in parts.items()
        if len({array.shape[1:] for array in arrays}) == 1
    }


def _batches(session: Session, samples: Samples) -> Iterator[tuple[Samples, int]]:
    """Batches with the number of rows that count: a fixed batch size is filled up by repeating."""
    fixed = {
        info.shape[0] for info in session.inputs if info.shape and isinstance(info.shape[0], int)
    }
    if fixed:
        size = max(fixed)
        for batch in samples.batches(size):
            yield batch.repeat_to(size), len(batch)
        return
    row_bytes = sum(array[:1].nbytes for array in samples.arrays.values())
    size = min(BATCH_ROWS, max(1, BATCH_BYTES // max(row_bytes, 1)))
    for batch in samples.batches(size):
        yield batch, len(batch)


def _conclude(
    request: ValidateRequest,
    check: CheckReport,
    parity: ParityReport,
    metric: MetricReport | None,
) -> ValidationReport:
    reason = _objection(request, parity, metric)
    return ValidationReport(
        precision=request.precision,
        passed=reason is None,
        reason=reason,
        check=check,
        parity=parity,
        metric=metric,
    )


def _objection(
    request: ValidateRequest, parity: ParityReport, metric: MetricReport | None
) -> str | None:
    objections = [_incomparable(parity)]
    if _is_quantized(request) and metric is not None:
        objections.append(_garbage_objection(parity, metric))
    else:
        objections.append(_parity_objection(parity))
    objections.append(_metric_objection(metric))
    return next((objection for objection in objections if objection), None)


def _garbage_objection(parity: ParityReport, metric: MetricReport) -> str | None:
    """Outputs that are noise although the labels drawn from them are right.

    One calibration outlier of 1e6 left a classifier's top-1 whole and its scores at 0 dB.
    """
    if metric.name not in TOP_1:
        return None
    for output in parity.outputs:
        if output.relative_l2 is not None and output.relative_l2 > NOISE:
            return (
                f"output {output.output} is mostly noise: its relative L2 error is "
                f"{output.relative_l2:.3g}, whatever its {metric.name}"
            )
    return None


def _parity_objection(parity: ParityReport) -> str | None:
    if parity.passed:
        return None
    return f"output {parity.worst.output}: {parity.worst.reason}"


def _metric_objection(metric: MetricReport | None) -> str | None:
    if metric is None or metric.passed:
        return None
    if metric.value is None or metric.baseline is None or metric.drop is None:
        return f"{metric.name} is not a number on {metric.samples} samples"
    return (
        f"{metric.name} is {metric.value:.6g}, {metric.drop:.4g} worse than the baseline's "
        f"{metric.baseline:.6g}; the budget is {metric.budget:g}"
    )
