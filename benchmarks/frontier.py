"""What accuracy, latency and size each precision gives on this CPU, network by network.

    python benchmarks/frontier.py [--networks resnet50 ...] [--threads 1]

The networks are those of `trained.py`. Accuracy is on labelled digits that neither training nor
calibration saw; agreement is the share of labels equal to the float model's, and SQNR the ratio of
its scores' power to the error's. int8-mixed is static INT8 held to half of its own relative error,
so that nodes must stay in float. Latency is of one sample, interleaved query by query over seven
fresh processes, with its 95 % interval beside fp32; the table is Markdown.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.trained import BATCH, TRAINED, Trained
from slipway.benchmarking.conditions import CPUINFO, cpu_model
from slipway.precisions import convert
from slipway.protocols import AnyPrecisionSpec, ConvertRequest, ValidateRequest
from slipway.providers.sessions import Session
from slipway.reports import BenchmarkReport
from slipway.samples.arrays import Array, load_samples
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import (
    BenchmarkSpec,
    BudgetSpec,
    Fp16Spec,
    Fp32OptimizedSpec,
    Int4WeightsSpec,
    Int8DynamicSpec,
    Int8StaticSpec,
    ParitySpec,
    Precision,
)
from slipway.stages.bare import benchmark_files

ASKED: dict[Precision, AnyPrecisionSpec] = {
    "fp32-optimized": Fp32OptimizedSpec(),
    "fp16": Fp16Spec(),
    "int8-dynamic": Int8DynamicSpec(),
    "int8-static": Int8StaticSpec(samples=128),
    "int4-weights": Int4WeightsSpec(),
}
GOLDEN_ROWS = 64


@dataclass(frozen=True)
class Scores:
    """What a model makes of the evaluation data."""

    values: Array
    labels: Array

    @property
    def accuracy(self) -> float:
        """Share of right labels."""
        return float((self.values.argmax(axis=1) == self.labels).mean())

    def agreement(self, other: "Scores") -> float:
        """Share of equal labels."""
        return float((self.values.argmax(axis=1) == other.values.argmax(axis=1)).mean())

    def error(self, source: "Scores") -> float:
        """Relative L2 error."""
        size = float(np.linalg.norm(source.values.astype(np.float64)))
        return float(np.linalg.norm(self.values.astype(np.float64) - source.values)) / size


def scores_of(model: Path, case: Trained) -> Scores:
    """Run the evaluation data."""
    session, samples = Session(model), load_samples(case.evaluation)
    inputs = samples.without("label")
    runs = [session.run(batch.arrays) for batch in inputs.batches(BATCH)]
    first = session.output_names[0]
    return Scores(np.concatenate([run[first] for run in runs]), samples["label"])


def variants_of(case: Trained, folder: Path, golden: Path) -> Iterator[tuple[str, Path | str]]:
    """Each precision's model, or why there is none."""
    yield "fp32", case.model
    static: Path | None = None
    for precision, options in ASKED.items():
        request = ConvertRequest(
            precision=precision, model=case.model, options=options, calibration=case.calibration
        )
        made = convert(request, folder / precision)
        yield precision, made.model or str(made.reason)
        static = made.model if precision == "int8-static" else static
    if static is not None:
        yield "int8-mixed", mixed(case, folder, golden, half=error_on(static, golden) / 2)


def mixed(case: Trained, folder: Path, golden: Path, *, half: float) -> Path | str:
    """Static INT8 with the fewest nodes in float that halve its error."""
    judge = ValidateRequest(
        precision="int8-static",
        model=case.model,
        golden=golden,
        parity=ParitySpec(int8_relative_error=half, label_agreement=0.0),
        budget=BudgetSpec(),
    )
    request = ConvertRequest(
        precision="int8-static",
        model=case.model,
        options=ASKED["int8-static"],
        calibration=case.calibration,
        judge=judge,
    )
    made = convert(request, folder / "int8-mixed")
    if made.model is not None:
        kept = str(made.settings.get("float_nodes", "")).split(", ")
        print(f"int8-mixed keeps {len(kept)} nodes in float: {', '.join(kept)}", file=sys.stderr)
    return made.model or str(made.reason)


