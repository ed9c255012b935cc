"""Static INT8 held to the budget: per channel first, then with the fewest nodes in float.

It stops at the first candidate that is within the budget. Candidates are judged by the rules of
validation, and the one that is kept has been judged as the model that it really is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from slipway.precisions.audit import Ranges
from slipway.precisions.calibration import Progress
from slipway.precisions.finishing import finish
from slipway.precisions.judging import Judge
from slipway.precisions.marking import Scheme
from slipway.precisions.qdq import quantize_file
from slipway.precisions.saturation import needed_entries
from slipway.precisions.searching import Search
from slipway.precisions.switchable import SwitchableModel
from slipway.reports import Attempt
from slipway.samples.arrays import Samples

# How often more nodes go back to float, twice as many each time, where the search's share of the
# data was within the budget and the real model on all of it is not.
RETRIES: Final = 5


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
    progress: Progress | None = None
    """Told how far the search for float nodes is."""
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
        search = Search(switchable, self.judge, self.samples, self.work, self.progress)
        ranked, kept = search.float_nodes()
        for more in (2**number for number in range(RETRIES + 1)):
            if kept is None or len(kept) == len(ranked):
                return None
            mixed = replace(scheme, float_nodes=scheme.float_nodes | kept)
            if self._try(mixed, "int8-mixed"):
                return mixed
            kept |= set([node for node in ranked if node not in kept][:more])
        return None

    def _try(self, scheme: Scheme, label: str) -> bool:
        folder = self.work / f"candidate-{len(self.attempts)}"
        quantized = quantize_file(self.prepared, self.ranges, scheme)
        entries = needed_entries(quantized, self.guard)
        self.model = finish(quantized, folder, metadata=entries)
        attempt = self.judge.attempt(label, self.model, scheme.float_nodes)
        self.attempts.append(attempt)
        return attempt.passed
