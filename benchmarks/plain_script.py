"""The yardstick of release.py: the same exports, conversions and runs, called directly.

    python benchmarks/plain_script.py examples/digits-cnn/out

What a careful person would write in an afternoon, with the same settings as the release: export by
torch.onnx, quant_pre_process before each quantization, accuracy on the evaluation set and outputs
against the source for every variant, and 700 interleaved queries per variant and batch size.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

QUERIES = 700
BATCH_SIZES = (1, 8)


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """One calibration image at a time."""

    def __init__(self, images: np.ndarray) -> None:
        """Over a stack of images."""
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image as a batch of one."""
        image = next(self._images, None)
        return None if image is None else {"image": image[np.newaxis]}


def export(program: torch.export.ExportedProgram, folder: Path) -> dict[str, Path]:
    """All four variants."""
    paths = {name: folder / f"{name}.onnx" for name in ("fp32", "fp16", "dynamic", "static")}
    exported = torch.onnx.export(
        program,
        (),
        dynamo=True,
        opset_version=18,
        input_names=["image"],
        output_names=["logits"],
        verbose=False,
    )
    assert exported is not None  # noqa: S101 - dynamo=True always gives one
    exported.save(paths["fp32"])
    onnx.checker.check_model(str(paths["fp32"]))
    onnx.save(convert_float_to_float16(onnx.load(paths["fp32"]), keep_io_types=True), paths["fp16"])
    return paths


def quantize(paths: dict[str, Path], images: np.ndarray) -> None:
    """Both INT8 variants."""
    prepared = paths["fp32"].with_name("prepared.onnx")
    quant_pre_process(str(paths["fp32"]), str(prepared))
    quantize_dynamic(
        prepared,
        paths["dynamic"],
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    quant_pre_process(str(paths["fp32"]), str(prepared))
    quantize_static(
        prepared,
        paths["static"],
        Reader(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    for name in ("dynamic", "static"):
        onnx.checker.check_model(str(paths[name]))


def measure(sessions: dict[str, ort.InferenceSession], images: np.ndarray) -> None:
    """Latency percentiles, variants interleaved in random order."""
    for size in BATCH_SIZES:
        feeds = {"image": images[:size]}
        times: dict[str, list[int]] = {name: [] for name in sessions}
        names = list(sessions)
        for _ in range(QUERIES):
            random.shuffle(names)
            for name in names:
                started = time.perf_counter_ns()
                sessions[name].run(None, feeds)
                times[name].append(time.perf_counter_ns() - started)
        for name, taken in times.items():
            p50, p95, p99 = np.percentile(taken, [50, 95, 99]) / 1e6
            print(f"{name} batch {size}: p50 {p50:.4f} p95 {p95:.4f} p99 {p99:.4f} ms")


def main() -> None:
    """Do what the release does."""
    data = Path(sys.argv[1])
    program = torch.export.load(data / "model.pt2")
    golden = np.load(data / "golden.npz")["image"]
    calibration = np.load(data / "calibration.npz")["image"]
    evaluation = np.load(data / "evaluation.npz")
    with torch.no_grad():
        expected = {n: program.module()(torch.from_numpy(golden[:n])).numpy() for n in (1, 3, 32)}
    with tempfile.TemporaryDirectory() as folder:
        paths = export(program, Path(folder))
        quantize(paths, calibration)
        options = ort.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        sessions = {
            name: ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for name, path in paths.items()
        }
        for name, session in sessions.items():
            error = max(
                float(np.abs(session.run(None, {"image": golden[:n]})[0] - outputs).max())
                for n, outputs in expected.items()
            )
            scores = session.run(None, {"image": evaluation["image"]})[0]
            accuracy = (scores.argmax(1) == evaluation["label"]).mean()
            print(f"{name}: error {error:.2g}, accuracy {accuracy:.4f}")
        measure(sessions, golden)


if __name__ == "__main__":
    main()
