"""The sentences of a release, written once: HTML, markdown and terminal all say the same.

Nothing is decided here; verdicts, statuses and selections are read from the evidence.
"""

import textwrap
from dataclasses import dataclass
from typing import Literal

from slipway.reporting import formatting as fmt
from slipway.reports import (
    BenchmarkReport,
    BenchmarkSuite,
    Estimate,
    Evidence,
    MetricReport,
    OutputParity,
    ParityReport,
    VariantReport,
)
from slipway.specs import LOWER_IS_BETTER, Precision

Percentile = Literal["p50", "p95", "p99"]
PERCENTILES: tuple[Percentile, ...] = ("p50", "p95", "p99")

# What a headline has room for, in characters.
_BRIEF = 320
# Sizes this near to each other are called the same.
_SAME_SIZE = 0.02


@dataclass(frozen=True)
class Selection:
    """What one provider serves best, and what that gains over fp32.

    Each gain is a phrase such as `1.8x faster`, or None where it was not measured or where fp32
    itself is selected.
    """

    provider: str
    precision: Precision
    variant: VariantReport | None
    benchmark: BenchmarkReport | None
    latency: str | None
    metric: str | None
    size: str | None
    sentence: str


def headline(evidence: Evidence) -> str:
    """The verdict in a word."""
    return "Passed" if evidence.passed else "Failed"


def explanation(evidence: Evidence) -> str:
    """Why the release passed or failed, in a sentence."""
    return _why_passed(evidence) if evidence.passed else _why_failed(evidence)


def _why_passed(evidence: Evidence) -> str:
    total = len(evidence.variants)
    out = left_out(evidence)
    if not out:
        subject = (
            f"The {evidence.variants[0].precision} variant"
            if total == 1
            else f"All {total} variants"
        )
        return f"{subject} passed every check."
    named = " and ".join(f"{variant.precision} {_past(variant)}" for variant in out)
    tail = "and is not required" if len(out) == 1 else "and are not required"
    return f"{total - len(out)} of {fmt.count(total, 'variant')} passed; {named}, {tail}."


def _why_failed(evidence: Evidence) -> str:
    if evidence.failures:
        rest = len(evidence.failures) - 1
        more = f" ({fmt.count(rest, 'more failure')} below.)" if rest else ""
        return sentence(brief(evidence.failures[0])) + more
    required = [v for v in left_out(evidence) if v.required]
    if required:
        return " ".join(brief(reason_sentence(variant)) for variant in required)
    return "The release failed, and no reason was recorded."


def left_out(evidence: Evidence) -> tuple[VariantReport, ...]:
    """The variants that are not in the bundle."""
    return tuple(variant for variant in evidence.variants if variant.status != "passed")


def reason_of(variant: VariantReport) -> str | None:
    """Why a variant failed or was skipped: the first reason that was recorded."""
    reasons = (
        variant.reason,
        variant.validation.reason if variant.validation else None,
        variant.conversion.reason,
    )
    return next((reason for reason in reasons if reason), None)


def reason_sentence(variant: VariantReport) -> str:
    """Why a variant is left out, as in `fp16 was skipped: it has a weight beyond float16.`."""
    reason = reason_of(variant) or "no reason was recorded"
    required = " (required)" if variant.required else ""
    return sentence(f"{variant.precision}{required} {_past(variant)}: {reason}")


def sentence(text: str) -> str:
    """The text with a full stop, unless it ends in punctuation."""
    text = text.strip()
    return text if text.endswith((".", "!", "?", "\u2026")) else f"{text}."


def brief(text: str) -> str:
    """The text on one line, cut at a word with an ellipsis where it is long, as a traceback is."""
    return textwrap.shorten(text, width=_BRIEF, placeholder=" \u2026")


def _past(variant: VariantReport) -> str:
    return {"failed": "failed", "skipped": "was skipped", "passed": "passed"}[variant.status]


# What was selected, and what it gains.


def selections(evidence: Evidence) -> tuple[Selection, ...]:
    """One selection per provider, in the order of the evidence."""
    return tuple(
        _selection(evidence, provider, precision)
        for provider, precision in evidence.selected.items()
    )


def selection_sentences(evidence: Evidence) -> tuple[str, ...]:
    """What was selected for every provider, or that nothing was."""
    chosen = tuple(
        f"{selection.provider}: {selection.sentence}" for selection in selections(evidence)
    )
    return chosen or (nothing_selected(evidence),)


def nothing_selected(evidence: Evidence) -> str:
    """Why there is no selection, as far as the evidence tells."""
    measured = any(variant.benchmarks for variant in evidence.variants)
    return (
        "No variant met the budgets, so none is selected."
        if measured
        else "No variant is selected: no benchmark was run."
    )


def _selection(evidence: Evidence, provider: str, precision: Precision) -> Selection:
    variant = find_variant(evidence, precision)
    baseline = find_variant(evidence, "fp32")
    row = reference_benchmark(variant, provider) if variant else None
    if variant is None or precision == "fp32":
        latency = metric = size = None
        text = _stays(evidence, provider, precision, row)
    else:
        latency = speed(row) if row else None
        metric = _metric_gain(variant)
        size = size_gain(variant, baseline) if baseline else None
        several = len({b.batch_size for b in variant.benchmarks if b.provider == provider}) > 1
        text = _gain_sentence(precision, row, (latency, metric, size), several=several)
    return Selection(provider, precision, variant, row, latency, metric, size, text)


def _stays(
    evidence: Evidence, provider: str, precision: Precision, row: BenchmarkReport | None
) -> str:
    others = [
        benchmark.verdict
        for variant in evidence.variants
        for benchmark in variant.benchmarks
        if variant.precision != precision
        and variant.status == "passed"
        and benchmark.provider == provider
    ]
    runs = f" runs at {fmt.milliseconds(row.p50.value_ms)} at p50" if row else " is selected"
    if others and "faster" not in others:
        return f"{precision}{runs}; no other variant that passed was faster."
    return f"{precision}{runs}."


def _gain_sentence(
    precision: Precision,
    row: BenchmarkReport | None,
    gains: tuple[str | None, str | None, str | None],
    *,
    several: bool,
) -> str:
    latency, metric, size = gains
    if row and latency:
        batch = f" with batch size {row.batch_size}" if several else ""
        compared = "as fast as" if row.verdict == "no difference" else f"{latency} than"
        parts = [f"is {compared} fp32 at p50{batch}", metric, size]
    else:
        parts = ["is selected", metric, size]
    return f"{precision} {', '.join(part for part in parts if part)}."


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


def _metric_gain(variant: VariantReport) -> str | None:
    metric = metric_of(variant)
    if metric is None or not fmt.is_number(metric.drop):
        return None
    return (
        f"{fmt.METRIC_NAMES[metric.name]} {fmt.metric_change(metric.name, metric_change(metric))}"
    )


# One variant's cells.


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


def suite_of(evidence: Evidence, provider: str) -> BenchmarkSuite | None:
    """The session that a provider's rows come from."""
    return next((suite for suite in evidence.suites if suite.provider == provider), None)


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
    """An error of an output: a number, `not finite`, or a dash for labels, which have none."""
    if fmt.is_number(value):
        return fmt.scientific(value)
    labels = output.passed or isinstance(output.expected, str)
    return fmt.DASH if labels else "not finite"


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
