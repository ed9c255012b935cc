"""fp32-optimized: the graph as onnxruntime would optimize it at load, saved.

It starts sooner, and attention that onnxruntime's loader does not recognise is fused by its offline
tool. The result belongs to one provider, one version and one kind of processor: the model says
which, and `slipway verify` and `selftest` say so elsewhere.
"""

import logging
from pathlib import Path
from typing import Final

import onnx

from slipway.errors import PrecisionFailed
from slipway.precisions import graphs
from slipway.precisions.finishing import finish, skip, tools, workplace
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.providers.hardware import made_here
from slipway.reports import Finding
from slipway.specs import Fp32OptimizedSpec

logger = logging.getLogger(__name__)

PROVIDER: Final = "cpu"
MADE_FOR: Final = "slipway.made_for"
"""The model's metadata that holds what it was made for, as JSON."""
_ATTENTION: Final = frozenset({"MatMul", "Softmax"})


def convert(request: ConvertRequest, scratch: Path) -> ConvertResult:
    """Optimize the graph for this machine's CPU provider.

    Raises:
        SourceNotFound, UnreadableModel: for the model.
        PrecisionFailed: when onnxruntime cannot optimize it.
    """
    options = request.options
    fusions = options.fusions if isinstance(options, Fp32OptimizedSpec) else True
    given = graphs.load_model(request.model)
    before, large = _shape_of(given), graphs.is_large(given)
    del given
    fused: dict[str, int] = {}
    findings: tuple[Finding, ...] = ()
    with workplace(scratch) as work:
        source = request.model
        if fusions and before.keys() >= _ATTENTION:
            try:
                fused = _fuse(request.model, work / "fused.onnx")
                source = work / "fused.onnx" if fused else source
                optimized = _optimize(source, work / "optimized.onnx", large=large)
            except Exception as error:  # noqa: BLE001 - the tool asserts and raises what it likes
                fused, source = {}, request.model
                findings = (_left_out(error),)
                optimized = _optimize(source, work / "optimized.onnx", large=large)
        else:
            optimized = _optimize(source, work / "optimized.onnx", large=large)
        model = graphs.load_model(optimized)
    for node in graphs.walk_nodes(model):
        node.ClearField("name")  # what onnxruntime (1.31) calls new nodes differs from run to run
    if _shape_of(model) == before:
        return skip("onnxruntime finds nothing to optimize in this graph")
    made_for = made_here(PROVIDER)
    path = finish(model, scratch, metadata={MADE_FOR: made_for.model_dump_json()})
    return ConvertResult(
        status="passed",
        model=path,
        made_for=made_for,
        findings=findings,
        settings={
            "provider": PROVIDER,
            "nodes": sum(_shape_of(model).values()),
            "nodes_before": sum(before.values()),
            "fusions": ", ".join(f"{name} {count}" for name, count in sorted(fused.items())),
        },
        tools=tools(),
    )


def _shape_of(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator is used."""
    counts: dict[str, int] = {}
    for node in graphs.walk_nodes(model):
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def _fuse(source: Path, target: Path) -> dict[str, int]:
    """Write the model with attention and its neighbours fused; how often each fusion was found."""
    from onnxruntime.transformers.optimizer import optimize_model

    logging.getLogger("onnxruntime.transformers").setLevel(logging.ERROR)
    made = optimize_model(str(source), model_type="bert", opt_level=0, use_gpu=False)
    fused = {name: count for name, count in made.get_fused_operator_statistics().items() if count}
    if fused:
        graphs.save_model(made.model, target)
    return fused


def _optimize(source: Path, target: Path, *, large: bool) -> Path:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    if large:
        location = target.name + graphs.DATA_SUFFIX
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", location
        )
    try:
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise PrecisionFailed(f"onnxruntime cannot optimize this model: {error}") from error
    return target


def _left_out(error: Exception) -> Finding:
    return Finding(
        level="warning",
        code="fusions-left-out",
        message=f"onnxruntime's transformer fusions fail on this model and are left out: {error}",
    )
