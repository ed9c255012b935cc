import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from slipway.artifacts import digest_bytes
from slipway.packaging.bundle import build_bundle
from slipway.packaging.mlmodel import EXAMPLE_VALUES, ServedModel, mlmodel_files
from slipway.reports import TensorInfo
from slipway.specs import DType
from tests.sample_bundles import INPUTS, OUTPUTS, make_content

# MLflow 3.17 warns of its own classes when mlflow.pyfunc is first imported: a type hint of its
# PythonModel.predict is Any. Nothing of ours has type hints for it.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


def served(*, inputs: tuple[TensorInfo, ...] = INPUTS, identity: bytes = b"model") -> ServedModel:
    return ServedModel(
        data="model.onnx",
        size_bytes=7,
        identity=(digest_bytes(identity),),
        inputs=inputs,
        outputs=OUTPUTS,
        providers=["CPUExecutionProvider"],
    )


def mlmodel(model: ServedModel) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(mlmodel_files(model)["MLmodel"])
    return content


def test_a_dynamic_dimension_is_minus_one_and_a_string_an_object() -> None:
    assert json.loads(mlmodel(served())["signature"]["inputs"]) == [
        {
            "name": "age",
            "type": "tensor",
            "tensor-spec": {"dtype": "float32", "shape": [-1, 1]},
        },
        {"name": "city", "type": "tensor", "tensor-spec": {"dtype": "object", "shape": [-1, 1]}},
    ]


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int64", "int8", "uint8", "bool", "string"]
)
def test_mlflow_reads_the_signature_of_each_type(dtype: DType, tmp_path: Path) -> None:
    from mlflow.models import Model

    tensor = TensorInfo(name="x", dtype=dtype, shape=(None, 3, "time"))
    for name, data in mlmodel_files(served(inputs=(tensor,))).items():
        (tmp_path / name).write_bytes(data)
    signature = Model.load(str(tmp_path)).signature
    assert signature is not None
    (read,) = signature.inputs.inputs
    assert read.shape == (-1, 3, -1)
    assert read.type == np.dtype(object if dtype == "string" else dtype)


def test_equal_models_have_equal_bytes_and_others_another_id() -> None:
    assert mlmodel_files(served()) == mlmodel_files(served())
    assert mlmodel(served())["model_uuid"] == mlmodel(served())["model_uuid"]
    assert mlmodel(served())["model_uuid"] != mlmodel(served(identity=b"x"))["model_uuid"]


def test_the_environment_names_versions_and_no_path_of_this_machine() -> None:
    files = mlmodel_files(served())
    requirements = files["requirements.txt"].decode().splitlines()
    assert f"onnxruntime=={version('onnxruntime')}" in requirements
    assert f"onnx=={version('onnx')}" in requirements
    assert all(b"/" not in data for name, data in files.items() if name != "MLmodel")


def test_a_large_example_is_left_out() -> None:
    large = {"x": np.zeros(EXAMPLE_VALUES + 1, np.float32)}
    files = mlmodel_files(served(), example=large)
    assert "input_example.json" not in files
    assert b"saved_input_example_info" not in files["MLmodel"]


def test_the_example_is_one_row_of_the_golden_set(tmp_path: Path) -> None:
    build_bundle(tmp_path / "bundle", content=make_content(tmp_path / "content"))
    example = json.loads((tmp_path / "bundle" / "input_example.json").read_text())
    assert np.float32(example["age"][0][0]) == np.float32(0.1)
    assert example["city"] == [["Bonn"]]
    serving = json.loads((tmp_path / "bundle" / "serving_input_example.json").read_text())
    assert serving == {"inputs": example}


@pytest.mark.parametrize("folder", ["", "variants/fp32", "variants/int8-static"])
def test_mlflow_loads_a_bundle_and_each_variant_from_its_folder(
    tmp_path: Path, folder: str
) -> None:
    import mlflow.onnx
    import mlflow.pyfunc

    build_bundle(tmp_path / "bundle", content=make_content(tmp_path / "content"))
    path = str(tmp_path / "bundle" / folder)
    assert mlflow.onnx.load_model(path).graph.output[0].name == "score"
    model = mlflow.pyfunc.load_model(path)
    row = {"age": np.ones((1, 1), np.float32), "city": np.array([["Lyon"]], dtype=object)}
    assert model.predict(row)["score"].tolist() == [[2.5]]
    assert model.metadata.get_input_schema().input_names() == ["age", "city"]
