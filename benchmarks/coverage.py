"""How much of each framework is exported right, beside the plain converter call on the same models.

    python benchmarks/coverage.py [FRAMEWORK ...] [--details]

A case is a model, really trained. Ours is right when export and parity pass at the default
tolerance, refused when the error is one of ours and names a reason, wrong or broken otherwise. The
plain call is judged on the same golden set with atol 1e-4 + rtol 1e-3, its outputs taken in their
order whatever they are called; where ours is refused there is no such set, and it is unjudged.

A framework is one line of `FRAMEWORKS`: its table of cases, how one is saved, and the plain call.
"""

import argparse
import contextlib
import importlib
import io
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).parents[1]))

from slipway.errors import SlipwayError
from slipway.exporters import export
from slipway.protocols import ExportRequest
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import Tolerance
from slipway.validation.parity import check_parity

Outcome = Literal["right", "refused", "wrong", "error", "unjudged"]
OUTCOMES: tuple[Outcome, ...] = ("right", "refused", "wrong", "error", "unjudged")


@dataclass(frozen=True)
class Framework:
    """Where a framework's cases come from, and what a user without us would call."""

    cases: Callable[[], Mapping[str, Callable[[], Any]]]
    save: Callable[[Any, Path], ExportRequest]
    plain: Callable[[Any, ExportRequest, Path], Path]
    """The converter's model of a trained model, saved in the folder; it may raise anything."""


def cases_of(module: str) -> Callable[[], Mapping[str, Callable[[], Any]]]:
    """The table CASES, and REFUSED where there is one, of a module of tests/."""

    def table() -> Mapping[str, Callable[[], Any]]:
        found = importlib.import_module(f"tests.{module}")
        return {**found.CASES, **getattr(found, "REFUSED", {})}

    return table


def saved_by(module: str) -> Callable[[Any, Path], ExportRequest]:
    """The module's `save`."""

    def save(model: Any, folder: Path) -> ExportRequest:  # noqa: ANN401 - any framework's
        request: ExportRequest = importlib.import_module(f"tests.{module}").save(model, folder)
        return request

    return save


def onnxmltools_call(name: str, count: Callable[[Any], int]) -> Callable[..., Path]:
    """`onnxmltools.convert_NAME` as its documentation calls it."""

    def convert(model: Any, _: ExportRequest, folder: Path) -> Path:  # noqa: ANN401
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType

        made = getattr(onnxmltools, f"convert_{name}")(
            model, initial_types=[("X", FloatTensorType([None, count(model)]))]
        )
        onnx.save(made, folder / "plain.onnx")
        return folder / "plain.onnx"

    return convert


def catboost_writer(model: Any, _: ExportRequest, folder: Path) -> Path:  # noqa: ANN401
    """CatBoost's own `save_model(format="onnx")`."""
    model.save_model(str(folder / "plain.onnx"), format="onnx")
    return folder / "plain.onnx"


@dataclass(frozen=True)
class Reference:
    """The source's own answers, and the order of what stands in them by name."""

    golden: GoldenSet
    inputs: list[str]
    outputs: list[str]

    def feeds(self, session: ort.InferenceSession, case: GoldenCase) -> dict[str, np.ndarray]:
        """Our columns as the one matrix that a plain graph takes."""
        (only,) = session.get_inputs()
        table = np.concatenate([np.asarray(case.inputs[name]) for name in self.inputs], axis=1)
        return {only.name: table.astype(np.float32)}


FRAMEWORKS: dict[str, Framework] = {
    "xgboost": Framework(
        cases_of("xgboost_models"),
        saved_by("xgboost_models"),
        onnxmltools_call("xgboost", lambda model: model.num_features()),
    ),
    "lightgbm": Framework(
        cases_of("lightgbm_models"),
        saved_by("lightgbm_models"),
        onnxmltools_call("lightgbm", lambda model: model.num_feature()),
    ),
    "catboost": Framework(
        cases_of("catboost_models"), saved_by("catboost_models"), catboost_writer
    ),
}


