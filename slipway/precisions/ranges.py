"""What calibration finds: a range by tensor, beside the extremes that were seen."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class MeasuredRanges(Mapping[str, Range]):
    """Low and high by tensor: what a method chose, and in `observed` what the data reached.

    Equal to any mapping with the same ranges.
    """

    chosen: Mapping[str, Range]
    observed: Mapping[str, Range]

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
