"""Why outputs disagree with the source's: the kinds of fault that can be told without a framework.

Each rule tries one explanation for real: it runs the model again, transposed, repeated, or with
inputs moved by one rounding, and speaks only where the outputs then agree. So what is said holds;
nothing is said where no rule fits. A rule is one function of a `trials.Trial` and one line below;
there is a module for each subject.

Where a graph goes wrong is another question: `stepping` computes every value inside, `departures`
finds the first that is off on the way to a wrong output, and `divergence` tells it against
float64; `sources` does so against what a trace recorded of the source model.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from slipway.providers.sessions import Session
from slipway.reports import Diagnosis
from slipway.samples.golden import GoldenSet
from slipway.specs import Tolerance
from slipway.validation.diagnosis.frozen import find_frozen_dimension
from slipway.validation.diagnosis.layouts import find_input_layout, find_output_layout
from slipway.validation.diagnosis.optimizing import find_optimizer
from slipway.validation.diagnosis.outputs import find_dtype, find_swapped_outputs
from slipway.validation.diagnosis.preprocessing import find_preprocessing
from slipway.validation.diagnosis.randomness import find_randomness
from slipway.validation.diagnosis.thresholds import find_threshold
from slipway.validation.diagnosis.trials import Trial

Rule = Callable[[Trial], Diagnosis | None]
RULES: Final[tuple[Rule, ...]] = (
    find_randomness,
    find_optimizer,
    find_frozen_dimension,
    find_dtype,
    find_swapped_outputs,
    find_output_layout,
    find_input_layout,
    find_threshold,
    find_preprocessing,
)
"""In the order of how much else each would explain away."""


def diagnose(
    session: Session, golden: GoldenSet, tolerance: Tolerance, *, model: Path | None = None
) -> Diagnosis | None:
    """What is wrong with a model that failed parity; None where no rule finds it.

    Args:
        session: The model.
        golden: What the source gave.
        tolerance: What counts as agreeing.
        model: The model's file, for the trials that open it in another way.
    """
    trial = Trial(session, golden, tolerance, model)
    return next((found for rule in RULES if (found := rule(trial)) is not None), None)
