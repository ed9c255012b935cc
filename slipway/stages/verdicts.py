"""What was found of each variant, gathered and decided: which passed, which is best, what failed.

The rules of a release are here and nowhere else; no model is touched.
"""

from collections.abc import Iterator, Sequence

from slipway.artifacts import ArtifactRef
from slipway.benchmarking.frontier import beaten_statics, build_frontier, nearest
from slipway.benchmarking.selection import select_variant
from slipway.reports import (
    BenchmarkSuite,
    ConversionReport,
    Evidence,
    ExportReport,
    Finding,
    Status,
    ValidationReport,
    VariantReport,
)
from slipway.specs import QUANTIZED, Precision, PrecisionSpec, ReleaseSpec


def passed_models(
    conversions: Sequence[ConversionReport], validations: Sequence[ValidationReport]
) -> dict[Precision, ArtifactRef]:
    """The models that may be measured and shipped, by precision, fp32 first."""
    good = {report.precision for report in validations if report.passed}
    return {
        made.precision: made.model
        for made in conversions
        if made.model is not None and made.precision in good
    }


def gather_evidence(
    spec: ReleaseSpec,
    exported: ExportReport,
    conversions: Sequence[ConversionReport],
    validations: Sequence[ValidationReport],
    suites: Sequence[BenchmarkSuite],
) -> Evidence:
    """One report per variant asked for, the best one per provider, and why a release fails."""
    suites = sorted(suites, key=lambda suite: spec.benchmark.providers.index(suite.provider))
    validated = {report.precision: report for report in validations}
    converted = {report.precision: report for report in conversions}
    variants = tuple(
        _variant(precision, options, converted.get(precision), validated.get(precision), suites)
        for precision, options in spec.precisions.asked().items()
    )
    failures = (
        *(
            f"required variant {variant.precision} {variant.status}: {variant.reason}"
            for variant in variants
            if variant.required and variant.status != "passed"
        ),
        *_budget_failures(spec, variants),
        *_benchmark_failures(spec, suites),
    )
    passed = {variant.precision for variant in variants if variant.status == "passed"}
    frontiers = {
        suite.provider: build_frontier(variants, suite.rows, provider=suite.provider)
        for suite in suites
        if suite.rows
    }
    shown = tuple(frontiers.values()) or (build_frontier(variants, (), provider=None),)
    return Evidence(
        name=spec.name,
        framework=spec.source.known_framework,
        export=warn_of_noise(spec, exported),
        variants=variants,
        suites=tuple(suites),
        frontiers=shown,
        nearest=() if _quantized(variants, "passed") else nearest(shown[0]),
        selected={
            suite.provider: select_variant(
                suite.rows,
                passed=passed - beaten_statics(frontiers[suite.provider]),
                slo_p99_ms=spec.benchmark.slo_p99_ms,
            )
            for suite in suites
            if suite.rows and suite.status != "missing environment"
        },
        passed=not failures,
        failures=failures,
    )


def warn_of_noise(spec: ReleaseSpec, exported: ExportReport) -> ExportReport:
    """The export with a warning for each output whose tolerance is below the source's own noise."""
    rtol, atol = spec.parity.fp32.rtol, spec.parity.fp32.atol
    warnings = tuple(
        Finding(
            level="warning",
            code="tolerance-below-noise",
            message=f"parity.fp32 (rtol {rtol:g}, atol {atol:g}) is below the source's own noise: "
            f"run in float64 or on one thread, its output {noise.output} moves by up to rtol "
            f"{noise.needed:.1e} and atol {noise.needed / 10:.1e}; a release may pass or fail by "
            "chance",
            place=noise.output,
        )
        for noise in exported.noise
        if noise.needed > max(rtol, 10 * atol)
    )
    return exported.model_copy(update={"findings": (*exported.findings, *warnings)})


def _budget_failures(spec: ReleaseSpec, variants: Sequence[VariantReport]) -> Iterator[str]:
    """Where quantized variants were asked for and none came out, unless the spec allows that."""
    asked = spec.precisions.asked()
    failed = [v for v in _quantized(variants, "failed") if asked[v.precision].required is None]
    if failed and not _quantized(variants, "passed"):
        reasons = "; ".join(f"{variant.precision}: {variant.reason}" for variant in failed)
        yield (
            f"no quantized variant is within the budget ({reasons}); relax the budget, or set "
            "`required: false` on it to release without"
        )


def _quantized(variants: Sequence[VariantReport], status: Status) -> list[VariantReport]:
    return [v for v in variants if v.precision in QUANTIZED and v.status == status]


def _benchmark_failures(spec: ReleaseSpec, suites: Sequence[BenchmarkSuite]) -> Iterator[str]:
    """Benchmarks that did not run where they were asked to, as far as the spec's policy goes.

    A provider that is not there, or whose worker died, ran a share of nothing: only a policy of 0
    lets it pass.
    """
    for suite in suites:
        if suite.status == "failed" or (
            suite.status != "measured" and spec.benchmark.min_provider_share > 0
        ):
            yield f"benchmark on {suite.provider}: {suite.status}: {suite.reason}"


def _variant(
    precision: Precision,
    options: PrecisionSpec,
    conversion: ConversionReport | None,
    validation: ValidationReport | None,
    suites: Sequence[BenchmarkSuite],
) -> VariantReport:
    if conversion is None:
        conversion = ConversionReport(
            precision=precision, status="skipped", reason="the exported model failed validation"
        )
    status, reason = conversion.status, conversion.reason
    if status == "passed" and validation is not None and not validation.passed:
        status, reason = "failed", validation.reason
    return VariantReport(
        precision=precision,
        status=status,
        required=bool(options.required),
        reason=reason,
        model=conversion.model if status == "passed" else None,
        conversion=conversion,
        validation=validation,
        benchmarks=tuple(
            row for suite in suites for row in suite.rows if row.precision == precision
        ),
    )