def ours(request: ExportRequest, folder: Path) -> tuple[Outcome, str, Reference | None]:
    """What our export comes to."""
    scratch = folder / "scratch"
    scratch.mkdir()
    try:
        made = export(request, scratch)
    except SlipwayError as error:
        return "refused", str(error), None
    except Exception as error:  # noqa: BLE001 - what a case may not do, counted
        return "error", f"{type(error).__name__}: {error}", None
    golden = GoldenSet.load(made.golden)
    reference = Reference(
        golden,
        inputs=[tensor.name for tensor in made.inputs],
        outputs=[tensor.name for tensor in made.outputs],
    )
    report = check_parity(made.model, golden, tolerance=Tolerance())
    reasons = [output.reason for output in report.outputs if output.reason]
    return ("right" if report.passed else "wrong"), "; ".join(reasons), reference


def plainly(
    framework: Framework,
    model: Any,  # noqa: ANN401 - any framework's
    request: ExportRequest,
    folder: Path,
    reference: Reference | None,
) -> tuple[Outcome, str]:
    """What the plain converter call comes to."""
    try:
        path = framework.plain(model, request, folder)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        if reference is None:
            return "unjudged", "converted, where we have no reference to judge it by"
        for case in reference.golden.cases:
            found = [_plain_array(it) for it in session.run(None, reference.feeds(session, case))]
            wanted = [case.outputs[name] for name in reference.outputs]
            if problem := _disagreement(wanted, found):
                return "wrong", problem
    except Exception as error:  # noqa: BLE001 - a converter may raise anything
        return "error", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "right", ""


def _plain_array(value: Any) -> np.ndarray:  # noqa: ANN401
    """An output as an array; a list of dicts, by sorted class."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return np.array([[row[key] for key in sorted(row)] for row in value])
    return np.asarray(value)


def _disagreement(expected: list[np.ndarray], found: list[np.ndarray]) -> str:
    """The first of our outputs that the plain graph does not give, whatever it calls it."""
    if len(found) < len(expected):
        return f"{len(found)} outputs, the model answers {len(expected)}"
    for want, have in zip(expected, found, strict=False):
        if want.size != have.size:
            return f"{have.size} values, the model answers {want.size}"
        have = have.reshape(want.shape)  # noqa: PLW2901 - (n,) and (n, 1) are the same answer
        if want.dtype.kind in "US":
            wrong = int((want.astype(str) != have.astype(str)).sum())
        else:
            wrong = int((~np.isclose(have.astype(float), want, rtol=1e-3, atol=1e-4)).sum())
        if wrong:
            return f"{wrong} of {want.size} differ: {have.ravel()[:3]} for {want.ravel()[:3]}"
    return ""


def measure(name: str) -> Iterator[tuple[str, tuple[Outcome, str], tuple[Outcome, str]]]:
    """Each case of a framework, with what ours and the plain call came to."""
    framework = FRAMEWORKS[name]
    for case, make in framework.cases().items():
        with tempfile.TemporaryDirectory() as given:
            folder = Path(given)
            with _quiet():
                model = make()
                request = framework.save(model, folder)
                outcome, reason, reference = ours(request, folder)
                plain = plainly(framework, model, request, folder, reference)
            yield case, (outcome, reason), plain


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def main() -> int:
    """Measure, print, and fail on what is wrong or unexplained."""
    parser = argparse.ArgumentParser(description="Coverage of export and parity per framework.")
    parser.add_argument("frameworks", nargs="*", choices=[[], *FRAMEWORKS])
    parser.add_argument("--details", action="store_true", help="print each case that is not right")
    asked = parser.parse_args()
    bad = 0
    print(f"{'framework':<14}{'':<8}{'tried':>7}" + "".join(f"{it:>9}" for it in OUTCOMES))
    for name in asked.frameworks or FRAMEWORKS:
        rows = list(measure(name))
        for who, place in (("slipway", 1), ("plain", 2)):
            counts = Counter(row[place][0] for row in rows)
            print(
                f"{name:<14}{who:<8}{len(rows):>7}" + "".join(f"{counts[it]:>9}" for it in OUTCOMES)
            )
        bad += sum(row[1][0] in {"wrong", "error"} for row in rows)
        for case, mine, plain in rows if asked.details else ():
            for who, (outcome, reason) in (("slipway", mine), ("plain", plain)):
                if outcome != "right":
                    print(f"  {case}: {who} {outcome}: {reason[:160]}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
