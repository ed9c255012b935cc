"""The sentences of a release, written once: HTML, markdown and terminal all say the same.

Nothing is decided here; verdicts, statuses and selections are read from the evidence.
"""

import textwrap
from dataclasses import dataclass

from slipway.reporting import cells
from slipway.reporting import formatting as fmt
from slipway.reports import (
    BenchmarkReport,
    CacheReport,
    CostReport,
    Evidence,
    VariantReport,
)
from slipway.specs import Precision

# What a headline has room for, in characters.
_BRIEF = 320


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


def cost_sentence(cost: CostReport, cache: CacheReport) -> str:
    """What a run has cost, and what the cache has spared."""
    stages = cache.hits + cache.misses
    return (
        f"It took {fmt.significant(cost.cpu_s)} CPU seconds in {fmt.significant(cost.wall_s)} s, "
        f"moved {fmt.size(cost.read_bytes)} out of the store and {fmt.size(cost.written_bytes)} "
        f"into it, and found {cache.hits} of {fmt.count(stages, 'stage')} in the cache."
    )


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
    """One selection per provider, by the provider's name."""
    return tuple(
        _selection(evidence, provider, precision)
        for provider, precision in sorted(evidence.selected.items())
    )


def selection_sentences(evidence: Evidence) -> tuple[str, ...]:
    """What was selected for every provider, or that nothing was."""
    chosen = tuple(
        f"{selection.provider}: {selection.sentence}" for selection in selections(evidence)
    )
    return chosen or (nothing_selected(evidence),)


def nothing_selected(evidence: Evidence) -> str:
    """Why there is no selection, as far as the evidence tells."""
    measured = [variant for variant in evidence.variants if variant.benchmarks]
    if not measured:
        return "No variant is selected: no benchmark was run."
    if all(variant.status != "passed" for variant in measured):
        return "No variant is selected: none of those measured passed."
    return "No variant is selected: none met the budgets."


def _selection(evidence: Evidence, provider: str, precision: Precision) -> Selection:
    variant = cells.find_variant(evidence, precision)
    baseline = cells.find_variant(evidence, "fp32")
    row = cells.reference_benchmark(variant, provider) if variant else None
    if variant is None or precision == "fp32":
        latency = metric = size = None
        text = _stays(evidence, provider, precision, row)
    else:
        latency = cells.speed(row) if row else None
        metric = _metric_gain(variant)
        size = cells.size_gain(variant, baseline) if baseline else None
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
        parts = [f"is {compared} fp32, query for query{batch}", metric, size]
    else:
        parts = ["is selected", metric, size]
    return f"{precision} {', '.join(part for part in parts if part)}."


def _metric_gain(variant: VariantReport) -> str | None:
    metric = cells.metric_of(variant)
    if metric is None or not fmt.is_number(metric.drop):
        return None
    change = fmt.metric_change(metric.name, cells.metric_change(metric))
    return f"{fmt.METRIC_NAMES[metric.name]} {change}"