def record(case: Trained, path: Path) -> Path:
    """A golden set of the float model's own scores."""
    session = Session(case.model)
    samples = load_samples(case.evaluation).without("label").rows(0, GOLDEN_ROWS)
    cases = [GoldenCase(b.arrays, session.run(b.arrays)) for b in samples.batches(BATCH)]
    GoldenSet(tuple(cases)).save(path)
    return path


def error_on(model: Path, golden: Path) -> float:
    """The relative L2 error over a golden set."""
    session, cases = Session(model), GoldenSet.load(golden).cases
    name = session.output_names[0]
    made = np.concatenate([session.run(case.inputs)[name] for case in cases])
    wanted = np.concatenate([case.outputs[name] for case in cases])
    return float(np.linalg.norm(made - wanted) / np.linalg.norm(wanted))


def latencies(models: Mapping[str, Path], folder: Path, threads: int) -> list[BenchmarkReport]:
    """By label, interleaved."""
    linked = []
    for label, model in models.items():
        (folder / label).mkdir()
        linked.append(folder / label / f"{label}.onnx")
        linked[-1].write_bytes(model.read_bytes())
    options = BenchmarkSpec(queries=210, percentile=95, intra_op_threads=threads, max_seconds=30.0)
    return list(benchmark_files(linked, golden=None, provider="cpu", options=options,
                                dimensions={"batch": 1}).rows)  # fmt: skip


def table(name: str, folder: Path, threads: int) -> Iterator[str]:
    """One network's rows."""
    case = TRAINED[name](folder)
    golden = record(case, folder / "golden.npz")
    found = dict(variants_of(case, folder, golden))
    models = {label: model for label, model in found.items() if isinstance(model, Path)}
    scores = {label: scores_of(model, case) for label, model in models.items()}
    (folder / "latency").mkdir()
    rows = {Path(row.precision).stem: row
            for row in latencies(models, folder / "latency", threads)}  # fmt: skip
    source = scores["fp32"]
    for label, model in found.items():
        if isinstance(model, Path):
            cells = [f"{scores[label].accuracy:.1%}", *cost(label, scores[label], source)]
            cells += [speed(rows[label]), f"{model.stat().st_size / 1e6:.2f}"]
            yield f"| {name} | {label} | {' | '.join(cells)} |"
        else:
            yield f"| {name} | {label} | none: {model} | | | | |"


def cost(label: str, scores: Scores, source: Scores) -> tuple[str, str]:
    """Agreement and SQNR; of the source itself neither says anything."""
    if label == "fp32":
        return "", ""
    error = scores.error(source)
    ratio = f"{-20 * np.log10(error):.1f} dB" if error else "equal"
    return f"{scores.agreement(source):.1%}", ratio


def speed(row: BenchmarkReport) -> str:
    """The median with its interval, and beside fp32."""
    p50 = row.p50
    said = f"{p50.value_ms:.3g} ms" if p50.value_ms is not None else "none"
    if row.ratio is None or row.ratio_interval is None:
        return said
    low, high = row.ratio_interval
    return f"{said}, {row.ratio:.2f} x ({low:.2f}-{high:.2f})"


def main() -> None:
    """Print the table as it is found, and the conditions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=list(TRAINED), choices=list(TRAINED))
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    print("| network | precision | accuracy | agreement | SQNR | latency, beside fp32 | MB |")
    print("|---|---|---|---|---|---|---|")
    for name in asked.networks:
        with tempfile.TemporaryDirectory() as folder:
            for line in table(name, Path(folder), asked.threads):
                print(line, flush=True)
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"\n{cpu_model(CPUINFO)}, {asked.threads} thread, {platform.machine()}, {load}")


if __name__ == "__main__":
    main()
