"""`slipway calibrate`: a share of a calibration of a bare file, counted in an isolated child."""

from pathlib import Path

from pydantic import Field

from slipway.artifacts import Value
from slipway.errors import RequestError
from slipway.precisions.calibration import Progress
from slipway.precisions.relay import Tally, relay
from slipway.precisions.states import State
from slipway.protocols import CalibrateRequest, CalibrateResult
from slipway.specs import Int8StaticSpec
from slipway.stages.bare import existing, run_child, scratch_folder


class CountedShare(Value):
    """What one worker counted."""

    state: Path
    samples: int = Field(description="Counted in the state, now and before.")
    planned: int = Field(description="Of all shares together.")
    resumed: int = Field(description="Counted before, and taken from the state.")
    batches: int = Field(description="Run now.")


def check_state(state: Path) -> None:
    """Refuse a file that is no state, and a place where none can be written, before any work.

    Raises:
        DataError: when there is something else.
        RequestError: when its folder cannot be made.
    """
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{state}: {error.strerror}; choose another folder") from error
    if state.exists():
        State.load(state)


def calibrate_share(
    model: Path,
    *,
    calibration: Path,
    options: Int8StaticSpec,
    state: Path,
    shard: tuple[int, int] = (1, 1),
    progress: Progress | None = None,
) -> CountedShare:
    """Count the samples of a shard, number and of how many, into the file `state`.

    Raises:
        SourceNotFound, UnreadableModel, DataError: for the files, the state among them.
        PrecisionFailed: when int8-static does not apply to the model.
    """
    check_state(state)
    tally = Tally(progress)
    with scratch_folder() as scratch:
        counted = run_child(
            "slipway.precisions.sharding:count_share",
            CalibrateRequest(
                model=existing(model),
                calibration=existing(calibration),
                options=options,
                number=shard[0],
                of=shard[1],
            ),
            returns=CalibrateResult,
            scratch=scratch,
            what=f"the calibration of {model.name}",
            reads=[model.parent, calibration],
            look=relay(scratch, keep=state, progress=tally),
        )
    return CountedShare(
        state=state,
        samples=counted.samples,
        planned=counted.planned,
        resumed=tally.resumed,
        batches=tally.batches,
    )
