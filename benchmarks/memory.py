"""The most memory that a release holds at any moment, stage by stage, beside its model's size.

    python benchmarks/memory.py [--source pt2 safetensors onnx] [--gigabytes 2.5]

A model of that many bytes of weights is made in a process of its own, then `slipway release` takes
it through every stage: fetch, export, validate (check and parity), convert, benchmark, bundle,
self-test, unpack (verify), register. Meanwhile the proportional set size of the whole process tree
is summed, many times a second: each page counts once, mapped files included, page cache that no
process has mapped left out. `anonymous` is the part that cannot be dropped and read again.

A stage is what happens between the ends of two of Prefect's tasks. Exit 1 where the peak is above
2.5 times the model's size. About 5 times the size is needed on the disk, and all is removed again.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
BOUND = 2.5
PERIOD_S = 0.1
WIDTH = 4096
SOURCES = ("pt2", "safetensors", "onnx")
_FINISHED = re.compile(r"Task run '(\S+) .*Finished in state")

MODULE = """
import torch


class Stack(torch.nn.Module):
    def __init__(self, depth: int, width: int = 4096) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Linear(width, width, bias=False) for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def build(depth: int) -> torch.nn.Module:
    with torch.device("meta"):
        model = Stack(depth)
    return model.to_empty(device="cpu")


def trained(depth: int) -> torch.nn.Module:
    model = build(depth).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in model.layers:
            layer.weight.uniform_(-0.02, 0.02, generator=generator)
    return model
"""
MAKERS = {
    "pt2": """
import sys, torch
from module import trained
example = (torch.zeros(3, 4096),)
shapes = ({0: torch.export.Dim("batch")},)
program = torch.export.export(trained(int(sys.argv[1])), example, dynamic_shapes=shapes)
torch.export.save(program, "model.pt2")
""",
    "safetensors": """
import sys
from safetensors.torch import save_file
from module import trained
save_file(dict(trained(int(sys.argv[1])).state_dict()), "model.safetensors")
""",
    "onnx": """
import pathlib, sys
import numpy as np, onnx
from onnx import TensorProto, helper
depth, width = int(sys.argv[1]), 4096
folder = pathlib.Path("model"); folder.mkdir()
nodes, weights, last = [], [], "x"
random = np.random.default_rng(0)
with (folder / "weights.bin").open("wb") as file:
    for number in range(depth):
        name = f"w{number}"
        weight = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[width, width],
                             data_location=TensorProto.EXTERNAL)
        for key, value in (("location", "weights.bin"), ("offset", file.tell()),
                           ("length", width * width * 4)):
            weight.external_data.add(key=key, value=str(value))
        file.write(((random.random((width, width), dtype=np.float32) - 0.5) / 25).tobytes())
        weights.append(weight)
        nodes.append(helper.make_node("MatMul", [last, name], [f"m{number}"]))
        nodes.append(helper.make_node("Tanh", [f"m{number}"], [f"t{number}"]))
        last = f"t{number}"
x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])
y = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", width])
graph = helper.make_graph(nodes, "stack", [x], [y], weights)
opsets = [helper.make_opsetid("", 18)]
onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "model.onnx")
""",
}


@dataclass
class Use:
    """The most bytes held at one moment: all of them, and those of no file."""

    total: int = 0
    anonymous: int = 0
    seconds: float = 0.0

    def see(self, total: int, anonymous: int) -> None:
        """Keep the larger."""
        self.total, self.anonymous = max(self.total, total), max(self.anonymous, anonymous)


@dataclass
class Measured:
    """A release's memory by stage, in order."""

    model_bytes: int
    stages: dict[str, Use] = field(default_factory=dict)

    @property
    def peak(self) -> int:
        """The most bytes held by the release at any moment."""
        return max(use.total for use in self.stages.values())

    @property
    def ratio(self) -> float:
        """The peak as a multiple of the model's size."""
        return self.peak / self.model_bytes


