"""What exporting in a child process adds to the plain converter call, in CPU seconds.

    python benchmarks/export_overhead.py [--rounds 3] [--only pytorch sklearn ...]

For each framework the example's trained model is exported, each time in a fresh process:

- plain: a script that imports the framework and its converter, loads the model and converts it,
  as the converter's documentation says; the part that is importing is told apart;
- child: `slipway.exporters:export` in the isolated child that a release starts. It also looks at
  the file before it is loaded, records the golden set by running the source, checks the graph, and
  where there are several routes tries them until one repeats the source's outputs.

The child is as it should be where it costs no more than the plain call and one more import of the
framework. Medians of the rounds are printed; one thread each.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from slipway.isolation.runner import run_isolated
from slipway.protocols import ExportRequest, ExportResult
from slipway.specs import load_spec

EXAMPLES = Path(__file__).parents[1] / "examples"


class Plain(NamedTuple):
    """A trained model under examples/, and a script on `source` that writes `target`."""

    source: str
    imports: str
    call: str


# What the converter's documentation calls, on `source`, to `target`.
PLAIN: dict[str, Plain] = {
    "pytorch": Plain(
        "digits-cnn/out/model.pt2",
        "import torch, onnxscript, torch.onnx._internal.exporter._core",
        "torch.onnx.export(torch.export.load(source), (), target, dynamo=True, verbose=False)",
    ),
    "sklearn": Plain(
        "diabetes-pipeline/out/model.skops",
        """
import skops.io, skl2onnx, sklearn.pipeline, sklearn.compose, sklearn.ensemble
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
""",
        """
model = skops.io.load(source, trusted=skops.io.get_untrusted_types(file=source))
words = ("sex", "age_group")
types = [(name, (StringTensorType if name in words else FloatTensorType)([None, 1]))
         for name in model.feature_names_in_]
made = skl2onnx.to_onnx(model, initial_types=types)
open(target, "wb").write(made.SerializeToString())
""",
    ),
    "xgboost": Plain(
        "cancer-xgboost/out/model.ubj",
        """
import xgboost, onnxmltools
from onnxmltools.convert.common.data_types import FloatTensorType
""",
        """
model = xgboost.XGBClassifier()
model.load_model(source)
model.get_booster().feature_names = None
made = onnxmltools.convert_xgboost(model, initial_types=[("x", FloatTensorType([None, 30]))])
open(target, "wb").write(made.SerializeToString())
""",
    ),
    "lightgbm": Plain(
        "wine-lightgbm/out/model.txt",
        """
import lightgbm, onnxmltools
from onnxmltools.convert.common.data_types import FloatTensorType
""",
        """
model = lightgbm.Booster(model_file=source)
types = [("x", FloatTensorType([None, model.num_feature()]))]
made = onnxmltools.convert_lightgbm(model, initial_types=types)
open(target, "wb").write(made.SerializeToString())
""",
    ),
    "catboost": Plain(
        "diabetes-catboost/out/model.cbm",
        "import catboost, onnx",
        """
model = catboost.CatBoostRegressor()
model.load_model(source)
model.save_model(target, format="onnx")
""",
    ),
    "keras": Plain(
        "digits-keras/out/model.keras",
        "import tensorflow as tf, keras, tf2onnx",
        """
model = keras.saving.load_model(source)
run = tf.function(lambda *x: model(x[0] if len(x) == 1 else list(x)), autograph=False)
signature = [tf.TensorSpec([None, *i.shape[1:]], i.dtype) for i in model.inputs]
tf2onnx.convert.from_function(run, input_signature=signature, opset=18, output_path=target)
""",
    ),
    "tensorflow": Plain(
        "diabetes-tensorflow/out/saved_model",
        "import tensorflow as tf, tf2onnx",
        """
run = tf.saved_model.load(source).signatures["serving_default"]
tf2onnx.convert.from_function(
    tf.function(lambda measurements: run(measurements=measurements)),
    input_signature=[tf.TensorSpec([None, 10], tf.float32, "measurements")],
    opset=18,
    output_path=target,
)
""",
    ),
    "transformers": Plain(
        "digits-bert/out/model",
        """
import torch, onnxscript, transformers, torch.onnx._internal.exporter._core
from transformers import AutoModelForSequenceClassification
""",
        """
model = AutoModelForSequenceClassification.from_pretrained(source).eval()
ids = torch.ones((2, 9), dtype=torch.int64)
names = ("input_ids", "attention_mask")
dynamic = torch.export.Dim.DYNAMIC
torch.onnx.export(model, (), target, kwargs=dict.fromkeys(names, ids), dynamo=True,
    dynamic_shapes={name: {0: dynamic, 1: dynamic} for name in names}, verbose=False)
""",
    ),
    "onnx": Plain(
        "digits-onnx/out/model",
        "import onnx, onnxruntime",
        """
model = onnx.load(source + "/model.onnx")
onnx.checker.check_model(model)
onnx.save(model, target)
onnxruntime.InferenceSession(target)
""",
    ),
}
SCRIPT = """
import sys, time, warnings
warnings.simplefilter("ignore")
{imports}
imported = time.process_time()
source, target = sys.argv[1:]
{call}
sys.stdout.flush()
print(f"\\n{{imported}} {{time.process_time()}}")
"""


def plain(framework: str, source: Path, folder: Path) -> tuple[float, float]:
    """CPU seconds of the plain script: its imports, and all of it."""
    script = SCRIPT.format(imports=PLAIN[framework].imports, call=PLAIN[framework].call)
    ran = subprocess.run(
        [sys.executable, "-c", script, source, "plain.onnx"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    if ran.returncode:
        sys.exit(f"the plain {framework} script failed:\n{ran.stderr[-3000:]}")
    imported, total = map(float, ran.stdout.split()[-2:])
    return imported, total


def child(framework: str, source: Path, folder: Path) -> float:
    """CPU seconds of the export's child process."""
    spec = load_spec(source.parents[1] / "release.yaml")
    golden, sample_data = spec.data.golden, spec.data.evaluation
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_isolated(
        "slipway.exporters:export",
        ExportRequest(
            source=spec.source,
            path=source,
            inputs=spec.inputs,
            outputs=spec.outputs,
            golden_inputs=Path(golden) if golden else None,
            sample_data=Path(sample_data) if sample_data and not golden else None,
            labels=spec.data.labels,
        ),
        returns=ExportResult,
        scratch=folder,
        what=f"the export with {framework}",
        reads=(source.parent,),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure side by side and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PLAIN, default=list(PLAIN))
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # the child has it, too
    print(f"{'':14}{'import':>8}{'plain':>8}{'child':>8}{'added':>8}{'added/import':>14}")
    for framework in given.only:
        source = EXAMPLES / PLAIN[framework].source
        if not source.exists():
            train = EXAMPLES / PLAIN[framework].source.split("/")[0] / "train.py"
            subprocess.run([sys.executable, train], check=True, stdout=subprocess.DEVNULL)
        rounds = []
        for _ in range(given.rounds):
            with tempfile.TemporaryDirectory() as folder:
                scratch = Path(folder, "scratch")
                scratch.mkdir()
                rounds.append(
                    (*plain(framework, source, Path(folder)), child(framework, source, scratch))
                )
        imported, total, ours = (statistics.median(column) for column in zip(*rounds, strict=True))
        added = ours - total
        print(
            f"{framework:14}{imported:8.2f}{total:8.2f}{ours:8.2f}{added:8.2f}"
            f"{added / imported:14.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
