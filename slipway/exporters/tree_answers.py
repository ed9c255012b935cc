"""What boosted models answer: the same names and shapes whatever the framework.

Two or more exclusive classes give `label` and `probabilities`; independent ones the same with a
label each; everything else is a matrix of values by the name that its kind has.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from slipway.exporters.tree_graphs import Graph, best_class, two_classes
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array
from slipway.specs import DType

Kind = Literal["two", "one", "each", "above", "values"]


@dataclass(frozen=True)
class Answers:
    """How linked sums [batch, width] become outputs; `classes` name the columns.

    Of `two` classes the second's probability is given, of several `one` is right or `each` may be.
    `above` labels what exceeds nought and knows no probability. `values` are called by their name.
    """

    kind: Kind
    width: int
    name: str = "prediction"
    classes: Array = field(default_factory=lambda: np.arange(0))
    threshold: float = 0.5  # of two classes

    def labels(self) -> Array:
        """The names of the exclusive classes."""
        count = 2 if self.kind == "two" else self.width
        return self.classes if len(self.classes) else np.arange(count)

    def describe(self) -> dict[str, TensorInfo]:
        """Type and shape of each output, by its name."""
        width = self.width
        match self.kind:
            case "two" | "one":
                dtype: DType = "string" if self.labels().dtype.kind == "U" else "int64"
                found = [
                    _tensor("label", dtype),
                    _tensor("probabilities", "float32", len(self.labels())),
                ]
            case "each":
                found = [
                    _tensor("label", "int64", width),
                    _tensor("probabilities", "float32", width),
                ]
            case "above":
                found = [_tensor("label", "int64", *([width] if width > 1 else []))]
            case "values":
                found = [_tensor(self.name, "float32", width)]
        return {tensor.name: tensor for tensor in found}

    def write(self, graph: Graph, linked: str) -> dict[str, str]:
        """The nodes; which tensor is which output."""
        match self.kind:
            case "two" | "one":
                each = two_classes(graph, linked) if self.kind == "two" else linked
                return {"label": self._label(graph, linked, each), "probabilities": each}
            case "each":
                return {"label": _above(graph, linked, self.threshold), "probabilities": linked}
            case "above":
                label = _above(graph, linked, 0.0)
                if self.width == 1:
                    label = graph.add("Reshape", label, graph.constant(np.array([-1])))
                return {"label": label}
            case "values":
                return {self.name: linked}

    def _label(self, graph: Graph, linked: str, each: str) -> str:
        if self.kind == "one" or self.threshold == 0.5:  # noqa: PLR2004 - the larger one
            return best_class(graph, each, self.labels())
        second = _above(graph, linked, self.threshold)
        place = graph.add("Reshape", second, graph.constant(np.array([-1])))
        return graph.add("Gather", graph.constant(self.labels()), place, axis=0)

    def of(self, found: Array) -> list[Array]:
        """The outputs that the source's own answers [batch, width] come to, in their order."""
        found = found.astype(np.float32)
        above = (found > np.float32(self.threshold)).astype(np.int64)
        match self.kind:
            case "two":
                both = np.concatenate([1 - found, found], axis=1)
                return [self.labels()[above[:, 0]], both]
            case "one":
                return [self.labels()[found.argmax(axis=1)], found]
            case "each":
                return [above, found]
            case "above":
                return [above if self.width > 1 else above[:, 0]]
            case "values":
                return [found]


def _above(graph: Graph, source: str, limit: float) -> str:
    higher = graph.add("Greater", source, graph.constant(np.float32(limit)))
    return graph.cast(higher, "bool", "int64")


def _tensor(name: str, dtype: DType, *shape: int) -> TensorInfo:
    return TensorInfo(name=name, dtype=dtype, shape=("batch", *shape))
