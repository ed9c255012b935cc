"""The release as GitHub-flavoured markdown and as rows of plain text.

For Prefect's artifacts and the registered version's description: short, with the deciding numbers.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from slipway.reporting import cells, summary
from slipway.reporting import formatting as fmt
from slipway.reporting.measurements import conditions_sentence
from slipway.reports import BenchmarkReport, Evidence, VariantReport

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#+!|~&])")
_LIST_MARKER: Final = re.compile(r"^(\d*)([-.)])(?=\s|$)")

_WIDE: Final = {"p95", "p99", "latency / fp32"}


def summary_markdown(
    evidence: Evidence, *, links: Mapping[str, str] | None = None, cost: str = ""
) -> str:
    """Verdict, selection and a table of the variants, as narrow as a page of Prefect is.

    Args:
        evidence: What was found.
        links: Addresses by their text, added as a last line (the report, the registered version).
            Only http, https and relative addresses become links; others are shown as code.
        cost: A sentence on what the run has cost.
    """
    parts = [
        f"## {escape(evidence.name)}: {summary.headline(evidence).lower()}",
        escape(summary.explanation(evidence)),
        _bullets([summary.brief(failure) for failure in evidence.failures[1:]]),
        "\n".join(f"**{escape(text)}**  " for text in summary.selection_sentences(evidence)),
        _table(_narrow(variants_table(evidence))),
        _bullets([summary.brief(summary.reason_sentence(v)) for v in summary.left_out(evidence)]),
        _conditions(evidence),
        escape(cost),
        " \u00b7 ".join(_link(text, address) for text, address in (links or {}).items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def variants_table(evidence: Evidence) -> list[dict[str, str]]:
    """One row of plain text per variant and measurement, for a table that renders no markup.

    What decides comes first: a page of Prefect or MLflow shows six or seven columns at a time.
    """
    several = cells.several_batch_sizes(evidence)
    providers = cells.several_providers(evidence)
    return [
        _row(variant, benchmark, batch=several, provider=providers)
        for variant in evidence.variants
        for benchmark in (variant.benchmarks or (None,))
    ]


def _narrow(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The columns that a verdict rests on; whoever wants the others has the whole table."""
    return [{name: cell for name, cell in row.items() if name not in _WIDE} for row in rows]


def _row(
    variant: VariantReport, benchmark: BenchmarkReport | None, *, batch: bool, provider: bool
) -> dict[str, str]:
    row = {
        "variant": variant.precision,
        "status": f"{variant.status} (required)" if variant.required else variant.status,
        "size": fmt.size(variant.model.size_bytes if variant.model else None),
        "metric": cells.metric_cell(variant),
        "verdict": cells.speed(benchmark) if benchmark else "not benchmarked",
    }
    if provider:
        row["provider"] = benchmark.provider if benchmark else fmt.DASH
    if batch:
        row["batch"] = str(benchmark.batch_size) if benchmark else fmt.DASH
    for name in cells.PERCENTILES:
        row[name] = cells.latency(benchmark, name) if benchmark else fmt.DASH
    row["latency / fp32"] = cells.ratio(benchmark) if benchmark else fmt.DASH
    row["parity"] = cells.parity_cell(variant)
    return row


def escape(text: str) -> str:
    """The text as markdown that shows exactly it, on one line: no markup and no HTML."""
    one_line = " ".join(text.split())
    escaped = _SPECIAL.sub(r"\\\1", one_line)
    return _LIST_MARKER.sub(r"\1\\\2", escaped)


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return ""
    header = list(rows[0])
    left = {"variant", "status", "verdict", "provider", "parity"}
    lines = [
        header,
        [":---" if name in left else "---:" for name in header],
        *([escape(cell) for cell in row.values()] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bullets(texts: Sequence[str]) -> str:
    return "\n".join(f"- {escape(text)}" for text in texts)


def _conditions(evidence: Evidence) -> str:
    """Where it was measured, in a line per provider."""
    return "\n".join(escape(conditions_sentence(suite)) for suite in evidence.suites)


def _link(text: str, address: str) -> str:
    scheme = re.match(r"^([A-Za-z][A-Za-z0-9+.-]*):", address)
    plain = not re.search(r"[\s<>`\\]", address)
    if plain and (scheme is None or scheme[1].lower() in {"http", "https"}):
        return f"[{escape(text)}](<{address}>)"
    return f"{escape(text)}: `{' '.join(address.replace('`', '').split())}`"
