"""`slipway quantize`: every precision of a bare file judged and measured, the best one delivered.

No store, no cache, no orchestrator.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast

from slipway.artifacts import digest_file
from slipway.benchmarking.frontier import beaten_statics, build_frontier, nearest
from slipway.benchmarking.selection import select_variant
from slipway.errors import PrecisionFailed, RequestError
from slipway.precisions.calibration import Progress
from slipway.precisions.states import State, merge_states
from slipway.protocols import AnyPrecisionSpec
from slipway.reports import CalibrationTally, Frontier, QuantizeReport
from slipway.specs import QUANTIZED, Precision, PrecisionsSpec
from slipway.stages.bare import existing, scratch_folder
from slipway.stages.calibrating import check_state
from slipway.stages.delivery import deliver_model
from slipway.stages.ladder import LADDER, Goal, Ladder, size_of


def quantize_within_budget(
    model: Path,
    out: Path,
    *,
    calibration: Path | None,
    precisions: PrecisionsSpec,
    wanted: Collection[Precision] = QUANTIZED,
    goal: Goal,
    state: Path | None = None,
    shares: Sequence[Path] = (),
    progress: Progress | None = None,
) -> QuantizeReport:
    """Write the fastest wanted variant that is within the budget to `out`, whole or not at all.

    With labelled data the metric's drop decides; without, the relative L2 error and the labels'
    agreement with the float model's own outputs, on the evaluation data or else on the
    calibration data.

    Args:
        model: The float model.
        out: A new file.
        calibration: Inputs that the model will see; int8-static cannot do without.
        precisions: What is made, judged and measured, and how.
        wanted: What of it may be written.
        goal: What it may cost.
        state: Where calibration is saved again and again, and resumed from.
        shares: States that workers counted of shares of the samples, merged to begin with.
        progress: Told how far calibration is, and the search for nodes that stay in float.

    Raises:
        RequestError: when `out` exists, or data is missing.
        SourceNotFound, UnreadableModel, DataError: for the files.
        PrecisionFailed: when nothing that is wanted applies to the model.
    """
    asked = cast("dict[Precision, AnyPrecisionSpec]", precisions.asked())
    if out.exists():
        raise RequestError(f"{out} exists already; choose another name or remove it")
    if goal.metric is not None and goal.evaluation is None:
        raise RequestError(f"the metric {goal.metric} needs --evaluation, with labels in it")
    if calibration is None and "int8-static" in asked:
        raise RequestError(
            "int8-static needs --calibration: inputs that the model will see; or name what needs "
            "none, such as --precision int4-weights"
        )
    if calibration is None and goal.evaluation is None:
        raise RequestError("there is nothing to judge by; give --evaluation or --calibration")
    if state is not None:
        check_state(state)
    with scratch_folder() as scratch:
        ladder = Ladder(model, goal, calibration=calibration, scratch=scratch)
        ladder.keep, ladder.tally.progress = state, progress
        if shares:
            ladder.begin = scratch.with_name("merged.npz")
            merge_states(State.load(existing(share)) for share in shares).save(ladder.begin)
        ladder.climb(asked)
        made = {name for name in LADDER if name in wanted and name in asked}
        return _deliver(ladder, made, out)


def _deliver(ladder: Ladder, wanted: Collection[Precision], out: Path) -> QuantizeReport:
    """The fastest within the budget, copied; or what comes nearest to the budget."""
    variants = ladder.variants
    frontier = build_frontier(
        tuple(variants.values()), ladder.rows, provider="cpu" if ladder.rows else None
    )
    found = QuantizeReport(
        name=ladder.model.stem,
        passed=False,
        frontier=frontier,
        calibration=_tally(ladder),
        not_made={
            name: str(variant.reason)
            for name, variant in variants.items()
            if variant.status == "skipped"
        },
    )
    allowed = ladder.passed() & set(wanted)
    if not allowed:
        return found.model_copy(update=_refusal(ladder, wanted, frontier))
    best = select_variant(ladder.rows, passed=allowed - beaten_statics(frontier))
    made = variants[best].conversion
    deliver_model(ladder.models[best], out)
    return found.model_copy(
        update={
            "passed": True,
            "precision": best,
            "model": out,
            "digest": digest_file(out),
            "size_bytes": size_of(ladder.models[best]),
            "settings": made.settings,
            "made_for": made.made_for,
            "scales": made.scales,
            "findings": made.findings,
        }
    )


def _refusal(
    ladder: Ladder, wanted: Collection[Precision], frontier: Frontier
) -> dict[str, object]:
    tried = [ladder.variants[name] for name in LADDER if name in wanted]
    reasons = [f"{variant.precision} {variant.status}: {variant.reason}" for variant in tried]
    if all(variant.status == "skipped" for variant in tried):
        raise PrecisionFailed(f"{ladder.model.name}: {'; '.join(reasons)}")
    scales = (variant.conversion.scales for variant in tried if variant.conversion.scales)
    return {
        "reason": f"nothing of {ladder.model.name} is within the budget: {'; '.join(reasons)}",
        "scales": next(scales, None),
        "nearest": nearest(frontier, among=wanted),
    }


def _tally(ladder: Ladder) -> CalibrationTally | None:
    counted = ladder.tally
    if not counted.samples:
        return None
    return CalibrationTally(
        samples=counted.samples, resumed=counted.resumed, batches=counted.batches
    )
