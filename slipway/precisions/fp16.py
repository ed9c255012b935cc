"""fp16: half precision weights and activations, where float16 holds them.

For GPUs: onnxruntime's CPU provider computes it in float32 with casts, no faster, and so hides
overflow. What decides is in `half`; here the parts are called in their order.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model

from slipway.errors import PrecisionFailed, UnreadableModel
from slipway.precisions import graphs
from slipway.precisions.finishing import finish, skip, tools, workplace
from slipway.precisions.gating import choose_samples
from slipway.precisions.half import constants, overflow, ranges, reasons
from slipway.precisions.half.elements import Types, infer_types, normalize
from slipway.precisions.half.labels import choose_halves
from slipway.precisions.half.reasons import Reason
from slipway.precisions.half.rewriting import Rewritten, rewrite
from slipway.precisions.half.values import HALF_UNIT, Units, read_units
from slipway.precisions.transposes import move_transposes_behind_matmul
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.providers.signature import model_inputs, read_graph
from slipway.reports import Finding
from slipway.samples.arrays import Samples, map_samples
from slipway.specs import Fp16Spec

QUANTIZED: Final = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
ROUNDS: Final = 4
"""How often nodes that overflow are taken back to float32 before that is a failure."""


def convert(request: ConvertRequest, scratch: Path) -> ConvertResult:
    """Make float16 what gains by it and can be; inputs and outputs are what was asked for.

    With calibration data, what stays float32 is decided by the values that it gives; without, by
    what operators may do at worst.

    Raises:
        SourceNotFound, UnreadableModel: for the model.
        DataError: for calibration data that is unusable.
        PrecisionFailed: when a weight is NaN, or the conversion gives an unusable model.
    """
    options = request.options if isinstance(request.options, Fp16Spec) else Fp16Spec()
    model = read_graph(request.model)
    if reason := inapplicable(model):
        return skip(reason)
    _refuse_nan(model, request.model.parent)
    given = map_samples(request.calibration) if request.calibration is not None else None
    with workplace(scratch) as work:
        samples = None
        if given is not None:
            samples = choose_samples(model, given, count=options.samples, work=work)
        _copy_weights(model, request.model.parent, work)
        making = _Making.prepare(model, work / "normalized.onnx", options, samples)
        del model
        made = making.make()
        if made is None:
            return skip("nothing in the model gains more by float16 than the casts around it cost")
        load_external_data_for_model(made.model, str(work))  # what stayed float32
    path = finish(made.model, scratch)
    return ConvertResult(
        status="passed",
        model=path,
        settings={**making.settings(), **made.settings()},
        findings=made.findings(),
        tools=tools(),
    )


def inapplicable(model: onnx.ModelProto) -> str | None:
    """Why fp16 does not apply here, or None."""
    learners = sorted({n.op_type for n in graphs.walk_nodes(model) if n.domain == "ai.onnx.ml"})
    if learners:
        return f"{', '.join(learners)} of ai.onnx.ml compute in float32; fp16 has no kernels"
    found = graphs.operators(model)
    if found & QUANTIZED:
        return "the model is quantized already"
    holds = {tensor.data_type for _, tensor in graphs.constants(model.graph)}
    holds |= {value.type.tensor_type.elem_type for value in model.graph.input}
    if onnx.TensorProto.FLOAT not in holds:
        return "the model has no float32 weights or inputs"
    return None


def _copy_weights(model: onnx.ModelProto, source: Path, work: Path) -> None:
    """Copy the files of external data, so that the model can be written beside them."""
    for name, tensor in graphs.constants(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = Path(ExternalDataInfo(tensor).location)
        if location.is_absolute() or ".." in location.parts:
            raise UnreadableModel(f"external data of {name} lies outside the model's folder")
        target = work / location
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / location, target)


def _refuse_nan(model: onnx.ModelProto, folder: Path) -> None:
    for name, tensor in graphs.constants(model.graph):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        # The least number of an array with NaN in it is NaN; nothing else is allocated for that.
        values = constants.read_values(tensor, folder)
        if values.size and np.isnan(values.min()):
            raise PrecisionFailed(f"{name} holds NaN; export the model with sound weights")


@dataclass(frozen=True)
class _Made:
    """One converted model, and what was done to it."""

    model: onnx.ModelProto
    units: Units
    halves: list[bool]
    reasons: Mapping[int, Reason]
    softened: Mapping[str, int]
    rewritten: Rewritten

    def settings(self) -> dict[str, str | int | float | bool]:
        rounded = self.rewritten.rounded.values()
        return {
            "float16_nodes": len(self._nodes(half=True)),
            "float32_nodes": len(self._nodes(half=False)),
            "casts": self.rewritten.casts,
            "clamped_weights": sum(r.clamped for r in rounded) + sum(self.softened.values()),
            "flushed_weights": sum(r.flushed for r in rounded),
        }

    def findings(self) -> tuple[Finding, ...]:
        rounded = self.rewritten.rounded
        clamped = {name: done.clamped for name, done in rounded.items()}
        flushed = {name: done.flushed for name, done in rounded.items()}
        mask = (
            f"stood for infinity and are ±{constants.MASK:g} now: rows that mask everything come "
            "out otherwise than in float32"
        )
        found = [
            *reasons.describe(self.reasons, self.units),
            *_counted("fp16-masks", self.softened, mask),
            *_counted("fp16-clamped", clamped, "are clamped to ±65504"),
            *_counted("fp16-flushed", flushed, f"are below {constants.SMALLEST:.1g} and are 0 now"),
        ]
        kept = [self.units.nodes[unit] for unit in self.reasons] + self.units.fixed
        cheap = self._nodes(half=False) - {node.name for node in kept if node is not None}
        if cheap:
            found.append(
                _warning(
                    "fp16-not-worth-casts",
                    f"{len(cheap)} nodes stay float32, since casts around them would cost more "
                    f"than they gain: {', '.join(sorted(cheap))}",
                )
            )
        return tuple(found)

    def _nodes(self, *, half: bool) -> set[str]:
        named = zip(self.units.nodes, self.halves, strict=True)
        found = {node.name for node, is_half in named if node is not None and is_half == half}
        return found if half else found | {node.name for node in self.units.fixed}


@dataclass
class _Making:
    """Conversion in rounds: what overflows in one is float32 in the next."""

    path: Path
    types: Types
    options: Fp16Spec
    samples: Samples | None
    extents: dict[str, ranges.Extent] = field(default_factory=dict)
    overflowed: set[str] = field(default_factory=set)
    checked: str = "no data was given to find overflow with"

    @classmethod
    def prepare(
        cls, model: onnx.ModelProto, path: Path, options: Fp16Spec, samples: Samples | None
    ) -> "_Making":
        model = normalize(model)
        move_transposes_behind_matmul(model.graph)
        onnx.save_model(model, path)
        light = onnx.load(path, load_external_data=False)
        making = cls(path, infer_types(light), options, samples)
        if samples is not None:
            floats = [n for n, e in making.types.elements.items() if e == onnx.TensorProto.FLOAT]
            making.extents = ranges.measure(path, floats, samples)
        return making

    def make(self) -> _Made | None:
        """The converted model; None where nothing in it becomes float16.

        Raises:
            PrecisionFailed: when it overflows still after all rounds.
        """
        for _ in range(ROUNDS):
            made = self._convert()
            if made is None:
                return None
            found = self._overflows(made)
            if not found:
                return made
            self.overflowed |= found
        raise PrecisionFailed(
            f"it overflows float16 in true half arithmetic at {', '.join(sorted(found))}, however "
            "much is kept in float32; leave fp16 out"
        )

    def settings(self) -> dict[str, str | int | float | bool]:
        return {
            "keep_io_types": self.options.keep_io_types,
            "measured_samples": len(self.samples) if self.samples else 0,
            "overflow_check": self.checked,
        }

    def _convert(self) -> _Made | None:
        model = onnx.load(self.path, load_external_data=False)
        units = read_units(model, self.types, keep_io=self.options.keep_io_types)
        softened = constants.soften_masks(units.values, self.path.parent)
        found = reasons.find_reasons(
            model,
            units,
            self.types,
            extents={n: e for n, e in self.extents.items() if n in units.values},
            largest_activation=self.options.largest_activation,
            folder=self.path.parent,
        )
        for name in self.overflowed:
            value = units.values[name]
            for unit in (value.unit, *(r.unit for r in value.readers)):
                if unit is not None and unit > HALF_UNIT:
                    found[unit] = Reason("overflow", name)
        halves = choose_halves(units, self.types, set(found))
        if not any(halves[HALF_UNIT + 1 :]):
            return None
        rewritten = rewrite(model, units, halves, self.path.parent)
        graphs.tidy(model)
        return _Made(model, units, halves, found, softened, rewritten)

    def _overflows(self, made: _Made) -> set[str]:
        """Values that are infinite or NaN in true half arithmetic, though finite in float32."""
        if self.samples is None:
            return set()
        light = onnx.load(self.path, load_external_data=False)
        feeds = next(iter(ranges.batches(model_inputs(light), self.samples)))
        work = overflow.estimate_work(light, self.types, self._elements())
        if work > overflow.LARGEST_WORK:
            self.checked = f"too much work for the reference evaluator ({work:.1e} products)"
            return set()
        types = {i.name: i.type.tensor_type.elem_type for i in made.model.graph.input}
        halved = {
            name: array.astype(np.float16) if types[name] == onnx.TensorProto.FLOAT16 else array
            for name, array in feeds.items()
        }
        try:
            found = set(overflow.find_overflow(made.model, halved))
        except Exception as error:  # noqa: BLE001 - it knows not every operator, and says so in any way
            self.checked = f"the reference evaluator fails on this model: {error}"
            return set()
        self.checked = "onnx's reference evaluator, in true half arithmetic"
        names = {made.rewritten.origins.get(name, name) for name in found}
        return {n for n in names if n in self.extents and self.extents[n].finite}

    def _elements(self) -> dict[str, int]:
        return {name: extent.elements for name, extent in self.extents.items()}


def _counted(code: str, counts: Mapping[str, int], what: str) -> Iterable[Finding]:
    named = [f"{name} ({count})" for name, count in counts.items() if count]
    if named:
        yield _warning(code, f"elements of weights {what}: {', '.join(named)}")


def _warning(code: str, message: str) -> Finding:
    return Finding(level="warning", code=code, message=message)
