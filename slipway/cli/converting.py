"""The commands that make other precisions of a bare ONNX file: quantize, calibrate, fp16."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slipway.cli.output import answer, answering, progressing, say, tell_findings
from slipway.errors import RequestError

if TYPE_CHECKING:
    from slipway.specs import PrecisionsSpec
    from slipway.stages.bare import ConvertedFile
    from slipway.stages.ladder import Goal

MetricName = Literal["accuracy", "f1", "auc", "rmse", "mae", "r2", "cosine", "top5"]


class Made(StrEnum):
    """What `quantize` can make; fp32 is what the others are held to."""

    STATIC = "int8-static"
    DYNAMIC = "int8-dynamic"
    WEIGHTS = "int4-weights"
    HALF = "fp16"
    OPTIMIZED = "fp32-optimized"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Model = Annotated[Path, typer.Argument(help="The ONNX model.", metavar="MODEL.onnx")]
Out = Annotated[Path, typer.Option("--out", help="Where the model is written; must not exist.")]
Method = Annotated[
    Literal["mse", "minmax", "percentile", "entropy"], typer.Option(help="How ranges are found.")
]
SampleCount = Annotated[int, typer.Option(min=1, help="Samples used at most.")]
Target = Annotated[
    Literal["x64", "x64-vnni", "arm64", "gpu"],
    typer.Option(help="The processor that will serve it; x64 may lack VNNI."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PRECISION.KEY=VALUE",
        help="What a spec's `precisions` may say, such as int4-weights.block_size=64; repeat.",
    ),
]


def quantize(
    model: Model,
    out: Out,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Inputs that the model will see; int8-static cannot do without."),
    ] = None,
    precision: Annotated[
        list[Made] | None,
        typer.Option(
            help="What is tried and may be written; repeat. If absent all are tried and a "
            "quantized one is written.",
        ),
    ] = None,
    method: Method = "mse",
    samples: SampleCount = 256,
    target: Target = "x64",
    changes: Changes = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="Inputs to judge by, with labels where there is a metric.")
    ] = None,
    metric: Annotated[
        MetricName | None, typer.Option(help="Task metric, computed on the evaluation data.")
    ] = None,
    labels: Annotated[str, typer.Option(help="Name of the labels in it.")] = "label",
    metric_drop: Annotated[
        float, typer.Option(min=0, help="How much worse the metric may be.")
    ] = 0.01,
    relative_error: Annotated[
        float, typer.Option(min=0, help="Without a metric: largest relative L2 error.")
    ] = 0.1,
    label_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Without a metric: share of equal labels.")
    ] = 0.99,
    state: Annotated[
        Path | None,
        typer.Option(help="Save calibration here again and again, and resume it from here."),
    ] = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option(help="What `slipway calibrate` counted of a share of the samples; repeat."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--report", help="Write all that was tried as a page here (HTML)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Quantize a model to the fastest variant within an accuracy budget, with audited scales.

    Static INT8 is tried first, with the fewest nodes kept in float that the budget needs, then
    dynamic INT8 and four-bit weights; all are measured beside fp16, fp32-optimized and fp32. Exits
    with 1 when none is within the budget.
    """
    with answering(as_json=as_json), progressing("quantizing") as progress:
        from slipway.cli.quantize_view import print_quantized
        from slipway.specs import PRECISIONS, QUANTIZED
        from slipway.stages.quantizing import quantize_within_budget

        report = quantize_within_budget(
            model,
            out,
            calibration=calibration,
            precisions=_precisions(
                precision or Made, _static(method, samples, target), changes or ()
            ),
            wanted=[it for it in PRECISIONS if it in precision] if precision else QUANTIZED,
            goal=_goal(
                parity={"int8_relative_error": relative_error, "label_agreement": label_agreement},
                budget={"metric_drop": metric_drop},
                metric=metric,
                evaluation=evaluation,
                labels=labels,
            ),
            state=state,
            shares=merge or (),
            progress=progress,
        )
        if page is not None:
            from slipway.reporting.quantized import render_quantized
            from slipway.stages.delivery import deliver_text

            deliver_text(render_quantized(report), page)
        answer(report, as_json=as_json, words=lambda: print_quantized(report), passed=report.passed)


