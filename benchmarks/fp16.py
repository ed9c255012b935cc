"""Which converters to float16 convert awkward graphs, and whether the result is right.

    python benchmarks/fp16.py [--details]

The graphs are those of tests/half_graphs.py. An answer is right within 0.5 % of an output's largest
value, in true half arithmetic: onnx's ReferenceEvaluator computes it, since onnxruntime's CPU
provider would hide overflow; the CPU provider judges the few graphs that the evaluator gets wrong
in float32 as well. `unusable` is a model that onnxruntime does not load or run.

onnxconverter-common is measured where it is installed; slipway does not need it.
"""

import argparse
import contextlib
import io
import logging
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).parents[1]))

from slipway.errors import SlipwayError
from slipway.precisions import convert
from slipway.precisions.graphs import sort_nodes
from slipway.protocols import ConvertRequest
from slipway.samples.arrays import save_npz
from slipway.specs import Fp16Spec
from tests.half_graphs import CASES, HalfCase, answers, fitted, largest_error

Outcome = Literal["right", "wrong", "unusable", "error", "refused"]
OUTCOMES: tuple[Outcome, ...] = ("right", "wrong", "unusable", "error", "refused")
TOLERANCE = 5e-3
Convert = Callable[[HalfCase, Path], onnx.ModelProto]


@dataclass(frozen=True)
class Result:
    """What became of one graph, and what was said."""

    outcome: Outcome
    words: str = ""


class RefusedError(Exception):
    """A precision that was skipped or failed, with its reason."""


def slipway_with(*, data: bool) -> Convert:
    """Our converter, with the case's inputs as calibration data or without any."""

    def call(case: HalfCase, folder: Path) -> onnx.ModelProto:
        source, calibration = folder / "in.onnx", folder / "data.npz"
        onnx.save_model(case.model(), source)
        save_npz(calibration, case.feeds)
        request = ConvertRequest(
            precision="fp16",
            model=source,
            options=Fp16Spec(),
            calibration=calibration if data else None,
        )
        made = convert(request, folder / "scratch")
        if made.model is None:
            raise RefusedError(made.reason)
        return onnx.load(made.model)

    return call


def onnxruntimes(case: HalfCase, _: Path) -> onnx.ModelProto:
    """As onnxruntime's documentation calls it."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted: onnx.ModelProto = convert_float_to_float16(case.model(), keep_io_types=True)
    return converted


def onnxconverter_commons(case: HalfCase, _: Path) -> onnx.ModelProto:
    """As its documentation calls it."""
    from onnxconverter_common.float16 import convert_float_to_float16

    converted: onnx.ModelProto = convert_float_to_float16(case.model(), keep_io_types=True)
    return converted


def available_converters() -> dict[str, Convert]:
    """By the name of their column."""
    found: dict[str, Convert] = {
        "slipway": slipway_with(data=True),
        "without data": slipway_with(data=False),
        "onnxruntime": onnxruntimes,
    }
    with contextlib.suppress(ImportError):
        import onnxconverter_common  # noqa: F401 - only whether it is there

        found["onnxconverter"] = onnxconverter_commons
    return found


def judge(case: HalfCase, call: Convert) -> Result:
    """Convert, load, run, compare."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        try:
            made = call(case, Path(folder))
        except (RefusedError, SlipwayError) as error:
            return Result("refused", str(error))
        except Exception as error:  # noqa: BLE001 - whatever a converter raises
            return Result("error", f"{type(error).__name__}: {error}")
        expected = run(case.model(), case)
        try:
            actual = run(made, case)
        except Exception as error:  # noqa: BLE001 - whatever makes it unusable
            return Result("unusable", f"{type(error).__name__}: {error}")
        try:
            sort_nodes(made.graph)  # onnxruntime's converter leaves that to its own loader
            actual = answers(made, case.feeds) if case.evaluated else actual
        except Exception as error:  # noqa: BLE001 - a type that only onnxruntime lets pass
            return Result("unusable", f"{type(error).__name__}: {error}")
    off = largest_error(actual, expected)
    return Result("right" if off < TOLERANCE else "wrong", f"off by {off:.1e}")


def run(model: onnx.ModelProto, case: HalfCase) -> dict[str, np.ndarray]:
    """The outputs of onnxruntime's CPU provider."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    values = session.run(names, fitted(model, case.feeds))
    return dict(zip(names, values, strict=True))


def main() -> None:
    """Print one line a graph, and the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--details", action="store_true", help="say why, graph by graph")
    details = parser.parse_args().details
    warnings.simplefilter("ignore")
    logging.disable()
    ort.set_default_logger_severity(4)
    converters = available_converters()
    counts = {name: Counter[Outcome]() for name in converters}
    print(f"{'':32}" + "".join(f"{name:15}" for name in converters))
    for title, case in CASES.items():
        found = {name: judge(case, call) for name, call in converters.items()}
        print(f"{title:32}" + "".join(f"{result.outcome:15}" for result in found.values()))
        for name, result in found.items():
            counts[name][result.outcome] += 1
            if details and result.outcome != "right":
                print(f"    {name}: {' '.join(result.words.split())[:200]}")
    for outcome in OUTCOMES:
        row = "".join(f"{counts[name][outcome]:<15}" for name in converters)
        print(f"{outcome:32}{row}")


if __name__ == "__main__":
    main()
