"""The files that MLflow reads: MLmodel, requirements, an input example. MLflow is not imported.

`mlflow.onnx.log_model` parses the model and writes it anew, with a random name for its external
data: what was validated would not be what is served. An MLmodel is plain YAML that names a file,
so we write it beside the validated bytes. The format is that of MLflow 3.17 (what
`mlflow.onnx.save_model` writes), and equal content gives equal bytes: no clock, no random id.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import yaml

from slipway.reports import TensorInfo

if TYPE_CHECKING:
    # Verifying a bundle reads the names below and has no need of numpy.
    from slipway.samples.arrays import Arrays

MLFLOW_FORMAT: Final = "3.17.2"
"""The MLflow whose format this is; it is recorded as the version that wrote the file."""

EXAMPLE_VALUES: Final = 200_000
"""A larger example is left out: as JSON it would be megabytes that nobody reads."""

MLMODEL_NAME: Final = "MLmodel"
_EPOCH: Final = "1970-01-01 00:00:00.000000"
_CONDA: Final = "conda.yaml"
_PYTHON_ENV: Final = "python_env.yaml"
_REQUIREMENTS: Final = "requirements.txt"
_EXAMPLE: Final = "input_example.json"
_SERVING_EXAMPLE: Final = "serving_input_example.json"

SessionOptions = Mapping[str, str | int | dict[str, str]]

RESERVED_NAMES: Final = frozenset(
    {MLMODEL_NAME, _CONDA, _PYTHON_ENV, _REQUIREMENTS, _EXAMPLE, _SERVING_EXAMPLE}
)


@dataclass(frozen=True)
class ServedModel:
    """What an MLmodel says of one model file.

    `data` is relative to the MLmodel's folder; `identity` is what the model's id is
    derived from; `providers` are onnxruntime's names, in the order of preference;
    `session_options` are mlflow.onnx's own.
    """

    data: str
    size_bytes: int
    identity: tuple[str, ...]
    inputs: Sequence[TensorInfo]
    outputs: Sequence[TensorInfo]
    providers: Sequence[str]
    session_options: SessionOptions = field(default_factory=dict)


def mlmodel_files(served: ServedModel, *, example: "Arrays | None" = None) -> dict[str, bytes]:
    """The MLmodel and all that it refers to, by file name.

    mlflow.onnx looks for the `onnx` flavor in the MLmodel beside the model file: where `data`
    lies in another folder, that folder needs an MLmodel of its own.
    """
    files = _environment()
    info = None
    if example is not None and sum(array.size for array in example.values()) <= EXAMPLE_VALUES:
        # Numpy's own lists: float32 values are exact as JSON numbers, strings are strings.
        plain = {name: array.tolist() for name, array in example.items()}
        files[_EXAMPLE] = json.dumps(plain).encode()
        files[_SERVING_EXAMPLE] = json.dumps({"inputs": plain}).encode()
        info = {
            "artifact_path": _EXAMPLE,
            "serving_input_path": _SERVING_EXAMPLE,
            "type": "ndarray",
        }
    files[MLMODEL_NAME] = _yaml(_mlmodel(served, info))
    return files


def _mlmodel(served: ServedModel, example: dict[str, str] | None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "flavors": {
            "onnx": {
                "code": None,
                "data": served.data,
                "onnx_session_options": dict(served.session_options) or None,
                "onnx_version": version("onnx"),
                "providers": list(served.providers),
            },
            "python_function": {
                "data": served.data,
                "env": {"conda": _CONDA, "virtualenv": _PYTHON_ENV},
                "loader_module": "mlflow.onnx",
                "python_version": platform.python_version(),
            },
        },
        "is_signature_from_type_hint": False,
        "mlflow_version": MLFLOW_FORMAT,
        "model_id": None,
        "model_size_bytes": served.size_bytes,
        "model_uuid": hashlib.sha256("\n".join(served.identity).encode()).hexdigest()[:32],
        "prompts": None,
        "signature": {
            "inputs": _schema(served.inputs),
            "outputs": _schema(served.outputs),
            "params": None,
        },
        "type_hint_from_example": False,
        "utc_time_created": _EPOCH,
    }
    if example is not None:
        content["saved_input_example_info"] = example
    return content


def _schema(tensors: Iterable[TensorInfo]) -> str:
    """MLflow's tensor schema: a dimension that is not fixed is -1.

    Strings are `object`, as MLflow itself infers for a table's text column.
    """
    return json.dumps(
        [
            {
                "name": tensor.name,
                "type": "tensor",
                "tensor-spec": {
                    "dtype": "object" if tensor.dtype == "string" else tensor.dtype,
                    "shape": [size if isinstance(size, int) else -1 for size in tensor.shape],
                },
            }
            for tensor in tensors
        ]
    )


def _environment() -> dict[str, bytes]:
    """What a serving environment installs: the runtime that the variants were proven with."""
    requirements = [
        "mlflow>=3.17,<3.18",
        f"onnx=={version('onnx')}",
        f"onnxruntime=={version('onnxruntime')}",
    ]
    python = platform.python_version()
    return {
        _REQUIREMENTS: "\n".join(requirements).encode(),
        _PYTHON_ENV: _yaml(
            {
                "python": python,
                "build_dependencies": ["pip", "setuptools", "wheel"],
                "dependencies": [f"-r {_REQUIREMENTS}"],
            }
        ),
        _CONDA: _yaml(
            {
                "name": "mlflow-env",
                "channels": ["conda-forge"],
                "dependencies": [f"python={python}", "pip", {"pip": requirements}],
            }
        ),
    }


def _yaml(content: dict[str, Any]) -> bytes:
    text: str = yaml.safe_dump(content, default_flow_style=False, sort_keys=True)
    return text.encode()
