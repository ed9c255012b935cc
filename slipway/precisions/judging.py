"""Whether a quantized model is within the budget, on all of the data or on a share of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slipway.precisions.graphs import DATA_SUFFIX
from slipway.protocols import ValidateRequest
from slipway.providers.sessions import Session
from slipway.reports import Attempt, ParityReport
from slipway.samples.arrays import load_samples, save_npz
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.validation.validate import judge_outputs


@dataclass(frozen=True)
class Judge:
    """Says of a session whether its outputs are within the budget."""

    request: ValidateRequest
    golden: GoldenSet

    @classmethod
    def load(cls, request: ValidateRequest) -> "Judge":
        """Read the golden set.

        Raises:
            SourceNotFound, DataError: where there is none, or it is not one.
        """
        return cls(request, GoldenSet.load(request.golden))

    def passes(self, session: Session) -> bool:
        """Whether it is within the budget."""
        return judge_outputs(self.request, session, self.golden)[2] is None

    def share(self, rows: int, session: Session, *, work: Path) -> "Judge":
        """The same judgement on about so many rows; `session` computes as the float model does.

        A metric is held to what the float model reaches on the same rows: on others it may be
        better or worse.
        """
        golden = GoldenSet(tuple(_first_cases(self.golden, rows)))
        request = self.request
        if request.metric is None or request.evaluation is None:
            return Judge(request, golden)
        samples = load_samples(request.evaluation)
        if len(samples) > rows:
            chosen = np.linspace(0, len(samples) - 1, rows).round().astype(int)
            path = work / "evaluation-share.npz"
            save_npz(path, {name: array[chosen] for name, array in samples.arrays.items()})
            request = request.model_copy(update={"evaluation": path, "baseline": None})
            metric = judge_outputs(request, session, golden)[1]
            request = request.model_copy(update={"baseline": metric.value if metric else None})
        return Judge(request, golden)

    def attempt(self, label: str, model: Path, nodes: frozenset[str]) -> Attempt:
        """Judge a model's file."""
        parity, metric, reason = judge_outputs(self.request, Session(model), self.golden)
        return Attempt(
            label=label,
            passed=reason is None,
            reason=reason,
            float_nodes=tuple(sorted(nodes)),
            metric=metric.value if metric else None,
            drop=metric.drop if metric else None,
            relative_l2=worst_error(parity),
            label_agreement=_least_agreement(parity),
            size_bytes=_size(model),
        )


def _first_cases(golden: GoldenSet, rows: int) -> Iterator[GoldenCase]:
    """Whole cases, until there are as many rows."""
    seen = 0
    for case in golden.cases:
        if seen >= rows:
            return
        yield case
        seen += max((len(a) for a in case.inputs.values() if a.ndim), default=1)


def worst_error(parity: ParityReport) -> float | None:
    """The largest relative L2 error over the outputs; None where none has one."""
    errors = [o.relative_l2 for o in parity.outputs if o.relative_l2 is not None]
    return max((float(error) for error in errors if np.isfinite(error)), default=None)


def _least_agreement(parity: ParityReport) -> float | None:
    shares = [o.label_agreement for o in parity.outputs if o.label_agreement is not None]
    return min(shares, default=None)


def _size(model: Path) -> int:
    data = model.with_name(model.name + DATA_SUFFIX)
    return model.stat().st_size + (data.stat().st_size if data.exists() else 0)
