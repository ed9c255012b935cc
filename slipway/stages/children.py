"""Functions that run in an isolated child and need more than one part of the core."""

import json
import math
from pathlib import Path
from typing import TypedDict

from pydantic import ValidationError

from slipway.benchmarking.harness import measure
from slipway.benchmarking.inputs import settle_dimensions
from slipway.benchmarking.processes import in_process
from slipway.errors import CheckFailed, IntegrityError, RequestError
from slipway.exporters.recording import golden_cases, record_golden
from slipway.packaging.layout import EVIDENCE_NAME
from slipway.packaging.manifest import read_manifest
from slipway.packaging.selftest import selftest_bundle
from slipway.precisions.gating import choose_samples
from slipway.protocols import (
    BenchmarkRequest,
    CheckRequest,
    FilesBenchmarkRequest,
    ParityRequest,
    RecordRequest,
    RecordResult,
    SelftestRequest,
)
from slipway.providers import allotted_cores
from slipway.providers.sessions import Session
from slipway.providers.signature import read_graph
from slipway.reports import (
    BenchmarkSuite,
    CheckReport,
    Evidence,
    ExplainedParity,
    ParityReport,
    SelftestReport,
    SessionSettings,
)
from slipway.samples.arrays import map_samples
from slipway.samples.fitting import fit_inputs
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import QUANTIZED, ExecutionMode, Optimization, Precision, Tolerance
from slipway.validation.checking import check_and_open, check_model
from slipway.validation.checking import first_error as first_error_of
from slipway.validation.explain import find_causes
from slipway.validation.parity import check_parity
from slipway.validation.replay import load_golden

# On another processor INT8 rounds otherwise; more than this beyond what was recorded is a fault.
REPLAY_FACTOR = 2.0
REPLAY_SLACK = 1e-3
LABEL_SLACK = 0.02
RECORDED_BATCH = 64


def check(request: CheckRequest, scratch: Path) -> CheckReport:  # noqa: ARG001 - a child's signature
    """Check one model file."""
    return check_model(request.model)


def parity(request: ParityRequest, scratch: Path) -> ExplainedParity:
    """Compare a model file with a golden set or a plain npz of one run, and say why it fails."""
    session = _open(request.model)
    golden = load_golden(request.golden, [tensor.name for tensor in session.inputs])
    report = check_parity(session, golden, tolerance=request.tolerance)
    found = ExplainedParity(**report.model_dump())
    if report.passed:
        return found
    diagnosis, divergence = find_causes(request.model, session, golden, request.tolerance, scratch)
    return found.model_copy(update={"diagnosis": diagnosis, "divergence": divergence})


def record(request: RecordRequest, scratch: Path) -> RecordResult:
    """Record a model's outputs on data, in batches that it takes.

    Raises:
        DataError: for data that is empty, not finite or does not fit.
    """
    session = _open(request.model)
    graph = read_graph(request.model)
    chosen = choose_samples(
        graph, map_samples(request.data), count=request.rows, work=scratch, what=request.what
    )
    fixed = [t.shape[0] for t in session.inputs if t.shape and isinstance(t.shape[0], int)]
    size = max(fixed, default=RECORDED_BATCH)
    cases = []
    for batch in chosen.batches(size):
        whole = batch.repeat_to(size) if fixed else batch
        feeds = fit_inputs(session.inputs, whole)
        cases.append(GoldenCase(feeds, session.run(feeds)))
    golden = scratch / "golden.npz"
    GoldenSet(tuple(cases)).save(golden)
    return RecordResult(golden=golden)


def selftest(request: SelftestRequest, scratch: Path) -> SelftestReport:  # noqa: ARG001
    """Verify a bundle and replay its variants against their recorded answers.

    Raises:
        IntegrityError: when the bundle is not as sealed, or its evidence cannot be read.
    """
    recorded: dict[Precision, ParityReport] = {}

    def replay(precision: Precision, model: Path, golden: Path) -> tuple[bool, float | None, str]:
        if not recorded:
            recorded.update(_recorded(request.bundle))
        cases = GoldenSet.load(golden)
        sessions = {"": _open(model)}
        if swept := _swept(request.bundle, precision):
            sessions["with the recommended settings, "] = Session(model, **swept)
        worst_errors: list[float | None] = []
        for how, session in sessions.items():
            report = _replayed(precision, session, cases, recorded.get(precision))
            worst = report.worst
            worst_errors.append(worst.max_abs_error)
            if not report.passed:
                return False, worst.max_abs_error, f"{how}output {worst.output}: {worst.reason}"
        return True, worst_errors[0], ""

    return selftest_bundle(request.bundle, replay)