def calibrate(
    model: Model,
    calibration: Annotated[Path, typer.Option(help="Inputs that the model will see.")],
    state: Annotated[
        Path, typer.Option(help="Where what is counted is kept; resumed from if it exists.")
    ],
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Which share of the samples: 1/4 to 4/4 of four.")
    ] = "1/1",
    method: Method = "mse",
    samples: SampleCount = 256,
    target: Target = "x64",
    changes: Changes = None,
    as_json: Json = False,
) -> None:
    """Count a share of the calibration samples, for `slipway quantize --merge` to put together.

    Give every worker and `quantize` the same model, data and options, and each worker a shard of
    its own: the merged ranges are those of one run.
    """
    with answering(as_json=as_json), progressing("calibrating") as progress:
        from slipway.stages.calibrating import calibrate_share

        spec = _precisions(["int8-static"], _static(method, samples, target), changes or ())
        assert spec.int8_static is not None  # noqa: S101 - the line above asks for it
        counted = calibrate_share(
            model,
            calibration=calibration,
            options=spec.int8_static,
            state=state,
            shard=_shard(shard),
            progress=progress,
        )
        answer(
            counted,
            as_json=as_json,
            words=lambda: say(
                f"{counted.state}: {counted.samples} of {counted.planned} samples, "
                f"{counted.batches} batches run"
            ),
        )


def fp16(
    model: Model,
    out: Out,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Inputs that the model will see; what overflows is found from them."),
    ] = None,
    keep_io_types: Annotated[
        bool, typer.Option(help="Keep float32 inputs and outputs, casting inside.")
    ] = True,
    largest_activation: Annotated[
        float, typer.Option(min=1, max=65504, help="Beyond it, nodes stay float32.")
    ] = 16384.0,
    samples: Annotated[int, typer.Option(min=1, help="Samples measured at most.")] = 64,
    as_json: Json = False,
) -> None:
    """Convert a model to half precision where float16 holds its numbers."""
    with answering(as_json=as_json, working="converting"):
        from slipway.specs import Fp16Spec
        from slipway.stages.bare import convert_file

        made = convert_file(
            model,
            out,
            precision="fp16",
            options=Fp16Spec(
                keep_io_types=keep_io_types, largest_activation=largest_activation, samples=samples
            ),
            calibration=calibration,
        )
        answer(made, as_json=as_json, words=lambda: _made(made))


COMMANDS: tuple[Callable[..., None], ...] = (quantize, calibrate, fp16)


def _static(method: str, samples: int, target: str) -> Mapping[str, object]:
    return {"method": method, "samples": samples, "target": target}


def _precisions(
    names: Iterable[str], static: Mapping[str, object], changes: Sequence[str]
) -> "PrecisionsSpec":
    """What the command line asks for, as a spec would say it.

    Raises:
        RequestError: naming the `--set` that is wrong.
    """
    import yaml
    from pydantic import ValidationError

    from slipway.specs import PrecisionsSpec
    from slipway.specs.mistakes import explain

    raw: dict[str, dict[str, Any]] = {str(name): {} for name in names}
    if "int8-static" in raw:
        raw["int8-static"].update(static)
    for change in changes:
        place, _, text = change.partition("=")
        name, _, key = place.partition(".")
        if not (key and text):
            raise RequestError(f"--set {change}: write PRECISION.KEY=VALUE")
        if name not in raw:
            raise RequestError(f"--set {change}: what is tried is {', '.join(raw)}")
        try:
            raw[name][key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RequestError(f"--set {change}: {text} is no YAML value") from error
    try:
        return PrecisionsSpec.model_validate(raw)
    except ValidationError as error:
        lines = explain(error, PrecisionsSpec)
        raise RequestError("\n".join(f"--set {line}" for line in lines)) from error


def _goal(**given: object) -> "Goal":
    """What a variant may cost.

    Raises:
        RequestError: naming the option whose number is none that a budget can have.
    """
    from pydantic import ValidationError

    from slipway.specs.mistakes import explain
    from slipway.stages.ladder import Goal

    try:
        return Goal.model_validate(given)
    except ValidationError as error:
        lines = (line.partition(": ") for line in explain(error, Goal))
        told = [
            f"--{place.rpartition('.')[2].removeprefix('int8_').replace('_', '-')}: {what}"
            for place, _, what in lines
        ]
        raise RequestError("\n".join(told)) from error


def _shard(text: str) -> tuple[int, int]:
    """The number of a share, from 1, and of how many.

    Raises:
        RequestError: when it is none.
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise RequestError(f"--shard {text}: write I/N, such as 2/4 for the second of four")
    return int(number), int(count)


def _made(made: "ConvertedFile") -> None:
    say(f"{made.model}: {made.size_bytes} bytes, {made.digest}")
    for name, value in made.settings.items():
        say(f"  {name}: {value}")
    tell_findings(made.findings)
