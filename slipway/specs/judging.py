"""How equal a variant must be to its source, and what it may cost."""

import math

from pydantic import Field

from slipway.artifacts import Value
from slipway.specs.words import LOWER_IS_BETTER, Metric, Precision


class Tolerance(Value):
    """An output passes where |candidate - reference| <= atol + rtol * |reference|, everywhere."""

    rtol: float = Field(default=1e-4, ge=0, description="Relative part.")
    atol: float = Field(default=1e-5, ge=0, description="Absolute part.")


class ParitySpec(Value):
    """Tolerances by precision; INT8 and INT4 are judged by the task metric where there is one."""

    fp32: Tolerance = Field(default_factory=Tolerance, description="For the exported model.")
    fp16: Tolerance = Field(
        default_factory=lambda: Tolerance(rtol=1e-2, atol=1e-2), description="For half precision."
    )
    label_agreement: float = Field(
        default=0.99,
        ge=0,
        le=1,
        description="Share of golden rows whose label must agree, for classifiers and for INT8 "
        "and INT4 without labelled data.",
    )
    int8_relative_error: float = Field(
        default=0.1,
        gt=0,
        description="Without labelled data, the largest relative L2 error of an INT8 or INT4 "
        "variant.",
    )

    def for_precision(self, precision: Precision) -> Tolerance:
        """The tolerance that applies to a precision's raw outputs."""
        return self.fp32 if precision in {"fp32", "fp32-optimized"} else self.fp16


class BudgetSpec(Value):
    """What a variant may cost."""

    metric_drop: float = Field(
        default=0.01,
        ge=0,
        description="How much worse the task metric may be than the fp32 variant's, in the "
        "metric's own unit.",
    )


def is_close_or_better(candidate: float, baseline: float, *, metric: Metric, drop: float) -> bool:
    """Whether a metric is at most `drop` worse than its baseline; NaN never is."""
    if math.isnan(candidate):
        return False
    worse = candidate - baseline if metric in LOWER_IS_BETTER else baseline - candidate
    return worse <= drop
