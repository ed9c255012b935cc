"""Static INT8 held to the budget: per channel first, then with the fewest nodes in float.

It stops at the first candidate that is within the budget. Candidates are judged by the rules of
validation, and the one that is kept has been judged as the model that it really is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from slipway.precisions.audit import Ranges
from slipway.precisions.finishing import finish
from slipway.precisions.graphs import DATA_SUFFIX
from slipway.precisions.marking import Scheme
from slipway.precisions.mixed import find_float_nodes, rank_by_noise
from slipway.precisions.qdq import quantize_file
from slipway.precisions.saturation import needed_entries
from slipway.precisions.switchable import SwitchableModel
from slipway.protocols import ValidateRequest
from slipway.providers.sessions import Session
from slipway.reports import Attempt, ParityReport
from slipway.samples.arrays import Array, Arrays, Samples
from slipway.samples.fitting import fit_inputs
from slipway.samples.golden import GoldenSet
from slipway.validation.validate import judge_outputs

# Samples that nodes are ranked with, one run for each node; fewer where there are many nodes.
RANKING_SAMPLES: Final = 32
RANKING_RUNS: Final = 4096
# Input bytes in one run: the activations of a deep network are a hundred times larger.
RANKING_BYTES: Final = 2 << 20
# How many more nodes may go back to float where the switchable model was within the budget and
# the real one, whose kernels round otherwise, is not.
RETRIES: Final = 3


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


@dataclass
class Candidates:
    """Makes quantized models of one prepared model, and judges each."""

    prepared: Path
    ranges: Ranges
    judge: Judge
    samples: Samples
    work: Path
    guard: Mapping[str, str]
    """Session entries against saturation, for the models in which it can happen."""
    attempts: list[Attempt] = field(default_factory=list)
    model: Path | None = None
    """The last one made."""

    def meet_budget(self, scheme: Scheme) -> Scheme | None:
        """The scheme whose model is within the budget, or None where none is.

        Raises:
            PrecisionFailed: when a quantized model breaks the ONNX rules or does not load.
        """
        if self._try(scheme, "int8-static" if scheme.per_channel else "int8-static per tensor"):
            return scheme
        if not scheme.per_channel:
            scheme = replace(scheme, per_channel=True)
            if self._try(scheme, "int8-static"):
                return scheme
        return self._mix(scheme)

    def _mix(self, scheme: Scheme) -> Scheme | None:
        switchable = SwitchableModel(self.prepared, self.ranges, scheme, work=self.work)
        ranked = rank_by_noise(switchable.candidates, self._noise_of(switchable))

        def passes(kept: frozenset[str]) -> bool:
            switchable.keep_float(kept)
            return self.judge.passes(switchable)

        kept = find_float_nodes(ranked, passes)
        for _ in range(RETRIES + 1):
            if kept is None or len(kept) == len(ranked):
                return None
            mixed = replace(scheme, float_nodes=scheme.float_nodes | kept)
            if self._try(mixed, "int8-mixed"):
                return mixed
            kept |= set(next(([node] for node in ranked if node not in kept), []))
        return None

    def _try(self, scheme: Scheme, label: str) -> bool:
        folder = self.work / f"candidate-{len(self.attempts)}"
        quantized = quantize_file(self.prepared, self.ranges, scheme)
        entries = needed_entries(quantized, self.guard)
        self.model = finish(quantized, folder, metadata=entries)
        attempt = self.judge.attempt(label, self.model, scheme.float_nodes)
        self.attempts.append(attempt)
        return attempt.passed

    def _noise_of(self, switchable: SwitchableModel) -> Callable[[frozenset[str]], float]:
        nodes = switchable.candidates
        batches = self._ranking_batches(
            switchable, count=max(1, RANKING_RUNS // max(len(nodes), 1))
        )

        def outputs(kept: frozenset[str]) -> Arrays:
            switchable.keep_float(kept)
            return _flat([switchable.run(feeds) for feeds in batches])

        expected = outputs(frozenset(nodes))
        return lambda kept: distance(outputs(kept), expected)

    def _ranking_batches(self, session: Session, *, count: int) -> list[dict[str, Array]]:
        fixed = [t.shape[0] for t in session.inputs if t.shape and isinstance(t.shape[0], int)]
        wanted = max(fixed, default=min(count, RANKING_SAMPLES, len(self.samples)))
        index = np.linspace(0, len(self.samples) - 1, wanted).round().astype(int)
        chosen = Samples({name: array[index] for name, array in self.samples.arrays.items()})
        row_bytes = sum(array[:1].nbytes for array in chosen.arrays.values())
        size = max(fixed, default=max(1, RANKING_BYTES // max(row_bytes, 1)))
        return [fit_inputs(session.inputs, batch) for batch in chosen.batches(size)]


def distance(actual: Arrays, expected: Arrays) -> float:
    """The largest relative L2 error over the outputs that are floats."""
    errors = [
        _relative(actual[name].astype(np.float64), values.astype(np.float64))
        for name, values in expected.items()
        if values.dtype.kind == "f" and values.size
    ]
    return max(errors, default=0.0)


def worst_error(parity: ParityReport) -> float | None:
    """The largest relative L2 error over the outputs; None where none has one."""
    errors = [o.relative_l2 for o in parity.outputs if o.relative_l2 is not None]
    return max((float(error) for error in errors if np.isfinite(error)), default=None)


def _least_agreement(parity: ParityReport) -> float | None:
    shares = [o.label_agreement for o in parity.outputs if o.label_agreement is not None]
    return min(shares, default=None)


def _flat(runs: Sequence[Arrays]) -> Arrays:
    """All values of each output, over all runs."""
    return {name: np.concatenate([run[name].reshape(-1) for run in runs]) for name in runs[0]}


def _relative(actual: Array, expected: Array) -> float:
    size = float(np.linalg.norm(expected))
    error = float(np.linalg.norm(actual - expected))
    return error / size if size and np.isfinite(error) else float("inf" if error else 0)


def _size(model: Path) -> int:
    data = model.with_name(model.name + DATA_SUFFIX)
    return model.stat().st_size + (data.stat().st_size if data.exists() else 0)