def benchmark_files(request: FilesBenchmarkRequest, scratch: Path) -> BenchmarkSuite:
    """Measure bare files against the first; inputs are made up unless a golden set is given."""
    # In a process of its own, since those that measure must start without any onnxruntime.
    prepared = in_process(
        lambda: _prepare(request, scratch), returns=BenchmarkRequest, what="opening the models"
    )
    return measure(prepared, scratch)


def _prepare(request: FilesBenchmarkRequest, scratch: Path) -> BenchmarkRequest:
    """Check the models and record the inputs that they are measured with."""
    sessions = {label: _open(model) for label, model in request.models.items()}
    first = next(iter(sessions.values()))
    names = {tensor.name for tensor in first.inputs}
    for label, session in sessions.items():
        if {tensor.name for tensor in session.inputs} != names:
            raise RequestError(f"{label} takes other inputs than the first model; compare equals")
    if request.golden is not None:
        golden = load_golden(request.golden, sorted(names))
    else:
        known = settle_dimensions(first.inputs, request.dimensions)
        golden = record_golden(golden_cases(known, None, seed=0), first.run)
    path = scratch / "golden.npz"
    golden.save(path)
    return BenchmarkRequest(
        models=request.models, golden=path, provider=request.provider, options=request.options
    )


def _open(model: Path) -> Session:
    report, session = check_and_open(model)
    if session is None:
        raise CheckFailed(f"{model.name} fails its check: {first_error_of(report)}")
    return session


class _Swept(TypedDict):
    intra_op_threads: int
    execution_mode: ExecutionMode
    optimization: Optimization


def _swept(bundle: Path, precision: Precision) -> _Swept | None:
    """How a sweep found that this variant is served best on CPUs; None of others."""
    manifest = read_manifest(bundle)
    if "cpu" not in manifest.serving:
        return None
    try:
        chosen = json.loads((bundle / manifest.serving["cpu"]).read_bytes())
        settings = SessionSettings(
            intra_op_threads=min(chosen["intra_op_num_threads"], allotted_cores()),
            execution_mode=chosen["execution_mode"],
            graph_optimization=chosen["graph_optimization_level"],
        )
        swept: str = chosen["variant"]
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{manifest.serving['cpu']} cannot be read: {error}") from error
    if swept != next(v.model for v in manifest.variants if v.precision == precision):
        return None
    return _Swept(
        intra_op_threads=settings.intra_op_threads,
        execution_mode=settings.execution_mode,
        optimization=settings.graph_optimization,
    )


def _recorded(bundle: Path) -> dict[Precision, ParityReport]:
    try:
        evidence = Evidence.model_validate_json((bundle / EVIDENCE_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        raise IntegrityError(f"the bundle's evidence cannot be read: {error}") from error
    return {
        variant.precision: variant.validation.parity
        for variant in evidence.variants
        if variant.validation is not None and variant.validation.parity is not None
    }


def _replayed(
    precision: Precision, session: Session, golden: GoldenSet, recorded: ParityReport | None
) -> ParityReport:
    """Within the tolerance again; INT8 no further off than when it was released, with slack."""
    if recorded is None:
        return check_parity(session, golden, tolerance=Tolerance())
    if precision not in QUANTIZED:
        return check_parity(session, golden, tolerance=recorded.tolerance)
    errors = [_finite(output.relative_l2) for output in recorded.outputs]
    agreements = [o.label_agreement for o in recorded.outputs if o.label_agreement is not None]
    return check_parity(
        session,
        golden,
        tolerance=recorded.tolerance,
        label_agreement=max(0.0, min(agreements, default=1.0) - LABEL_SLACK),
        by="labels",
        relative_error=REPLAY_FACTOR * max(errors, default=0.0) + REPLAY_SLACK,
    )


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0
