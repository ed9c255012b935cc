"""The variants of one bare model: made, judged by one budget, and measured side by side.

Each piece of work runs isolated, as in a release. What is done with them is `quantizing`'s.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

from pydantic import Field

from slipway.artifacts import ArtifactRef, Value, digest_file
from slipway.precisions.graphs import DATA_SUFFIX
from slipway.precisions.relay import Tally, relay
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
    ValidationReport,
    VariantReport,
)
from slipway.specs import BenchmarkSpec, BudgetSpec, Metric, ParitySpec, Precision
from slipway.stages.bare import existing, run_child

Result = TypeVar("Result", bound=Value)

# In the order in which they give up accuracy for speed, fp32 first: the others are held to it.
LADDER: Final[tuple[Precision, ...]] = (
    *("fp32", "int8-static", "int8-dynamic", "int4-weights", "fp16", "fp32-optimized"),
)
CALIBRATED: Final[frozenset[Precision]] = frozenset({"int8-static", "fp16"})
# Enough to tell variants apart by their paired ratios; the command is not a benchmark.
BENCHMARK: Final = BenchmarkSpec(queries=200, processes=3, max_seconds=5.0)


class Goal(Value):
    """What a variant may cost, and the data that it is judged on."""

    parity: ParitySpec = Field(default_factory=ParitySpec)
    budget: BudgetSpec = Field(default_factory=BudgetSpec)
    metric: Metric | None = None
    evaluation: Path | None = None
    labels: str = "label"


class Ladder:
    """Climbs from a model to its variants; what was found is in `variants`, `models` and `rows`."""

    def __init__(self, model: Path, goal: Goal, *, calibration: Path | None, scratch: Path) -> None:
        self.model, self._goal, self._scratch = existing(model), goal, scratch
        self._calibration = existing(calibration) if calibration else None
        self._evaluation = existing(goal.evaluation) if goal.evaluation else None
        self._golden = Path()
        self.variants: dict[Precision, VariantReport] = {}
        self.models: dict[Precision, Path] = {}
        self.rows: tuple[BenchmarkReport, ...] = ()
        self.keep: Path | None = None
        self.begin: Path | None = None
        self.tally = Tally()

    def climb(self, asked: Mapping[Precision, AnyPrecisionSpec]) -> None:
        """Make and judge the variants; then measure those that passed, beside fp32."""
        data = self._evaluation or self._calibration
        assert data is not None  # noqa: S101 - quantizing refuses to start without
        self._golden = self._run(
            "slipway.stages.children:record",
            RecordRequest(
                model=self.model,
                data=data,
                what="evaluation data" if self._evaluation else "calibration data",
            ),
            RecordResult,
            "the recording of the float model's outputs",
        ).golden
        judged = self._validate("fp32", self.model, baseline=None)
        self._keep("fp32", ConvertResult(status="passed", model=self.model), judged)
        baseline = judged.metric.value if judged.metric else None
        for precision in (name for name in LADDER if name in asked and name != "fp32"):
            made = self._convert(precision, asked[precision], baseline)
            verdict = (
                self._validate(precision, made.model, baseline=baseline) if made.model else None
            )
            self._keep(precision, made, verdict)
        self._measure()

    def passed(self) -> frozenset[Precision]:
        """What is within the budget."""
        return frozenset(n for n, variant in self.variants.items() if variant.status == "passed")

    def _measure(self) -> None:
        passed = self.passed()
        if len(passed) == 1:
            return
        self.rows = self._run(
            "slipway.benchmarking.harness:measure",
            BenchmarkRequest(
                models={name: self.models[name] for name in LADDER if name in passed},
                golden=self._golden,
                options=BENCHMARK,
            ),
            BenchmarkSuite,
            "the benchmark",
        ).rows

    def _keep(
        self, precision: Precision, made: ConvertResult, judged: ValidationReport | None
    ) -> None:
        status, reason = made.status, made.reason
        if judged is not None and not judged.passed:
            status, reason = "failed", judged.reason
        if made.model is not None:
            self.models[precision] = made.model
        ref = _reference(made.model) if made.model else None
        self.variants[precision] = VariantReport(
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
        judge = self._judge(precision, self.model, baseline)
        request = ConvertRequest(
            precision=precision,
            model=self.model,
            options=options,
            calibration=self._calibration if precision in CALIBRATED else None,
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
            evaluation=self._evaluation,
            labels=self._goal.labels,
            baseline=baseline,
        )

    def _run(self, function: str, request: Value, returns: type[Result], what: str) -> Result:
        own = self._scratch / f"{len(list(self._scratch.iterdir()))}"
        own.mkdir()
        static = isinstance(request, ConvertRequest) and request.precision == "int8-static"
        given = [path for path in (self._calibration, self._evaluation) if path is not None]
        return run_child(
            function,
            request,
            returns=returns,
            scratch=own,
            what=f"{what} of {self.model.name}",
            reads=[self.model.parent, self._scratch, *given],
            look=relay(own, keep=self.keep, begin=self.begin, progress=self.tally)
            if static
            else None,
        )


def size_of(model: Path) -> int:
    """Bytes of a model, its external data included."""
    data = model.with_name(model.name + DATA_SUFFIX)
    return model.stat().st_size + (data.stat().st_size if data.exists() else 0)


def _reference(model: Path) -> ArtifactRef:
    return ArtifactRef(uri=model.as_uri(), digest=digest_file(model), size_bytes=size_of(model))
