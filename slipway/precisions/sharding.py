"""A share of a calibration: what one worker counts, for a later conversion to merge with others'.

Model and samples are prepared as for int8-static, so that the states fit each other and it.
"""

from pathlib import Path

import onnx

from slipway.errors import PrecisionFailed
from slipway.precisions import graphs
from slipway.precisions.calibration import collect, plan_calibration
from slipway.precisions.exposing import Interval
from slipway.precisions.finishing import workplace
from slipway.precisions.gating import choose_samples
from slipway.precisions.int8_static import inapplicable
from slipway.precisions.marking import activations_to_measure
from slipway.precisions.masks import clamp_masks
from slipway.precisions.policy import choose_policy
from slipway.precisions.preprocess import preprocess
from slipway.precisions.relay import STATE, tell_progress
from slipway.precisions.states import State, check_data, check_same, digest_samples
from slipway.protocols import CalibrateRequest, CalibrateResult
from slipway.providers.signature import model_inputs
from slipway.samples.arrays import map_samples


def count_share(request: CalibrateRequest, scratch: Path) -> CalibrateResult:
    """Count the request's share of the samples into the state in `scratch`, resuming it.

    Raises:
        SourceNotFound, UnreadableModel: for the model.
        DataError: for calibration data that is unusable, or a state of another calibration.
        PrecisionFailed: when int8-static does not apply to the model.
    """
    options = request.options
    model = graphs.load_model(request.model)
    if reason := inapplicable(model):
        raise PrecisionFailed(f"{request.model.name}: {reason}")
    batch = fixed_batch(model)
    with workplace(scratch) as work:
        samples = choose_samples(
            model, map_samples(request.calibration), count=options.samples, work=work
        )
        scheme = choose_policy(model, options).scheme
        prepared = preprocess(model, work)
        clamp_masks(prepared, samples)
        plan = plan_calibration(
            prepared,
            planned=len(samples),
            method=options.method,
            tensors=activations_to_measure(prepared, scheme),
            percentile=options.percentile,
        )
        data = digest_samples(samples)
        saved = scratch / STATE
        state = State.load(saved) if saved.exists() else State(plan)
        check_same(plan, state.plan)
        check_data(state, data)
        start, stop = share_of(len(samples), number=request.number, of=request.of, batch=batch)
        done = collect(
            prepared,
            samples,
            plan,
            start=start,
            stop=stop,
            state=state,
            save=saved,
            data=data,
            progress=tell_progress(scratch),
        )
    return CalibrateResult(samples=done.samples, planned=len(samples))


def share_of(count: int, *, number: int, of: int, batch: int = 1) -> Interval:
    """The samples of share `number`, from 1, of so many; whole batches, but for the last share's.

    The shares of all numbers are all samples, each once.
    """
    batches = count // batch
    start, stop = (batch * (batches * it // of) for it in (number - 1, number))
    return start, count if number == of else stop


def fixed_batch(model: onnx.ModelProto) -> int:
    """The batch size that the model's inputs are fixed to, or 1."""
    sizes = (tensor.shape[0] for tensor in model_inputs(model) if tensor.shape)
    return max((size for size in sizes if isinstance(size, int)), default=1)