def measure_release(source: str, size_bytes: int, folder: Path) -> Measured:
    """Make a model in a folder, release it, and say how much memory each stage held.

    Raises:
        RuntimeError: when the release fails, with the end of its log.
    """
    depth = max(2, round(size_bytes / (4 * WIDTH * WIDTH)))
    spec = _make(source, depth, folder)
    found = Measured(model_bytes=depth * 4 * WIDTH * WIDTH)
    environment = os.environ | {
        "SLIPWAY_HOME": str(folder / "home"),
        "PREFECT_HOME": str(folder / "prefect"),
        "TMPDIR": str(folder / "tmp"),
    }
    (folder / "tmp").mkdir()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("slipway"), "release", spec, "--json"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with _watching(process.pid) as current, process:
        log = list(_stages(process, current, found.stages))
        answer = process.stdout.read() if process.stdout else ""
    found.stages["end"] = current[0]
    if process.returncode:
        raise RuntimeError(f"the release failed: {answer[-2000:]}\n{''.join(log)[-4000:]}")
    registered = json.loads(answer)["registered"]
    if not registered:
        raise RuntimeError("the release was not registered")
    return found


def _make(source: str, depth: int, folder: Path) -> Path:
    (folder / "module.py").write_text(MODULE)
    (folder / "make.py").write_text(MAKERS[source])
    subprocess.run([sys.executable, "make.py", str(depth)], cwd=folder, check=True)
    given: dict[str, object] = {"framework": "pytorch", "uri": f"model.{source}"}
    spec: dict[str, object] = {
        "name": f"large-{source}",
        "source": given,
        "benchmark": {"queries": 20, "max_seconds": 2},
        "register": {"name": f"large-{source}"},
    }
    if source == "safetensors":
        given |= {"factory": "module.py:build", "factory_arguments": {"depth": depth}}
        spec["inputs"] = {"x": {"shape": ["batch", WIDTH]}}
    elif source == "onnx":
        given |= {"framework": "onnx", "uri": "model"}
    path = folder / "spec.yaml"
    path.write_text(json.dumps(spec))  # JSON is YAML
    return path


def _stages(
    process: "subprocess.Popen[str]", current: list[Use], stages: dict[str, Use]
) -> Iterator[str]:
    """The log's lines; at each task's end what was seen since the last one goes to it."""
    begun = time.monotonic()
    for line in process.stderr or ():
        yield line
        if ended := _FINISHED.search(line):
            use, current[0] = current[0], Use()
            use.seconds, begun = time.monotonic() - begun, time.monotonic()
            stages[_free_name(ended[1], stages)] = use


def _free_name(name: str, taken: dict[str, Use]) -> str:
    number = sum(other.partition(" ")[0] == name for other in taken)
    return f"{name} {number + 1}" if number else name


@contextmanager
def _watching(pid: int) -> Iterator[list[Use]]:
    """A list with one `Use` that grows while the process lives; replace it to begin anew."""
    current = [Use()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(PERIOD_S):
            current[0].see(*_tree_bytes(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield current
    finally:
        done.set()
        watcher.join()


def _tree_bytes(pid: int) -> tuple[int, int]:
    """Proportional set sizes of a process and its descendants: all pages, anonymous pages."""
    total = anonymous = 0
    pending = [pid]
    while pending:
        process = Path("/proc") / str(pending.pop())
        with suppress(OSError):
            for task in (process / "task").iterdir():
                pending += map(int, (task / "children").read_text().split())
        with suppress(OSError):
            for line in (process / "smaps_rollup").read_text().splitlines():
                name, _, value = line.partition(":")
                if name == "Pss":
                    total += int(value.split()[0]) << 10
                elif name == "Pss_Anon":
                    anonymous += int(value.split()[0]) << 10
    return total, anonymous


def main() -> None:
    """Measure and print a table for each source; exit with 1 when the bound is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--gigabytes", type=float, default=2.5)
    given = parser.parse_args()
    kept = True
    for source in given.source:
        folder = Path(tempfile.mkdtemp(prefix="slipway-memory-"))
        try:
            found = measure_release(source, int(given.gigabytes * 1e9), folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print_table(source, found)
        kept &= found.ratio < BOUND
    sys.exit(0 if kept else 1)


def print_table(source: str, found: Measured) -> None:
    """One line a stage, and the verdict."""
    print(f"\n{source}: {found.model_bytes / 1e9:.2f} GB of weights")
    print(f"{'stage':14}{'seconds':>9}{'peak GB':>9}{'x model':>9}{'anonymous':>11}")
    for name, use in found.stages.items():
        print(
            f"{name:14}{use.seconds:9.1f}{use.total / 1e9:9.2f}"
            f"{use.total / found.model_bytes:9.2f}{use.anonymous / found.model_bytes:11.2f}"
        )
    verdict = "within" if found.ratio < BOUND else "ABOVE"
    print(f"peak {found.ratio:.2f} x the model, {verdict} the bound of {BOUND}", flush=True)


if __name__ == "__main__":
    main()
