"""The search for the nodes that stay in float: on a share of the data, of a cost known beforehand.

What it finds is confirmed elsewhere, by the real model on all of the data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from slipway.precisions.calibration import Progress
from slipway.precisions.judging import Judge
from slipway.precisions.mixed import Nodes, find_float_nodes, prefix_trials, rank_by_noise
from slipway.precisions.switchable import SwitchableModel
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array, Arrays, Samples
from slipway.samples.fitting import fit_inputs

# Samples that nodes are ranked with, one run for each node; fewer where there are many nodes, so
# that no more than these runs of one sample are needed in all.
RANKING_SAMPLES: Final = 32
RANKING_RUNS: Final = 1024
# Rows that a trial is judged on, and how many trials may go to pruning.
TRIAL_ROWS: Final = 128
PRUNING_TRIALS: Final = 24
# Input bytes in one run: the activations of a deep network are a hundred times larger.
RANKING_BYTES: Final = 2 << 20


@dataclass
class Search:
    """Ranks the nodes of a switchable model by their noise, and tries which must stay in float."""

    switchable: SwitchableModel
    judge: Judge
    samples: Samples
    work: Path
    progress: Progress | None = None
    _done: int = field(default=0, init=False)

    def float_nodes(self) -> tuple[tuple[str, ...], Nodes | None]:
        """The nodes, noisiest first, and those to keep in float; None where none could be INT8."""
        nodes = self.switchable.candidates
        ranked = rank_by_noise(nodes, self._noise())
        self.switchable.keep_float(frozenset(nodes))
        judge = self.judge.share(TRIAL_ROWS, self.switchable, work=self.work)

        def passes(kept: Nodes) -> bool:
            self.switchable.keep_float(kept)
            passed = judge.passes(self.switchable)
            self._tell()
            return passed

        return ranked, find_float_nodes(ranked, passes, pruning=PRUNING_TRIALS)

    def _tell(self) -> None:
        """One of what there is at most to do has been done."""
        self._done += 1
        count = len(self.switchable.candidates)
        most = count + prefix_trials(count) + PRUNING_TRIALS
        if self.progress:
            self.progress(self._done, most, "searching")

    def _noise(self) -> Callable[[frozenset[str]], float]:
        switchable = self.switchable
        nodes = switchable.candidates
        batches = self._ranking_batches(
            switchable, count=max(1, RANKING_RUNS // max(len(nodes), 1))
        )

        def outputs(kept: frozenset[str]) -> Arrays:
            switchable.keep_float(kept)
            return _flat([switchable.run(feeds) for feeds in batches])

        expected = outputs(frozenset(nodes))

        def noise(kept: Nodes) -> float:
            found = distance(outputs(kept), expected)
            self._tell()
            return found

        return noise

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


def _flat(runs: Sequence[Arrays]) -> Arrays:
    """All values of each output, over all runs."""
    return {name: np.concatenate([run[name].reshape(-1) for run in runs]) for name in runs[0]}


def _relative(actual: Array, expected: Array) -> float:
    size = float(np.linalg.norm(expected))
    error = float(np.linalg.norm(actual - expected))
    return error / size if size and np.isfinite(error) else float("inf" if error else 0)
