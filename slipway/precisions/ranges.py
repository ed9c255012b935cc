"""What calibration finds: a range by tensor, beside the extremes that were seen."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Range = tuple[float, float]


@dataclass(frozen=True)
class Losses:
    """Of a tensor's values that are not zero, the shares that a range tells as zero, and clips."""

    vanishing: float
    clipped: float


@dataclass(frozen=True, eq=False)
class MeasuredRanges(Mapping[str, Range]):
    """Low and high by tensor: what a method chose, and in `observed` what the data reached.

    Equal to any mapping with the same ranges.
    """

    chosen: Mapping[str, Range]
    observed: Mapping[str, Range]
    losses: Mapping[str, Losses] = field(default_factory=dict)
    """What eight bits lose, where the values' distribution is known: by `mse`."""

    def __getitem__(self, tensor: str) -> Range:
        return self.chosen[tensor]

    def __iter__(self) -> Iterator[str]:
        return iter(self.chosen)

    def __len__(self) -> int:
        return len(self.chosen)

    def largest(self, tensor: str) -> float:
        """The largest absolute value seen: what decides whether float16 holds the tensor."""
        low, high = self.observed[tensor]
        return max(abs(low), abs(high))
