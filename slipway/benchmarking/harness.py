"""The measurement: every variant side by side, query by query, in several fresh processes.

Two processes of one model differ by some percent through memory layout alone, so each measures
some of the queries, and the intervals are over processes as well as over queries.
"""

from pathlib import Path

from slipway.benchmarking import conditions, statistics
from slipway.benchmarking.arms import Arm
from slipway.benchmarking.collecting import Plan, collect
from slipway.benchmarking.inputs import largest_case
from slipway.benchmarking.rows import others_percent, report, sizes_of, windows_at
from slipway.benchmarking.scenarios import offline, server
from slipway.benchmarking.soundness import too_little
from slipway.benchmarking.sweeps import sweep
from slipway.errors import EnvironmentMissing, RequestError
from slipway.protocols import BenchmarkRequest
from slipway.providers import PROVIDERS, allotted_cores
from slipway.reports import BenchmarkReport, BenchmarkSuite, ScenarioReport, SessionSettings
from slipway.samples.arrays import Arrays
from slipway.samples.golden import GoldenSet
from slipway.specs import BenchmarkSpec


def measure(request: BenchmarkRequest, scratch: Path) -> BenchmarkSuite:
    """Measure all variants against the first, which is the baseline.

    A model with a fixed batch dimension is measured at that size alone, whatever was asked for. A
    provider that does not load is no error but a suite that says so; then the variants are measured
    on the CPU, labelled as that, unless the CPU is asked for anyway.

    Raises:
        RequestError: when there are no models.
        SourceNotFound, DataError: for the golden set, or where it does not fit the models.
        CheckFailed: when a model does not load or run, gives NaN or is not deterministic.
        EnvironmentMissing: when there is no onnxruntime at all.
    """
    if not request.models:
        raise RequestError("a benchmark needs at least one model")
    try:
        return _measure(request, scratch)
    except EnvironmentMissing as error:
        if request.provider == "cpu":
            raise
        fallback = request.model_copy(update={"provider": "cpu"})
        if "cpu" in request.options.providers:
            found = _describe_only(fallback, scratch)
        else:
            found = _measure(fallback, scratch)
        return found.model_copy(
            update={
                "provider": request.provider,
                "status": "missing environment",
                "reason": str(error),
                "rows": tuple(_relabelled(row, request.provider) for row in found.rows),
                "scenarios": (),
                "sweep": None,
            }
        )


def _relabelled(row: BenchmarkReport, asked: str) -> BenchmarkReport:
    return row.model_copy(update={"provider": f"cpu fallback for {asked}"})


def _measure(request: BenchmarkRequest, scratch: Path) -> BenchmarkSuite:
    options = request.options
    recorded = largest_case(GoldenSet.load(request.golden))
    arms = arms_of(request, scratch)
    load = conditions.load_average()
    before = conditions.Clocks.read()
    plan = Plan.of(options, arms=len(arms))
    found = collect(arms, recorded, plan, scratch=scratch)
    after = conditions.Clocks.read()
    rows = tuple(
        row
        for size in sizes_of(found)
        for row in report(
            windows_at(found, size, wanted=plan.processes),
            provider=request.provider,
            slo_p99_ms=options.slo_p99_ms,
        )
    )
    broken = too_little(
        found[0].placements,
        ort_name=PROVIDERS[request.provider].ort_name,
        least=options.min_provider_share,
    )
    return BenchmarkSuite(
        provider=request.provider,
        status="failed" if broken else "measured",
        reason=broken,
        conditions=conditions.describe(
            settings=arms[0].settings,
            confidence=statistics.CONFIDENCE,
            load_average=load,
            steal_percent=after.steal_percent_since(before),
            others_percent=others_percent(found),
            provider_options=arms[0].reported_options,
        ),
        rows=rows,
        scenarios=_scenarios(arms, recorded, options, scratch),
        placements=found[0].placements,
        sweep=sweep(arms, rows, recorded, options, scratch=scratch) if options.sweep else None,
    )


def _scenarios(
    arms: list[Arm], recorded: Arrays, options: BenchmarkSpec, scratch: Path
) -> tuple[ScenarioReport, ...]:
    """What was asked for beside single-stream."""
    found: list[ScenarioReport] = []
    if "offline" in options.scenarios:
        found += offline(arms, recorded, options, scratch=scratch)
    if "server" in options.scenarios:
        for size in options.batch_sizes:
            found += server(arms, recorded, options, size=size)
    return tuple(found)


def _describe_only(request: BenchmarkRequest, scratch: Path) -> BenchmarkSuite:
    """The conditions of a suite in which nothing was measured."""
    (arm, *_) = arms_of(request, scratch)
    return BenchmarkSuite(
        provider=request.provider,
        conditions=conditions.describe(
            settings=arm.settings,
            confidence=statistics.CONFIDENCE,
            load_average=conditions.load_average(),
            steal_percent=None,
        ),
        rows=(),
    )


def arms_of(request: BenchmarkRequest, scratch: Path) -> list[Arm]:
    """An arm for each variant, under the settings that the spec asks for."""
    if request.provider not in PROVIDERS:
        raise RequestError(f"no provider {request.provider!r}; there are {', '.join(PROVIDERS)}")
    given = {str(name): options for name, options in request.options.provider_options.items()}
    return [
        Arm(
            label=label,
            model=model,
            provider=request.provider,
            settings=SessionSettings(
                intra_op_threads=request.options.intra_op_threads or allotted_cores()
            ),
            cache=scratch,
            options=given.get(request.provider, {}),
        )
        for label, model in request.models.items()
    ]
