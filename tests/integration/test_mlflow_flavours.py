"""Models as MLflow's own flavours log them: each is exported, or refused with the way out."""

import importlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.errors import UntrustedSource
from slipway.specs import ReleaseSpec
from slipway.stages.exporting import export_to_folder
from tests.models.onnx import trained_net

# The libraries' and MLflow's own warnings, while the models are made and logged.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((80, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)

Log = Callable[[Any], None]
"""Logs a model under the name `model`; what it is given is the module `mlflow`."""


def scikit_learn(form: str) -> Log:
    def log(mlflow: Any) -> None:
        linear = importlib.import_module("sklearn.linear_model")
        model = linear.LogisticRegression().fit(X, Y)
        mlflow.sklearn.log_model(
            model, name="model", pip_requirements=[], serialization_format=form
        )

    return log


def xgboost(*, booster: bool) -> Log:
    def log(mlflow: Any) -> None:
        model = importlib.import_module("xgboost").XGBClassifier(n_estimators=3).fit(X, Y)
        mlflow.xgboost.log_model(
            model.get_booster() if booster else model, name="model", pip_requirements=[]
        )

    return log


def lightgbm(*, booster: bool) -> Log:
    def log(mlflow: Any) -> None:
        library = importlib.import_module("lightgbm")
        model = library.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, Y)
        mlflow.lightgbm.log_model(
            model.booster_ if booster else model, name="model", pip_requirements=[]
        )

    return log


def catboost(mlflow: Any) -> None:
    library = importlib.import_module("catboost")
    model = library.CatBoostClassifier(iterations=3, verbose=False, allow_writing_files=False)
    mlflow.catboost.log_model(model.fit(X, Y), name="model", pip_requirements=[])


def pytorch(**options: Any) -> Log:
    def log(mlflow: Any) -> None:
        nn = importlib.import_module("torch").nn
        model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
        mlflow.pytorch.log_model(model, name="model", pip_requirements=[], **options)

    return log


def keras(mlflow: Any) -> None:
    library = importlib.import_module("keras")
    model = library.Sequential([library.Input((4,)), library.layers.Dense(3)])
    mlflow.keras.log_model(model, name="model", pip_requirements=[])


def keras_by_tensorflow(mlflow: Any) -> None:
    library = importlib.import_module("keras")
    model = library.Sequential([library.Input((4,)), library.layers.Dense(3)])
    mlflow.tensorflow.log_model(model, name="model", pip_requirements=[])


def tensorflow(mlflow: Any) -> None:
    tf = importlib.import_module("tensorflow")
    model = tf.Module()
    model.weights = tf.Variable(tf.ones((4, 2)))
    model.__call__ = tf.function(
        lambda x: {"y": x @ model.weights}, input_signature=[tf.TensorSpec([None, 4], name="x")]
    )
    signature = mlflow.models.infer_signature(X, X @ np.ones((4, 2), np.float32))
    mlflow.tensorflow.log_model(model, name="model", pip_requirements=[], signature=signature)


def transformers(mlflow: Any) -> None:
    library = importlib.import_module("transformers")
    Path("vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n")
    config = library.BertConfig(
        vocab_size=7,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    model = library.BertForSequenceClassification(config).eval()
    parts = {"model": model, "tokenizer": library.BertTokenizer("vocab.txt")}
    mlflow.transformers.log_model(
        parts, name="model", pip_requirements=[], task="text-classification"
    )


def onnx(mlflow: Any) -> None:
    mlflow.onnx.log_model(trained_net(), name="model", pip_requirements=[])


EXPORTED: dict[str, tuple[Log, set[str]]] = {
    "sklearn as skops": (scikit_learn("skops"), {"label", "probabilities"}),
    "xgboost booster": (xgboost(booster=True), {"label", "probabilities"}),
    "xgboost classifier": (xgboost(booster=False), {"label", "probabilities"}),
    "lightgbm booster": (lightgbm(booster=True), {"label", "probabilities"}),
    "catboost": (catboost, {"label", "probabilities"}),
    "pytorch as pt2": (pytorch(input_example=X[:2]), {"output"}),
    "keras": (keras, {"output"}),
    "keras logged by mlflow.tensorflow": (keras_by_tensorflow, {"output"}),
    "tensorflow": (tensorflow, {"y"}),
    "transformers": (transformers, {"logits"}),
    "onnx": (onnx, {"probabilities"}),
}
REFUSED: dict[str, tuple[Log, str]] = {
    "sklearn as cloudpickle": (
        scikit_learn("cloudpickle"),
        r"model\.pkl is a pickle.*skops\.io\.dump, or set trusted: true and sha256",
    ),
    "sklearn as pickle": (
        scikit_learn("pickle"),
        r"model\.pkl is a pickle.*skops\.io\.dump, or set trusted: true and sha256",
    ),
    "lightgbm classifier": (
        lightgbm(booster=False),
        r"model\.skops holds Python objects.*booster_\.save_model.*in MLflow, log the booster",
    ),
    "pytorch as pickle": (
        pytorch(serialization_format="pickle"),
        r"model\.pth is a pickle.*torch\.export\.save",
    ),
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # MLflow's own artifact folder stands in the working directory
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
        patch.setenv("SLIPWAY_HOME", str(folder / "home"))
        patch.setenv("SLIPWAY_REGISTRY", f"sqlite:///{folder}/mlflow.db")
        yield f"sqlite:///{folder}/mlflow.db"


def logged_spec(log: Log, registry: str) -> ReleaseSpec:
    """Log the model as its library's flavour does; its address is all that the spec has."""
    mlflow: Any = importlib.import_module("mlflow")
    mlflow.set_tracking_uri(registry)
    with mlflow.start_run() as run:
        log(mlflow)
    uri = f"runs:/{run.info.run_id}/model"
    return ReleaseSpec.from_mapping({"name": "logged", "source": {"uri": uri}})


@pytest.mark.parametrize("flavour", EXPORTED)
def test_a_logged_model_is_exported_by_its_address_alone(
    flavour: str, registry: str, tmp_path: Path
) -> None:
    log, outputs = EXPORTED[flavour]
    report = export_to_folder(logged_spec(log, registry), tmp_path / "out")
    assert report.passed, report
    assert {tensor.name for tensor in report.outputs} == outputs


@pytest.mark.parametrize("flavour", REFUSED)
def test_a_logged_model_that_runs_code_is_refused_with_the_way_out(
    flavour: str, registry: str, tmp_path: Path
) -> None:
    log, reason = REFUSED[flavour]
    with pytest.raises(UntrustedSource, match=reason):
        export_to_folder(logged_spec(log, registry), tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
