"""What exporting one model comes to, ours and a plain converter's, before the same judge.

`Framework` is what a file of `coverage_cases/` gives as FRAMEWORK: its models, how one is saved for
us, and what a user without us would call.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort

from slipway.errors import SlipwayError
from slipway.exporters import export
from slipway.protocols import ExportRequest, ExportResult
from slipway.samples.golden import GoldenSet
from slipway.specs import Tolerance
from slipway.validation.parity import check_parity

Outcome = Literal["right", "refused", "wrong", "error", "unjudged"]
OUTCOMES: tuple[Outcome, ...] = ("right", "refused", "wrong", "error", "unjudged")
Cases = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class Verdict:
    """What came of one side, and why where it is not right."""

    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True)
class Reference:
    """Runs of the source: inputs by name, answers in their order."""

    runs: Sequence[tuple[Mapping[str, np.ndarray], Sequence[np.ndarray]]]


@dataclass(frozen=True)
class Framework:
    """Where a framework's cases come from, and what a user without us would call."""

    cases: Callable[[], Cases]
    """By name, what makes a trained model: anything that `save` and `plain` understand."""
    save: Callable[[Any, Path], ExportRequest]
    plain: Callable[[Any, ExportRequest, Path], Path]
    """The converter's graph of a model, saved in the folder; it may raise anything."""
    reference: Callable[[Any, ExportRequest], Reference | None] | None = None
    """The source's answers without us. Where there is none, ours are taken, and the plain call is
    unjudged where we refuse."""
    group: int = 25
    """Cases in one process: few where they are large."""
    limit_s: int = 120
    """For one side of one case; the process is ended after it."""
    memory_gib: float = 4
    """For one process, beyond what it maps from files."""
    environment: Mapping[str, str] = field(default_factory=dict)


def cases_of(module: str) -> Callable[[], Cases]:
    """The table CASES, and REFUSED where there is one, of a module of tests/."""

    def table() -> Cases:
        found = importlib.import_module(f"tests.{module}")
        return {**found.CASES, **getattr(found, "REFUSED", {})}

    return table


def saved_by(module: str) -> Callable[[Any, Path], ExportRequest]:
    """The `save` of a module of tests/."""

    def save(model: Any, folder: Path) -> ExportRequest:  # noqa: ANN401 - any framework's
        request: ExportRequest = importlib.import_module(f"tests.{module}").save(model, folder)
        return request

    return save


def ours(
    request: ExportRequest, folder: Path, reference: Reference | None
) -> tuple[Verdict, Reference | None]:
    """What our export comes to, and the runs to judge the plain call by."""
    scratch = folder / "scratch"
    scratch.mkdir()
    try:
        made = export(request, scratch)
        golden = GoldenSet.load(made.golden)
        report = check_parity(made.model, golden, tolerance=Tolerance())
    except SlipwayError as error:
        return Verdict("refused", str(error)), reference
    except Exception as error:  # noqa: BLE001 - what a case may not do, counted
        return Verdict("error", f"{type(error).__name__}: {error}"), reference
    if not report.passed:
        reasons = [output.reason for output in report.outputs if output.reason]
        return Verdict("wrong", "; ".join(reasons)), reference or _recorded(made, golden)
    if reference is not None and (problem := _replay(made.model, reference)):
        return Verdict("wrong", f"parity passes, yet {problem}"), reference
    return Verdict("right"), reference or _recorded(made, golden)


def plainly(
    framework: Framework,
    model: Any,  # noqa: ANN401 - any framework's
    request: ExportRequest,
    folder: Path,
    reference: Reference | None,
) -> Verdict:
    """What the plain converter call comes to."""
    try:
        path = framework.plain(model, request, folder)
        if reference is None:
            ort.InferenceSession(path, providers=["CPUExecutionProvider"])
            return Verdict("unjudged", "converted, where we have no reference to judge it by")
        problem = _replay(path, reference)
    except Exception as error:  # noqa: BLE001 - a converter may raise anything
        return Verdict("error", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return Verdict("wrong", problem) if problem else Verdict("right")


def _recorded(made: ExportResult, golden: GoldenSet) -> Reference:
    """Our golden set in the order of the graph's inputs and outputs."""
    return Reference(
        [
            (
                {tensor.name: np.asarray(case.inputs[tensor.name]) for tensor in made.inputs},
                [np.asarray(case.outputs[tensor.name]) for tensor in made.outputs],
            )
            for case in golden.cases
        ]
    )


def _replay(path: Path, reference: Reference) -> str:
    """The first disagreement of a graph with the source's runs; empty where there is none."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for inputs, wanted in reference.runs:
        found = [_plain_array(it) for it in session.run(None, _feeds(session, inputs))]
        if problem := _disagreement(wanted, found):
            return problem
    return ""


def _feeds(
    session: ort.InferenceSession, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Our inputs as a graph takes them: by its names, in its order, or as one matrix."""
    takes = session.get_inputs()
    if len(takes) == 1 and len(inputs) > 1 and takes[0].name not in inputs:
        table = np.concatenate(list(inputs.values()), axis=1)
        return {takes[0].name: table.astype(_dtype(takes[0].type))}
    names = [it.name if it.name in inputs else None for it in takes]
    given = list(inputs.values())
    return {
        it.name: (given[at] if name is None else inputs[name]).astype(_dtype(it.type))
        for at, (it, name) in enumerate(zip(takes, names, strict=True))
    }


def _dtype(written: str) -> np.dtype[Any]:
    """NumPy's type for onnxruntime's `tensor(float)`."""
    name = written.removeprefix("tensor(").removesuffix(")")
    names = {"float": "float32", "double": "float64", "string": "object"}
    return np.dtype(names.get(name, name))


def _plain_array(value: Any) -> np.ndarray:  # noqa: ANN401
    """An output as an array; a list of dicts, by sorted class."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return np.array([[row[key] for key in sorted(row)] for row in value])
    return np.asarray(value)


def _disagreement(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> str:
    """The first answer that a graph does not give, whatever it calls it."""
    if len(found) < len(expected):
        return f"{len(found)} outputs, the model answers {len(expected)}"
    for want, have in zip(expected, found, strict=False):
        if want.size != have.size:
            return f"{have.size} values, the model answers {want.size}"
        have = have.reshape(want.shape)  # noqa: PLW2901 - (n,) and (n, 1) are the same answer
        if want.dtype.kind in "USO":
            wrong = int((want.astype(str) != have.astype(str)).sum())
        else:
            close = np.isclose(have.astype(float), want, rtol=1e-3, atol=1e-4, equal_nan=True)
            wrong = int((~close).sum())
        if wrong:
            return f"{wrong} of {want.size} differ: {have.ravel()[:3]} for {want.ravel()[:3]}"
    return ""
