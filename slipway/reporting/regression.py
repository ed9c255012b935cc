"""A regression run as rows of plain text and as markdown, for Prefect's artifacts."""

from slipway.reporting import formatting as fmt
from slipway.reporting.markdown import escape
from slipway.reporting.summary import cost_sentence
from slipway.reports import MatrixReport, NightlyReport, RegressionReport, ToolchainReport


def verdict(report: RegressionReport) -> str:
    """One word or two for a table."""
    if not report.passed:
        return "regressed"
    return "drifted" if report.drifts else "unchanged"


def models_table(report: NightlyReport) -> list[dict[str, str]]:
    """A row a model: the verdict first, then what it rests on."""
    return [
        {
            "model": model.name,
            "verdict": verdict(model),
            "promoted version": str(model.version) if model.version else fmt.DASH,
            "regressions": str(len(model.regressions)),
            "drifts": str(len(model.drifts)),
            "why": "; ".join(drift.sentence for drift in model.regressions) or fmt.DASH,
            "changed since": changes(model),
            "from the cache": f"{model.cache.hits} of {model.cache.hits + model.cache.misses}",
        }
        for model in report.models
    ]


def drifts_table(report: RegressionReport) -> list[dict[str, str]]:
    """A row a drift of one model, regressions first."""
    ordered = sorted(report.drifts, key=lambda drift: not drift.regressed)
    return [
        {
            "what": drift.kind,
            "of": drift.place,
            "verdict": "regressed" if drift.regressed else "noted",
            "how": drift.sentence,
        }
        for drift in ordered
    ]


def nightly_markdown(report: NightlyReport) -> str:
    """The headline, and for each model that regressed why, and what changed since."""
    failed = [model for model in report.models if not model.passed]
    lines = [f"## {escape(headline(report))}"]
    for model in failed:
        lines.append(f"### {escape(model.name)}")
        lines += [f"- {escape(drift.sentence)}" for drift in model.regressions]
        if model.cause:
            lines.append(f"\nChanged since: {escape(model.cause)}")
    if report.advisories:
        lines.append("### Tools")
        lines += [f"- {escape(advisory.sentence)}" for advisory in report.advisories]
    if report.cost is not None:
        lines.append(f"\n{escape(cost_sentence(report.cost, report.cache))}")
    return "\n".join(lines) + "\n"


def matrix_table(report: MatrixReport) -> list[dict[str, str]]:
    """A row a model, a column a toolchain; what a toolchain could not do at all stands in each."""
    models = dict.fromkeys(
        model.name for one in report.toolchains if one.report for model in one.report.models
    )
    rows = [
        {"model": name, **{one.toolchain: _cell(one, name) for one in report.toolchains}}
        for name in models
    ]
    verdicts = {one.toolchain: "fit" if one.passed else "not fit" for one in report.toolchains}
    return [*rows, {"model": "all models", **verdicts}]


def _cell(toolchain: ToolchainReport, name: str) -> str:
    if toolchain.report is None:
        return f"failed: {toolchain.reason}"
    model = next((it for it in toolchain.report.models if it.name == name), None)
    if model is None:
        return fmt.DASH
    why = "; ".join(drift.sentence for drift in model.regressions)
    return f"{verdict(model)}: {why}" if why else verdict(model)


def headline(report: NightlyReport) -> str:
    """One sentence over all models."""
    models = fmt.count(len(report.models), "model")
    failed = [model.name for model in report.models if not model.passed]
    if not report.models:
        return "No model is promoted: there is nothing to compare"
    if failed:
        return f"{len(failed)} of {models} regressed: {', '.join(failed)}"
    drifted = sum(bool(model.drifts) for model in report.models)
    return f"{models} made again, none regressed, {drifted} drifted within the limits"


def changes(model: RegressionReport) -> str:
    """The tools whose versions changed, for a cell."""
    found = [f"{it.tool} {it.before} \u2192 {it.after}" for it in model.changed_tools]
    return ", ".join(found) or fmt.DASH
