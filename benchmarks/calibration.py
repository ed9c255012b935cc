"""What calibration costs beside onnxruntime's, in CPU seconds and peak memory.

    python benchmarks/calibration.py [--networks resnet50 ...] [--samples 128] [--flat] [--peer 32]

Each line is a process of its own, on the same network and samples: plain batched FP32 inference
(the yardstick), `calibrate` with each method, and `quantize_static` with each of its own. CPU
seconds are of all threads, after imports; memory is the peak of the whole process. `--flat` repeats
ours at 64, 512 and 1,024 samples; `--peer` is of how many samples onnxruntime's are given, and ours
again beside them: its histograms take 0.1 GB a sample.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.networks import NETWORKS, write_samples
from slipway.precisions.calibration import calibrate
from slipway.precisions.gating import choose_samples
from slipway.precisions.marking import Scheme, activations_to_measure
from slipway.precisions.policy import choose_op_types
from slipway.precisions.preprocess import preprocess
from slipway.providers.sessions import Session
from slipway.samples.arrays import Samples, map_samples
from slipway.specs import CalibrationMethod

OURS = ("mse", "minmax", "percentile", "entropy")
THEIRS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
BATCH = 4
# At most this many times plain inference, and two seconds: the goal.
GOALS = {"minmax": 1.15, "percentile": 1.3, "entropy": 1.3}


def plain(model: Path, samples: Samples) -> None:
    """What any calibration needs at least."""
    session = Session(model)
    for batch in samples.batches(BATCH):
        session.run(batch.arrays)
        samples.release()


def ours(model: Path, samples: Samples, method: str) -> None:
    """Ranges for all tensors that the quantizer needs."""
    proto = onnx.load(model, load_external_data=False)
    calibrate(
        model,
        choose_samples(proto, samples, count=len(samples), work=model.parent),
        method=cast("CalibrationMethod", method),
        tensors=activations_to_measure(model, Scheme(choose_op_types(proto))),
    )


def theirs(model: Path, samples: Samples, method: str) -> None:
    """The whole of quantize_static, calibration included; entropy with 128 bins, its default."""
    from onnxruntime.quantization import CalibrationMethod as Theirs
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    class Reader:
        def __init__(self) -> None:
            self.batches: Iterator[Samples] = samples.batches(1)

        def get_next(self) -> object:
            batch = next(self.batches, None)
            return None if batch is None else {k: np.array(v) for k, v in batch.arrays.items()}

    quantize_static(
        str(model),
        str(model.with_name(f"theirs-{os.getpid()}.onnx")),
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(choose_op_types(onnx.load(model))),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=getattr(Theirs, THEIRS[method]),
    )


def one(who: str, method: str, model: Path, data: Path, count: int) -> None:
    """In a process of its own: one measurement, as JSON on the last line."""
    samples = map_samples(data)
    samples = Samples(
        {next(iter(NAMES[model.parent.name])): samples.arrays[data.stem][:count]}, samples.mappings
    )
    started, wall = time.process_time(), time.perf_counter()
    if who == "plain":
        plain(model, samples)
    else:
        {"slipway": ours, "onnxruntime": theirs}[who](model, samples, method)
    cpu, took = time.process_time() - started, time.perf_counter() - wall
    peak = _peak_kb() / 2**20
    print(json.dumps({"cpu_s": cpu, "wall_s": took, "peak_gb": peak}))


def _peak_kb() -> int:
    """Not ru_maxrss, which a child begins with at its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


NAMES = {"resnet50": ["image"], "mobilenet": ["image"], "encoder": ["embedded"]}


def measure(who: str, method: str, model: Path, data: Path, count: int) -> dict[str, float]:
    """Run `one` and read what it found."""
    command = [sys.executable, __file__, "--one", who, method, str(model), str(data), str(count)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{ran.stderr[-3000:]}")
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def network(name: str, folder: Path, asked: argparse.Namespace) -> bool:
    """Measure one network; whether it is within the goals."""
    place = folder / name
    place.mkdir()
    model = preprocess(NETWORKS[name](), place)
    data = place / "samples.npy"
    write_samples(data, name, max(asked.samples, 1024 if asked.flat else 0))
    base = measure("plain", "", model, data, asked.samples)
    print(f"\n{name}, {asked.samples} samples{'':<18} CPU s   wall s  peak GB   x plain")
    show("plain FP32 inference", base, base)
    kept = True
    for method in OURS:
        found = measure("slipway", method, model, data, asked.samples)
        show(f"slipway {method}", found, base)
        if method in GOALS and found["cpu_s"] > GOALS[method] * base["cpu_s"] + 2:
            kept = False
            print(
                f"    misses {GOALS[method]} x plain + 2 s = "
                f"{GOALS[method] * base['cpu_s'] + 2:.1f} s"
            )
    for method in THEIRS if asked.peer else ():
        for who in ("slipway", "onnxruntime"):
            found = measure(who, method, model, data, asked.peer)
            show(f"{who} {method}, {asked.peer} samples", found, None)
    for count in (64, 512, 1024) if asked.flat else ():
        show(f"slipway mse, {count} samples", measure("slipway", "mse", model, data, count), None)
    return kept


def show(label: str, found: dict[str, float], base: dict[str, float] | None) -> None:
    """One line."""
    ratio = f"{found['cpu_s'] / base['cpu_s']:9.2f}" if base else ""
    print(
        f"  {label:<32}{found['cpu_s']:9.2f}{found['wall_s']:9.2f}{found['peak_gb']:9.2f}{ratio}",
        flush=True,
    )


def main() -> None:
    """Measure, print, and fail where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--flat", action="store_true")
    parser.add_argument("--peer", type=int, default=0, metavar="SAMPLES")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        who, method, model, data, count = asked.one
        one(who, method, Path(model), Path(data), int(count))
        return
    with tempfile.TemporaryDirectory() as folder:
        kept = [network(name, Path(folder), asked) for name in asked.networks]
    print(f"\nload {os.getloadavg()[0]:.1f}")
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
