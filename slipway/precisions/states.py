"""What a calibration has counted so far: saved, merged, resumed.

A state names what it was counted for: the model, the plan and the data. States of another model or
plan, and samples counted already, are refused, so that what shards merge to is the result of one
run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np

from slipway.artifacts import Digest
from slipway.errors import DataError
from slipway.precisions.exposing import Interval
from slipway.precisions.histograms import Bits, Exact, Linear
from slipway.precisions.ranges import Range
from slipway.precisions.statistics import Extremes, Kind
from slipway.precisions.tails import Tails
from slipway.precisions.thresholds import cut_of
from slipway.samples.arrays import Array, Samples, load_npz, save_npz
from slipway.specs import CalibrationMethod, Optimization

VERSION: Final = 1
# Outermost values kept beside a histogram: among so few, a sample of a fifth would be a lottery.
KEPT: Final = 4096
# Outermost values kept of a tensor, on either side; a percentile that cuts more takes two passes.
MOST_KEPT: Final = 1 << 16


@dataclass(frozen=True)
class Plan:
    """What is counted, of which tensors, over how many samples in all.

    `limits` are for a second pass: where the bins of each tensor begin and end, from the first.
    `planned` is of all shards together: it decides how many of the outermost values are kept.
    """

    model: Digest
    method: CalibrationMethod
    percentile: float
    optimization: Optimization
    tensors: tuple[str, ...]
    planned: int
    kind: Kind
    limits: Mapping[str, Range] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The digest of everything that decides what is counted."""
        text = json.dumps({"version": VERSION, **self._fields()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _fields(self) -> dict[str, object]:
        return {
            "model": self.model,
            "method": self.method,
            "percentile": self.percentile,
            "optimization": self.optimization,
            "tensors": list(self.tensors),
            "planned": self.planned,
            "kind": self.kind,
            "limits": {name: [end.hex() for end in ends] for name, ends in self.limits.items()},
        }

    def to_json(self) -> str:
        """The plan as text."""
        return json.dumps(self._fields(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan from its text."""
        found = json.loads(text)
        found["tensors"] = tuple(found["tensors"])
        found["limits"] = {
            name: (float.fromhex(first), float.fromhex(last))
            for name, (first, last) in found["limits"].items()
        }
        return cls(**found)


@dataclass
class State:
    """Statistics by tensor, and which samples of which data they are of."""

    plan: Plan
    statistics: dict[str, Extremes] = field(default_factory=dict)
    counted: dict[Digest, list[Interval]] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """How many samples were counted."""
        return sum(stop - start for spans in self.counted.values() for start, stop in spans)

    def missing(self, data: Digest, *, start: int, stop: int) -> list[Interval]:
        """The samples from start to stop that are not counted yet."""
        found, at = [], start
        for left, right in self.counted.get(data, []):
            if left > at:
                found.append((at, min(left, stop)))
            at = max(at, right)
        found.append((at, stop))
        return [(left, right) for left, right in found if left < right]

    def count(self, data: Digest, span: Interval) -> None:
        """Note samples as counted.

        Raises:
            DataError: when some of them were counted before.
        """
        spans = sorted([*self.counted.get(data, []), span])
        joined = [spans[0]]
        for start, stop in spans[1:]:
            left, right = joined[-1]
            if start < right:
                raise DataError(
                    f"samples {start} to {min(right, stop) - 1} of {data} are counted in both "
                    "states; give each shard samples of its own"
                )
            joined[-1:] = [(left, stop)] if start == right else [(left, right), (start, stop)]
        self.counted[data] = joined

    def statistic(self, tensor: str, per_sample: int) -> Extremes:
        """The statistic of a tensor, made when its first values come."""
        if tensor not in self.statistics:
            self.statistics[tensor] = new_statistic(self.plan, tensor, per_sample)
        return self.statistics[tensor]

    def merge(self, other: "State") -> None:
        """Take in what another worker counted.

        Raises:
            DataError: when it is of another model, method or plan, or counted the same samples.
        """
        check_same(self.plan, other.plan)
        for data, spans in other.counted.items():
            for span in spans:
                self.count(data, span)
        for name, statistic in other.statistics.items():
            if name not in self.statistics:
                self.statistics[name] = make_statistic(self.plan, name, keep_of(statistic))
            self.statistics[name].merge(statistic)

    def save(self, path: Path) -> None:
        """Write the state whole or not at all; equal states give equal bytes."""
        known = [name for name in self.plan.tensors if name in self.statistics]
        header = {
            "version": VERSION,
            "key": self.plan.key,
            "plan": self.plan.to_json(),
            "counted": dict(sorted(self.counted.items())),
            "tensors": {name: keep_of(self.statistics[name]) for name in known},
        }
        arrays: dict[str, Array] = {"header": np.array(json.dumps(header))}
        for number, name in enumerate(known):
            for part, array in self.statistics[name].pack().items():
                arrays[f"{number}.{part}"] = array
        partial = path.with_name(f".{path.name}.partial")
        save_npz(partial, arrays)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a state.

        Raises:
            SourceNotFound: when there is no file.
            DataError: when it is no state, of another version, or damaged.
        """
        arrays = load_npz(path)
        try:
            header = json.loads(str(arrays["header"]))
            if header["version"] != VERSION:
                raise DataError(
                    f"{path.name} is a calibration state of version {header['version']}, this is "
                    f"version {VERSION}; calibrate anew"
                )
            state = cls(Plan.from_json(header["plan"]))
            if state.plan.key != header["key"]:
                raise DataError(f"{path.name}: its plan is not the one that it was counted for")
            state.counted = {
                data: [(int(start), int(stop)) for start, stop in spans]
                for data, spans in header["counted"].items()
            }
            for number, (name, keep) in enumerate(header["tensors"].items()):
                statistic = make_statistic(state.plan, name, keep)
                prefix = f"{number}."
                statistic.unpack(
                    {
                        part.removeprefix(prefix): array
                        for part, array in arrays.items()
                        if part.startswith(prefix)
                    }
                )
                state.statistics[name] = statistic
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise DataError(
                f"{path.name} is no calibration state ({error}); calibrate anew"
            ) from error
        return state


def check_same(ours: Plan, theirs: Plan) -> None:
    """Refuse a state that was counted for something else, naming what differs.

    Raises:
        DataError: naming the first difference.
    """
    for name in ("model", "method", "percentile", "optimization", "tensors", "planned", "kind"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if mine != other:
            shown = f": {other}, not {mine}" if name != "tensors" else ""
            raise DataError(
                f"the calibration state is of another {name}{shown}; remove it, or give the one "
                "that belongs to this calibration"
            )
    if ours.limits != theirs.limits:
        raise DataError("the calibration states come from different first passes")


def check_data(state: State, data: Digest) -> None:
    """Refuse a state that has counted samples of other data.

    Raises:
        DataError: when it has.
    """
    if state.counted.keys() - {data}:
        raise DataError(
            "the calibration state is of other data; remove it, or give the data (and the number "
            "of samples) that it was counted of"
        )


def merge_states(states: Iterable[State]) -> State:
    """All shards' states as one; in any order the same.

    Raises:
        DataError: when there are none, or they do not belong together.
    """
    merged: State | None = None
    for state in states:
        if merged is None:
            merged = State(state.plan)
        merged.merge(state)
    if merged is None:
        raise DataError("there are no calibration states to merge")
    return merged


def keep_of(statistic: Extremes) -> int:
    """How many outermost values a statistic keeps, for those that do."""
    return statistic.keep if isinstance(statistic, Tails) else 0


def new_statistic(plan: Plan, tensor: str, per_sample: int) -> Extremes:
    """An empty statistic for a tensor with so many values in a sample."""
    if plan.kind == "bits":
        return make_statistic(plan, tensor, KEPT)
    cut = cut_of(plan.percentile) * per_sample * plan.planned
    return make_statistic(plan, tensor, min(int(cut) + 2, MOST_KEPT))


def make_statistic(plan: Plan, tensor: str, keep: int) -> Extremes:
    """An empty statistic of the plan's kind."""
    match plan.kind:
        case "tails":
            return Tails(keep, exactly=plan.optimization != "all")
        case "bits":
            return Bits(keep)
        case "linear":
            return Linear()
        case "exact":
            return Exact(*plan.limits[tensor], magnitudes=plan.method == "percentile")
    return Extremes()


def digest_samples(samples: Samples) -> Digest:
    """The digest of the arrays, whatever file they were read from."""
    hashing = hashlib.sha256()
    for name in sorted(samples.arrays):
        array = samples.arrays[name]
        hashing.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        for start in range(0, len(array), 64):
            hashing.update(np.ascontiguousarray(array[start : start + 64]).tobytes())
            samples.release()
    return f"sha256:{hashing.hexdigest()}"
