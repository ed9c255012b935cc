"""What putting Q and DQ nodes into a deep graph costs, in CPU seconds, beside onnxruntime.

    python benchmarks/quantizing.py

A chain of Gemm, Relu and Add is quantized with the same ranges by `slipway.precisions.qdq` and by
`onnxruntime.quantization.quantize_static` (from a cache of ranges, so that it calibrates nothing),
each in a process of its own. Scales, zero points and integers are then compared bit for bit. The
last column is a whole conversion to int8-static, with preparation, calibration on 16 samples, the
checker, loading and the audit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

NODES = (300, 1200, 2400)
TARGET_S = 6.0
WIDTH = 16
OP_TYPES = ("Gemm", "Relu", "Add")


def main() -> None:
    """Measure, compare and print a table; exit with 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="*", default=NODES)
    parser.add_argument("--one", nargs=3, metavar=("WHO", "MODEL", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(quantize_once(given.one[0], Path(given.one[1]), Path(given.one[2])))
        return
    missed = False
    headings = ("nodes", "slipway CPU-s", "onnxruntime CPU-s", "ratio", "same scales", "conversion")
    print("  ".join(headings))
    with tempfile.TemporaryDirectory() as folder:
        for nodes in given.nodes:
            model = Path(folder) / f"chain{nodes}.onnx"
            write_chain(model, nodes)
            ours, theirs = (run_apart(who, model) for who in ("slipway", "onnxruntime"))
            same = equal_constants(
                *(model.with_suffix(f".{w}") for w in ("slipway", "onnxruntime"))
            )
            whole = run_apart("conversion", model)
            ratio = theirs / ours
            figures = (nodes, f"{ours:.2f}", f"{theirs:.2f}", f"{ratio:.1f}", same, f"{whole:.2f}")
            cells = zip(headings, figures, strict=True)
            print("  ".join(str(value).rjust(len(heading)) for heading, value in cells), flush=True)
            missed |= not same or (nodes >= max(NODES) and max(ours, whole) > TARGET_S)
    sys.exit(missed)


def write_chain(path: Path, nodes: int) -> None:
    """A chain of `nodes` nodes with inferred shapes, and its ranges beside it."""
    random = np.random.default_rng(0)
    graph = helper.make_graph(
        [],
        "chain",
        [helper.make_tensor_value_info("x", 1, ["batch", WIDTH])],
        [helper.make_tensor_value_info(f"add{nodes // 3 - 1}", 1, ["batch", WIDTH])],
    )
    last = "x"
    for number in range(nodes // 3):
        names = [f"{stem}{number}" for stem in ("w", "b", "gemm", "relu", "add")]
        weight, bias, gemm, relu, add = names
        for name, shape in ((weight, (WIDTH, WIDTH)), (bias, (WIDTH,))):
            values = random.standard_normal(shape).astype(np.float32) * np.float32(0.02)
            graph.initializer.append(numpy_helper.from_array(values, name))
        graph.node.append(helper.make_node("Gemm", [last, weight, bias], [gemm], gemm, transB=1))
        graph.node.append(helper.make_node("Relu", [gemm], [relu], relu))
        graph.node.append(helper.make_node("Add", [relu, last], [add], add))
        last = add
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    model = onnx.shape_inference.infer_shapes(model)
    # What tells onnxruntime that the model was prepared, so that it does not warn.
    model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    onnx.save(model, path)
    names = [v.name for v in (*model.graph.value_info, *model.graph.input, *model.graph.output)]
    ranges = {name: sorted(map(float, random.standard_normal(2))) for name in names}
    path.with_suffix(".json").write_text(json.dumps(ranges))


def run_apart(who: str, model: Path) -> float:
    """CPU seconds of one quantizer in a fresh process, without its imports."""
    command = [
        sys.executable,
        __file__,
        "--one",
        who,
        str(model),
        str(model.with_suffix(f".{who}")),
    ]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def quantize_once(who: str, model: Path, out: Path) -> float:
    """Quantize with one of the two and save; the CPU seconds that it took."""
    if who == "conversion":
        return convert_once(model, out)
    ranges = json.loads(model.with_suffix(".json").read_text())
    if who == "slipway":
        from slipway.precisions.graphs import save_model
        from slipway.precisions.marking import Scheme
        from slipway.precisions.qdq import quantize_file

        start = time.process_time()
        bounds = {name: (low, high) for name, (low, high) in ranges.items()}
        save_model(quantize_file(model, bounds, Scheme(OP_TYPES)), out)
        return time.process_time() - start
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData, save_tensors_data

    cache = out.with_suffix(".ranges")
    bounds = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, bounds), cache)
    start = time.process_time()
    quantize_static(
        str(model),
        str(out),
        op_types_to_quantize=list(OP_TYPES),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibration_cache_path=cache,
    )
    return time.process_time() - start


def convert_once(model: Path, out: Path) -> float:
    """Convert to int8-static, all told; the CPU seconds that it took."""
    from slipway.precisions import convert
    from slipway.protocols import ConvertRequest
    from slipway.samples.arrays import save_npz
    from slipway.specs import Int8StaticSpec

    data = out.with_suffix(".npz")
    values = np.random.default_rng(1).standard_normal((16, WIDTH)).astype(np.float32)
    save_npz(data, {"x": values})
    start = time.process_time()
    request = ConvertRequest(
        precision="int8-static", model=model, options=Int8StaticSpec(), calibration=data
    )
    result = convert(request, out.with_suffix(".scratch"))
    if result.status != "passed":
        sys.exit(f"the conversion {result.status}: {result.reason}")
    return time.process_time() - start


def equal_constants(ours: Path, theirs: Path) -> bool:
    """Whether all scales, zero points and integers are equal."""
    stored = [
        {
            tensor.name: numpy_helper.to_array(tensor).reshape(-1).tobytes()
            for tensor in onnx.load(path).graph.initializer
        }
        for path in (ours, theirs)
    ]
    return stored[0] == stored[1]


if __name__ == "__main__":
    main()
