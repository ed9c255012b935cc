"""`slipway quantize`: every INT8 and FP16 of a bare file, judged and measured, the best delivered.

No store, no cache, no orchestrator; each piece of work runs isolated, as in a release.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

from pydantic import Field

from slipway.artifacts import ArtifactRef, Value, digest_file
from slipway.benchmarking.frontier import beaten_statics, build_frontier, nearest
from slipway.benchmarking.selection import select_variant
from slipway.errors import PrecisionFailed, RequestError
from slipway.precisions.calibration import Progress
from slipway.precisions.graphs import DATA_SUFFIX
from slipway.precisions.relay import relay
from slipway.protocols import (
    AnyPrecisionSpec,
    BenchmarkRequest,
    ConvertRequest,
    ConvertResult,
    RecordRequest,
    RecordResult,
    ValidateRequest,
)
from slipway.reports import (
    BenchmarkReport,
    BenchmarkSuite,
    ConversionReport,
    Frontier,
    FrontierPoint,
    ScaleAudit,
    ValidationReport,
    VariantReport,
)
from slipway.specs import (
    BenchmarkSpec,
    BudgetSpec,
    Fp16Spec,
    Int8DynamicSpec,
    Int8StaticSpec,
    Metric,
    ParitySpec,
    Precision,
)
from slipway.stages.bare import existing, run_child, scratch_folder
from slipway.stages.delivery import deliver_model

Result = TypeVar("Result", bound=Value)

QUANTIZED: Final[tuple[Precision, ...]] = ("int8-static", "int8-dynamic")
# Enough to tell variants apart by their paired ratios; the command is not a benchmark.
BENCHMARK: Final = BenchmarkSpec(queries=200, processes=3, max_seconds=5.0)


class Goal(Value):
    """What a quantized model may cost, and the data that it is judged on."""

    parity: ParitySpec = Field(default_factory=ParitySpec)
    budget: BudgetSpec = Field(default_factory=BudgetSpec)
    metric: Metric | None = None
    evaluation: Path | None = None
    labels: str = "label"


class QuantizeReport(Value):
    """What came out: the model delivered, or the points nearest to the budget."""

    passed: bool
    reason: str | None = None
    precision: Precision | None = Field(default=None, description="What was delivered.")
    model: Path | None = None
    digest: str | None = None
    size_bytes: int | None = None
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    scales: ScaleAudit | None = None
    frontier: Frontier
    nearest: tuple[FrontierPoint, ...] = Field(
        default=(), description="Where nothing is within the budget: what comes nearest."
    )


def quantize_within_budget(
    model: Path,
    out: Path,
    *,
    calibration: Path,
    options: Int8StaticSpec,
    goal: Goal,
    state: Path | None = None,
    progress: Progress | None = None,
) -> QuantizeReport:
    """Write the fastest INT8 that is within the budget to `out`, whole or not at all.

    With labelled data the metric's drop decides; without, the relative L2 error and the labels'
    agreement with the float model's own outputs, on the evaluation data or else on the
    calibration data.

    Args:
        model: The float model.
        out: A new file.
        calibration: Inputs that the model will see.
        options: How it is quantized statically.
        goal: What it may cost.
        state: Where calibration is saved every few seconds, and resumed from.
        progress: Told how far calibration is, and the search for nodes that stay in float.

    Raises:
        RequestError: when `out` exists, or a metric has no data.
        SourceNotFound, UnreadableModel, DataError: for the files.
        PrecisionFailed: when no INT8 applies to the model.
    """
    if out.exists():
        raise RequestError(f"{out} exists already; choose another name or remove it")
    if goal.metric is not None and goal.evaluation is None:
        raise RequestError(f"the metric {goal.metric} needs --evaluation, with labels in it")
    with scratch_folder() as scratch:
        ladder = _Ladder(existing(model), existing(calibration), goal, scratch)
        ladder.keep, ladder.progress = state, progress
        ladder.climb(options)
        ladder.measure()
        return ladder.deliver(out)


class _Ladder:
    """The variants of one model, in the order in which they give up speed for accuracy."""

    def __init__(self, model: Path, calibration: Path, goal: Goal, scratch: Path) -> None:
        self._model, self._calibration, self._goal = model, calibration, goal
        self._scratch = scratch
        self._evaluation = existing(goal.evaluation) if goal.evaluation else None
        self.keep: Path | None = None
        self.progress: Progress | None = None
        self._golden = self._run(
            "slipway.stages.children:record",
            RecordRequest(model=model, data=self._evaluation or calibration),
            RecordResult,
            "the recording of the float model's outputs",
        ).golden
        self._variants: dict[Precision, VariantReport] = {}
        self._models: dict[Precision, Path] = {}
        self._rows: tuple[BenchmarkReport, ...] = ()

    def climb(self, options: Int8StaticSpec) -> None:
        """Make and judge every variant; fp32 first, since it is what the others are held to."""
        fp32 = ConvertResult(status="passed", model=self._model)
        judged = self._validate("fp32", self._model, baseline=None)
        self._keep("fp32", fp32, judged)
        baseline = judged.metric.value if judged.metric else None
        asked: dict[Precision, AnyPrecisionSpec] = {
            "int8-static": options,
            "int8-dynamic": Int8DynamicSpec(per_channel=options.per_channel),
            "fp16": Fp16Spec(),
        }
        for precision, spec in asked.items():
            made = self._convert(precision, spec, baseline)
            judged_by = (
                self._validate(precision, made.model, baseline=baseline) if made.model else None
            )
            self._keep(precision, made, judged_by)

    def measure(self) -> None:
        """Latency of all that passed, beside fp32's."""
        passed = self._passed()
        if len(passed) == 1:
            return
        result = self._run(
            "slipway.benchmarking.harness:measure",
            BenchmarkRequest(
                models={name: self._models[name] for name in passed},
                golden=self._golden,
                options=BENCHMARK,
            ),
            BenchmarkSuite,
            "the benchmark",
        )
        self._rows = result.rows

    def deliver(self, out: Path) -> QuantizeReport:
        """The fastest INT8 within the budget, copied; or what comes nearest to the budget."""
        frontier = build_frontier(
            tuple(self._variants.values()), self._rows, provider="cpu" if self._rows else None
        )
        quantized = self._passed().keys() & set(QUANTIZED)
        if not quantized:
            return self._refuse(frontier)
        allowed = quantized - beaten_statics(frontier)
        best = select_variant(self._rows, passed=allowed)
        made = self._variants[best].conversion
        deliver_model(self._models[best], out)
        return QuantizeReport(
            passed=True,
            precision=best,
            model=out,
            digest=digest_file(out),
            size_bytes=_size(out),
            settings=made.settings,
            scales=made.scales,
            frontier=frontier,
        )

    def _refuse(self, frontier: Frontier) -> QuantizeReport:
        static, dynamic = (self._variants[name] for name in QUANTIZED)
        if static.status == dynamic.status == "skipped":
            raise PrecisionFailed(f"{self._model.name} to int8-static: {static.reason}")
        reasons = "; ".join(
            f"{variant.precision} {variant.status}: {variant.reason}"
            for variant in (static, dynamic)
        )
        return QuantizeReport(
            passed=False,
            reason=f"no INT8 of {self._model.name} is within the budget: {reasons}",
            scales=static.conversion.scales,
            frontier=frontier,
            nearest=nearest(frontier),
        )

    def _passed(self) -> Mapping[Precision, VariantReport]:
        return {name: v for name, v in self._variants.items() if v.status == "passed"}

    def _keep(
        self, precision: Precision, made: ConvertResult, judged: ValidationReport | None
    ) -> None:
        status, reason = made.status, made.reason
        if judged is not None and not judged.passed:
            status, reason = "failed", judged.reason
        if made.model is not None:
            self._models[precision] = made.model
        ref = _reference(made.model) if made.model else None
        self._variants[precision] = VariantReport(
            precision=precision,
            status=status,
            required=False,
            reason=reason,
            model=ref if status == "passed" else None,
            conversion=ConversionReport(
                precision=precision, model=ref, **made.model_dump(exclude={"model"})
            ),
            validation=judged,
        )

    def _convert(
        self, precision: Precision, options: AnyPrecisionSpec, baseline: float | None
    ) -> ConvertResult:
        judge = self._judge(precision, self._model, baseline)
        request = ConvertRequest(
            precision=precision,
            model=self._model,
            options=options,
            calibration=self._calibration if precision != "int8-dynamic" else None,
            judge=judge if precision == "int8-static" else None,
        )
        return self._run(
            "slipway.precisions:convert", request, ConvertResult, f"the conversion to {precision}"
        )

    def _validate(
        self, precision: Precision, model: Path, *, baseline: float | None
    ) -> ValidationReport:
        return self._run(
            "slipway.validation.validate:validate",
            self._judge(precision, model, baseline),
            ValidationReport,
            f"the validation of {precision}",
        )

    def _judge(self, precision: Precision, model: Path, baseline: float | None) -> ValidateRequest:
        return ValidateRequest(
            precision=precision,
            model=model,
            golden=self._golden,
            parity=self._goal.parity,
            budget=self._goal.budget,
            metric=self._goal.metric,
            evaluation=self._evaluation if self._goal.metric else None,
            labels=self._goal.labels,
            baseline=baseline,
        )

    def _run(self, function: str, request: Value, returns: type[Result], what: str) -> Result:
        own = self._scratch / f"{len(list(self._scratch.iterdir()))}"
        own.mkdir()
        static = isinstance(request, ConvertRequest) and request.precision == "int8-static"
        given = [self._calibration, *([self._evaluation] if self._evaluation else [])]
        return run_child(
            function,
            request,
            returns=returns,
            scratch=own,
            what=f"{what} of {self._model.name}",
            reads=[self._model.parent, self._scratch, *given],
            look=relay(own, keep=self.keep, progress=self.progress) if static else None,
        )


def _reference(model: Path) -> ArtifactRef:
    return ArtifactRef(uri=model.as_uri(), digest=digest_file(model), size_bytes=_size(model))


def _size(model: Path) -> int:
    data = model.with_name(model.name + DATA_SUFFIX)
    return model.stat().st_size + (data.stat().st_size if data.exists() else 0)
