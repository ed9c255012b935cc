"""A small but complete bundle: a table model with a text column, in two precisions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser

from slipway.artifacts import digest_bytes
from slipway.packaging.bundle import BundleContent
from slipway.reports import Provenance, TensorInfo
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenCase, GoldenSet

TABLE_MODEL = """
<ir_version: 10, opset_import: ["": 18, "ai.onnx.ml": 3]>
table (float[batch, 1] age, string[batch, 1] city) => (float[batch, 1] score)
<float[1] weight = {0.5}>
{
  code = ai.onnx.ml.LabelEncoder
    <keys_strings = ["Bonn", "Lyon"], values_floats = [1.0, 2.0], default_float = 0.0> (city)
  scaled = Mul (age, weight)
  score = Add (scaled, code)
}
"""

INPUTS = (
    TensorInfo(name="age", dtype="float32", shape=("batch", 1)),
    TensorInfo(name="city", dtype="string", shape=("batch", 1)),
)
OUTPUTS = (TensorInfo(name="score", dtype="float32", shape=("batch", 1)),)


def table_rows(count: int) -> dict[str, Array]:
    return {
        "age": np.arange(count, dtype=np.float32).reshape(-1, 1) + np.float32(0.1),
        "city": np.array(["Bonn", "Lyon", "Rome"], dtype=object)[np.arange(count) % 3, None],
    }


def table_scores(rows: dict[str, Array]) -> Array:
    codes = {"Bonn": 1.0, "Lyon": 2.0}
    code = np.array([[codes.get(city[0], 0.0)] for city in rows["city"]], dtype=np.float32)
    return (rows["age"] * np.float32(0.5) + code).astype(np.float32)


def make_content(folder: Path, *, name: str = "table") -> BundleContent:
    """Content whose fp32 is a file, and whose int8-static is a folder with external data."""
    folder.mkdir(parents=True)
    model = onnx.parser.parse_model(TABLE_MODEL)
    for tensor in model.graph.initializer:  # only raw bytes can be external data
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name)
        )
    onnx.save_model(model, folder / "model.onnx")
    (folder / "external").mkdir()
    onnx.save_model(
        model,
        folder / "external" / "model.onnx",
        save_as_external_data=True,
        location="weights.data",
        size_threshold=0,
    )
    cases = []
    for count in (3, 5):
        rows = table_rows(count)
        cases.append(GoldenCase(inputs=rows, outputs={"score": table_scores(rows)}))
    GoldenSet(tuple(cases)).save(folder / "golden.npz")
    (folder / "labels.json").write_text('["low", "high"]')
    return BundleContent(
        name=name,
        variants={"fp32": folder / "model.onnx", "int8-static": folder / "external"},
        golden=folder / "golden.npz",
        inputs=INPUTS,
        outputs=OUTPUTS,
        provenance=Provenance(
            source_digest=digest_bytes(b"source"),
            data_digests={},
            spec_digest=digest_bytes(b"spec"),
            tools={"onnx": onnx.__version__},
            python="3.11",
            platform="linux",
        ),
        evidence={"evidence/report.html": b"<p>fine</p>", "evidence/evidence.json": b"{}"},
        assets={"labels.json": folder / "labels.json"},
        selected={"cpu": "int8-static"},
    )


def other_content(folder: Path) -> BundleContent:
    """The same but for one byte of evidence: another bundle."""
    return replace(make_content(folder), evidence={"evidence/report.html": b"<p>fine!</p>"})
