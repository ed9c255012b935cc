"""The way every boosted model goes from its trees to a finished export."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from slipway.errors import DataError
from slipway.exporters.cleaning import finish_export
from slipway.exporters.naming import output_names
from slipway.exporters.recording import golden_cases, golden_samples, record_golden, tool_versions
from slipway.exporters.tree_answers import Answers
from slipway.exporters.tree_graphs import Graph
from slipway.exporters.tree_inputs import Features, choose_inputs, matrix_of, trying_rows
from slipway.exporters.trees import Forest, Number
from slipway.exporters.wording import first_lines
from slipway.protocols import ExportRequest, ExportResult
from slipway.reports import Finding
from slipway.samples.arrays import Array


@dataclass(frozen=True)
class Boosted:
    """A model that was read and loaded: how it is written, and how it answers itself."""

    features: Features
    forest: Forest
    answers: Answers
    write: Callable[[Graph, str], str]
    """From the table [batch, features] to what `answers` takes, [batch, width] in float32."""
    predict: Callable[[Array], Array]
    """The source's own, for the same table and of the same shape."""
    fails_with: type[Exception]
    packages: tuple[str, ...]
    number: Number = "float32"
    findings: Sequence[Finding] = field(default_factory=tuple)


def export_boosted(model: Boosted, request: ExportRequest, scratch: Path) -> ExportResult:
    """Write the graph, record the golden set from the source, and say what was made."""
    samples = golden_samples(request)
    inputs = choose_inputs(model.features, request, samples, number=model.number)
    own = model.answers.describe()
    names = output_names(
        tuple(own), inputs=[tensor.name for tensor in inputs], asked=request.outputs
    )
    graph = Graph(inputs)
    graph.reserve(names)
    made = model.answers.write(graph, model.write(graph, graph.features(model.number)))
    path = scratch / "model.onnx"
    outputs = {name: (made[key], own[key]) for name, key in zip(names, own, strict=True)}
    onnx.save(graph.model(outputs, opset=request.opset), path)

    def run(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        try:
            found = model.predict(matrix_of(inputs, feeds, model.number))
        except (model.fails_with, ValueError) as error:
            raise DataError(
                f"the source model does not run on the golden data: {first_lines(error)}"
            ) from error
        return dict(zip(names, model.answers.of(found), strict=True))

    rows = samples or trying_rows(model.forest, model.features, inputs, seed=request.seed)
    return finish_export(
        path,
        record_golden(golden_cases(inputs, rows, seed=request.seed), run),
        request=request,
        scratch=scratch,
        route="trees",
        tools=tool_versions(*model.packages, "onnx"),
        findings=model.findings,
    )


def codes_warning() -> Finding:
    """For models whose training table had categories that the file codes."""
    return Finding(
        level="warning",
        code="categories-as-codes",
        message="the model was trained on a table with categories; the exported model takes their "
        "codes, in the order of the training table's categories",
    )
