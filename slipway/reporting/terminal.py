"""The release in a terminal: a table of the variants between the verdict and the reasons.

Every text is a `Text`, never console markup, so that a bracket in a model's name stays one.
"""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from slipway.reporting import cells, summary
from slipway.reporting import formatting as fmt
from slipway.reporting.measurements import lack_sentence
from slipway.reports import BenchmarkReport, Evidence, VariantReport

# With fewer columns than this the intervals and the p95 are left out.
WIDE = 112

_STYLES = {
    "passed": "green",
    "failed": "bold red",
    "skipped": "dim",
    "faster": "green",
    "slower": "yellow",
    "no difference": "",
    "baseline": "dim",
}


def print_variants(console: Console, evidence: Evidence) -> None:
    """Verdict, table, selection and the reasons of what was left out."""
    style = "bold green" if evidence.passed else "bold red"
    headline = Text(f"{evidence.name}: {summary.headline(evidence).lower()}", style=style)
    console.print(headline, Text(summary.explanation(evidence)), sep="\n")
    for failure in evidence.failures[1:]:
        console.print(Text(f"  {failure}"))
    console.print(variants_renderable(evidence, width=console.width))
    for text in summary.selection_sentences(evidence):
        console.print(Text(text, style="bold"))
    for variant in summary.left_out(evidence):
        console.print(Text(summary.reason_sentence(variant), style=_STYLES[variant.status]))
    for lack in filter(None, map(lack_sentence, evidence.suites)) if evidence.passed else ():
        console.print(Text(lack, style="yellow"))
    for note in _notes(evidence):
        console.print(Text(note, style="dim"))


def variants_renderable(evidence: Evidence, *, width: int = 120) -> Table:
    """One line group per variant and measurement; latencies in milliseconds.

    Fits 120 columns with every interval, and 80 without the intervals, the p95, and of several
    providers the size.
    """
    wide = width >= WIDE
    providers = cells.several_providers(evidence)
    where = "on" if providers else "batch" if cells.several_batch_sizes(evidence) else None
    percentiles: tuple[cells.Percentile, ...] = cells.PERCENTILES if wide else ("p50", "p99")
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("variant")
    sized = wide or not providers  # there is no room for all in 80 columns
    for name in (*(["size"] if sized else []), "parity", "metric", *([where] if where else [])):
        table.add_column(name, justify="right")
    for name in percentiles:
        table.add_column(f"{name} ms", justify="right")
    table.add_column("latency vs fp32" if wide else "vs fp32", justify="right")
    for variant in evidence.variants:
        for index, row in enumerate(variant.benchmarks or (None,)):
            about = _about(variant, sized=sized) if index == 0 else [Text()] * (3 + sized)
            place = [_place(row, provider=providers)] if where else []
            times = [_latency(row, name, wide=wide) for name in percentiles]
            table.add_row(*about, *place, *times, _speed(row, wide=wide))
        table.add_section()
    return table


def _about(variant: VariantReport, *, sized: bool) -> list[Text]:
    """What holds of the variant whatever is measured: name, size, parity, metric."""
    required = ", required" if variant.required else ""
    name = Text(f"{variant.precision}\n", style="bold")
    name.append(f"{variant.status}{required}", style=_STYLES[variant.status] or None)
    size = Text(fmt.size(variant.model.size_bytes if variant.model else None))
    return [name, *([size] if sized else []), _parity(variant), _metric(variant)]


def _parity(variant: VariantReport) -> Text:
    parity = cells.parity_of(variant)
    if parity is None or not parity.outputs:
        return Text(fmt.DASH)
    worst = cells.worst_output(parity)
    text = Text(cells.max_error(worst.max_abs_error, worst))
    agreement = cells.worst_agreement(parity)
    if agreement is not None:
        text.append(f"\n{fmt.percent(agreement)}", style="dim")
    return text


def _metric(variant: VariantReport) -> Text:
    metric = cells.metric_of(variant)
    if metric is None:
        return Text(fmt.DASH)
    text = Text(fmt.metric_value(metric.name, metric.value))
    if variant.precision != "fp32" and fmt.is_number(metric.drop):
        change = fmt.metric_change(metric.name, cells.metric_change(metric))
        text.append(f"\n{change}", style="dim" if metric.passed else "red")
    return text


def _place(row: BenchmarkReport | None, *, provider: bool) -> Text:
    if row is None:
        return Text(fmt.DASH)
    if not provider:
        return Text(str(row.batch_size))
    return Text(row.provider).append(f"\nbatch {row.batch_size}", style="dim")


def _latency(row: BenchmarkReport | None, name: cells.Percentile, *, wide: bool) -> Text:
    if row is None:
        return Text(fmt.DASH)
    found = cells.percentile(row, name)
    text = Text(fmt.significant(found.value_ms))
    if wide:
        bounds = fmt.interval(found.low_ms, found.high_ms)
        missing = not fmt.is_number(found.value_ms)
        text.append(f"\n{cells.lack(row, name) if missing else bounds}", style="dim")
    return text


def _speed(row: BenchmarkReport | None, *, wide: bool) -> Text:
    if row is None:
        return Text("not benchmarked", style="dim")
    text = Text(cells.speed(row), style=_STYLES[row.verdict])
    if wide and row.ratio_interval and row.verdict != "baseline":
        text.append(f"\n{fmt.interval(*row.ratio_interval)}", style="dim")
    return text


def _notes(evidence: Evidence) -> list[str]:
    """How to read the cells that hold two numbers, and what was not estimable."""
    rows = [row for variant in evidence.variants for row in variant.benchmarks]
    notes = ["parity: largest absolute error, and the share of equal labels where there are any"]
    for name in cells.PERCENTILES:
        missing = [r for r in rows if not fmt.is_number(cells.percentile(r, name).value_ms)]
        reasons = dict.fromkeys(cells.why_not_estimable(row, name) for row in missing)
        notes += [f"{name}: {reason}" for reason in reasons]
    if any(row.noisy for row in rows):
        notes.append("other load disturbed the measurement")
    return notes
