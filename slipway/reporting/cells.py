"""What a view says of one variant or one measurement, cell by cell.

Sentences about a whole release are in `summary`.
"""

from typing import Literal

from slipway.reporting import formatting as fmt
from slipway.reports import (
    BenchmarkReport,
    Estimate,
    Evidence,
    MetricReport,
    OutputNoise,
    OutputParity,
    ParityReport,
    VariantReport,
)
from slipway.specs import LOWER_IS_BETTER, Precision

Percentile = Literal["p50", "p95", "p99"]
PERCENTILES: tuple[Percentile, ...] = ("p50", "p95", "p99")

# Sizes this near to each other are called the same.
_SAME_SIZE = 0.02


def find_variant(evidence: Evidence, precision: Precision) -> VariantReport | None:
    """The variant of a precision, if it was asked for."""
    return next((v for v in evidence.variants if v.precision == precision), None)


def reference_benchmark(variant: VariantReport, provider: str) -> BenchmarkReport | None:
    """The row that stands for a variant on a provider: the smallest batch size's."""
    rows = [row for row in variant.benchmarks if row.provider == provider]
    return min(rows, key=lambda row: row.batch_size, default=None)


def several_batch_sizes(evidence: Evidence) -> bool:
    """Whether the batch size has to be told to name a measurement."""
    return len({row.batch_size for v in evidence.variants for row in v.benchmarks}) > 1


def several_providers(evidence: Evidence) -> bool:
    """Whether the provider has to be told to name a measurement."""
    return len({row.provider for v in evidence.variants for row in v.benchmarks}) > 1


def percentile(row: BenchmarkReport, name: Percentile) -> Estimate:
    """One percentile of a row, by its name."""
    estimates: dict[Percentile, Estimate] = {"p50": row.p50, "p95": row.p95, "p99": row.p99}
    return estimates[name]


def latency(row: BenchmarkReport, name: Percentile) -> str:
    """A percentile with its interval, or why there is none."""
    found = percentile(row, name)
    return fmt.estimate(found) if fmt.is_number(found.value_ms) else why_not_estimable(row, name)


def why_not_estimable(row: BenchmarkReport, name: Percentile) -> str:
    """`not estimable (needs 662 queries)`; only `not estimable` where queries were not the lack."""
    needs = lack(row, name)
    return f"not estimable ({needs})" if needs else "not estimable"


def lack(row: BenchmarkReport, name: Percentile) -> str:
    """What a percentile needed and did not get: `needs 662 queries`, or nothing."""
    needed = fmt.QUERIES_NEEDED[name]
    return f"needs {needed} queries" if row.queries < needed else ""


def ratio(row: BenchmarkReport) -> str:
    """Latency relative to fp32 with its interval: `0.55x (0.53-0.57)`; a dash for fp32 itself."""
    if row.verdict == "baseline" or not fmt.is_number(row.ratio):
        return fmt.DASH
    bounds = fmt.interval(*row.ratio_interval) if row.ratio_interval else fmt.DASH
    text = f"{fmt.significant(row.ratio)}{fmt.TIMES}"
    return text if bounds == fmt.DASH else f"{text} ({bounds})"


def objective(row: BenchmarkReport) -> str:
    """Whether the p99 objective is met, where one was asked for."""
    return {None: fmt.DASH, True: "met", False: "missed"}[row.meets_slo]


def metric_of(variant: VariantReport) -> MetricReport | None:
    """The task metric of a variant that got as far as being judged by it."""
    return variant.validation.metric if variant.validation else None


def parity_of(variant: VariantReport) -> ParityReport | None:
    """The parity of a variant that got as far as being compared."""
    return variant.validation.parity if variant.validation else None


def metric_change(metric: MetricReport) -> float | None:
    """The metric minus its baseline, in the metric's own direction."""
    if metric.drop is None:
        return None
    return metric.drop if metric.name in LOWER_IS_BETTER else -metric.drop


def metric_cell(variant: VariantReport) -> str:
    """`accuracy 98.3 % (-0.1 points)`, or that there is none."""
    metric = metric_of(variant)
    if metric is None:
        return "not measured" if variant.status != "skipped" else fmt.DASH
    return f"{fmt.METRIC_NAMES[metric.name]} {metric_figures(variant, metric)}"


def metric_figures(variant: VariantReport, metric: MetricReport) -> str:
    """Value and change, `98.3 % (-0.1 points)`; the baseline has no difference to itself."""
    figure = fmt.metric_value(metric.name, metric.value)
    if variant.precision == "fp32" or not fmt.is_number(metric.drop):
        return figure
    return f"{figure} ({fmt.metric_change(metric.name, metric_change(metric))})"


def max_error(value: float | None, output: OutputParity) -> str:
    """An error of an output: a number, a dash for labels, or `not comparable`.

    The last is a value that is not finite or another shape; the output's reason tells which.
    """
    if fmt.is_number(value):
        return fmt.scientific(value)
    labels = output.passed or isinstance(output.expected, str)
    return fmt.DASH if labels else "not comparable"


def parity_cell(variant: VariantReport) -> str:
    """The largest absolute error and the labels' agreement of the worst output."""
    parity = parity_of(variant)
    if parity is None or not parity.outputs:
        return "not compared" if variant.status != "skipped" else fmt.DASH
    worst = worst_output(parity)
    parts = [f"max error {max_error(worst.max_abs_error, worst)}"]
    if parts[0].endswith(fmt.DASH):
        parts = []
    agreement = worst_agreement(parity)
    if agreement is not None:
        parts.append(f"{fmt.percent(agreement)} same labels")
    return ", ".join(parts) or fmt.DASH


def noise_of(evidence: Evidence, output: OutputParity) -> OutputNoise | None:
    """How far the source's own output moves with the way that it is run, where measured."""
    return next((n for n in evidence.export.noise if n.output == output.output), None)


def worst_output(parity: ParityReport) -> OutputParity:
    """The output to tell of: one that fails, or else the largest error; labels have none."""
    numeric = [o for o in parity.outputs if fmt.is_number(o.max_abs_error)]
    if not all(output.passed for output in parity.outputs) or not numeric:
        return parity.worst
    return max(numeric, key=lambda output: output.max_abs_error or 0.0)


def worst_agreement(parity: ParityReport) -> float | None:
    """The smallest share of equal labels over the outputs that have labels."""
    shares = [o.label_agreement for o in parity.outputs if o.label_agreement is not None]
    return min(shares, default=None)


def speed(row: BenchmarkReport) -> str:
    """The verdict with its size: `1.8x faster`, `1.3x slower`, `no difference`, `baseline`."""
    if row.verdict not in {"faster", "slower"}:
        return row.verdict
    if not row.ratio or not fmt.is_number(row.ratio):
        return row.verdict
    factor = 1 / row.ratio if row.verdict == "faster" else row.ratio
    return f"{fmt.times(factor)} {row.verdict}"


def size_gain(variant: VariantReport, baseline: VariantReport) -> str | None:
    """The variant's size beside fp32's: `3.6x smaller`; None where either is missing."""
    if variant.model is None or baseline.model is None or not variant.model.size_bytes:
        return None
    factor = baseline.model.size_bytes / variant.model.size_bytes
    if abs(factor - 1) <= _SAME_SIZE:
        return "the same size"
    return f"{fmt.times(factor)} smaller" if factor > 1 else f"{fmt.times(1 / factor)} larger"
