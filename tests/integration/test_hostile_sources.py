"""Hostile sources of every framework from the command line: refused, no code run, nothing left.

What each reader refuses, and why, is tested beside it; here each kind of sample goes through the
whole program once. A sample that ran would make `marker`, which `Workplace.refused` would notice.
"""

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from safetensors.torch import save_file

from tests.integration.test_bad_input import Workplace
from tests.models.onnx import save_external, trained_net
from tests.models.pytorch import FACTORY, Net, save_net

pytestmark = [
    pytest.mark.slow,
    # torch's own, while the samples are made.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]


class Gadget:
    """Unpickling one makes a folder called marker beside it."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "marker"

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def joblib_zlib(folder: Path) -> str:
    joblib.dump(Gadget(folder), folder / "model.joblib", compress=("zlib", 3))
    return "model.joblib"


def pickle_called(name: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / name).write_bytes(pickle.dumps(Gadget(folder)))
        return name

    return make


def torch_pickle(folder: Path) -> str:
    torch.save({"weight": Gadget(folder)}, folder / "model.pt")
    (folder / "factory.py").write_text(FACTORY)
    return "model.pt"


def program_with_pickle(folder: Path) -> str:
    plain = save_net(folder / "plain.pt2")
    torch.save(Gadget(folder), folder / "gadget.pt")
    gadget = (folder / "gadget.pt").read_bytes()
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(folder / "model.pt2", "w") as new:
        for info in old.infolist():
            sample = "/sample_inputs/" in info.filename
            new.writestr(info.filename, gadget if sample else old.read(info))
    return "model.pt2"


def torchscript(folder: Path) -> str:
    trace: Any = torch.jit.trace  # has no types
    trace(Net().eval(), torch.zeros(2, 4)).save(str(folder / "model.pt"))
    return "model.pt"


def saved_model(folder: Path) -> str:
    tf = pytest.importorskip("tensorflow", reason="the extra tensorflow is not installed")
    marker = str(folder / "marker")

    def body(x: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(marker, "here")]):
            return tf.identity(x)

    module = tf.Module()
    module.run = tf.function(body, input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    tf.saved_model.save(module, str(folder / "model"), signatures=module.run)
    return "model"


def keras_lambda(folder: Path) -> str:
    keras = pytest.importorskip("keras", reason="the extra keras is not installed")
    layers = [keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2)]
    keras.Sequential(layers).save(folder / "model.keras")
    return "model.keras"


def keras_outside(folder: Path) -> str:
    with zipfile.ZipFile(folder / "model.keras", "w") as archive:
        for name in ("config.json", "metadata.json", "../marker"):
            archive.writestr(name, "{}")
    return "model.keras"


def xgboost_cycle(folder: Path) -> str:
    xgboost = pytest.importorskip("xgboost", reason="the extra xgboost is not installed")
    x = np.random.default_rng(0).random((40, 3))
    data = xgboost.DMatrix(x, label=x[:, 0])
    xgboost.train({"max_depth": 2}, data, 2).save_model(folder / "model.json")
    model = json.loads((folder / "model.json").read_text())
    tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
    tree["left_children"][1] = 0  # its own root
    (folder / "model.json").write_text(json.dumps(model))
    return "model.json"


def lightgbm_out_of_range(folder: Path) -> str:
    lightgbm = pytest.importorskip("lightgbm", reason="the extra lightgbm is not installed")
    x = np.random.default_rng(0).random((80, 3))
    data = lightgbm.Dataset(x, label=x[:, 0])
    booster = lightgbm.train({"verbose": -1, "num_leaves": 4}, data, 2)
    text = booster.model_to_string()
    assert "left_child=" in text
    start = text.index("left_child=") + len("left_child=")
    (folder / "model.txt").write_text(f"{text[:start]}99999 {text[start:].partition(' ')[2]}")
    return "model.txt"


def transformers_pickle(folder: Path) -> str:
    (folder / "model").mkdir()
    config = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 16}
    (folder / "model/config.json").write_text(json.dumps(config))
    torch.save({"weight": Gadget(folder)}, folder / "model/pytorch_model.bin")
    return "model"


def external(location: str) -> Callable[[Path], str]:
    """An ONNX model that says that its weights are elsewhere."""

    def make(folder: Path) -> str:
        secret = folder / "secret.bin"
        secret.write_bytes(bytes(1 << 16))
        (folder / "model").mkdir()
        path = save_external(trained_net(), folder / "model")
        match location:
            case "link":
                (folder / "model/weights.bin").unlink()
                (folder / "model/weights.bin").symlink_to(secret)
            case "hard link":
                (folder / "model/weights.bin").unlink()
                (folder / "model/weights.bin").hardlink_to(secret)
            case _:
                model = onnx.load(path, load_external_data=False)
                for tensor in model.graph.initializer:
                    for entry in tensor.external_data:
                        if entry.key == "location":
                            entry.value = str(secret) if location == "absolute" else location
                path.write_bytes(model.SerializeToString())
        return "model"

    return make


def onnx_bomb(folder: Path) -> str:
    """Forty functions, each of which calls the next one twice."""
    functions = []
    for level in range(40):
        callee = ("Relu", "") if level == 39 else (f"f{level + 1}", "bomb")
        nodes = [
            helper.make_node(callee[0], ["x"], ["a"], domain=callee[1]),
            helper.make_node(callee[0], ["a"], ["y"], domain=callee[1]),
        ]
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("bomb", 1)]
        functions.append(helper.make_function("bomb", f"f{level}", ["x"], ["y"], nodes, opsets))
    value = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 4])
        for name in ("x", "y")
    ]
    graph = helper.make_graph(
        [helper.make_node("f0", ["x"], ["y"], domain="bomb")], "bomb", value[:1], value[1:]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("bomb", 1)]
    model = helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=10)
    onnx.save(model, folder / "model.onnx")
    return "model.onnx"


def onnx_with_nan(folder: Path) -> str:
    model = trained_net()
    weight = model.graph.initializer[0]
    array = onnx.numpy_helper.to_array(weight).copy()
    array.flat[0] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    onnx.save(model, folder / "model.onnx")
    return "model.onnx"


SAMPLES: dict[str, tuple[str, Callable[[Path], str], str, str]] = {
    "joblib under zlib": ("sklearn", joblib_zlib, "UntrustedSource", "skops.io.dump"),
    "a pickle called skops": (
        *("sklearn", pickle_called("model.skops"), "UntrustedSource", "is a pickle"),
    ),
    "a pickle of torch": ("pytorch", torch_pickle, "UntrustedSource", "trusted: true and sha256"),
    "a program's sample inputs": (
        *("pytorch", program_with_pickle, "UntrustedSource", "sample inputs are a pickle"),
    ),
    "TorchScript": ("pytorch", torchscript, "UntrustedSource", "is TorchScript"),
    "a pickle called ubj": (
        *("xgboost", pickle_called("model.ubj"), "UntrustedSource", "is a pickle"),
    ),
    "a pickle called txt": (
        *("lightgbm", pickle_called("model.txt"), "UntrustedSource", "is a pickle"),
    ),
    "a pickle called cbm": (
        *("catboost", pickle_called("model.cbm"), "UntrustedSource", "is a pickle"),
    ),
    "a tree that is a cycle": ("xgboost", xgboost_cycle, "UnreadableModel", "model.json"),
    "a child out of range": ("lightgbm", lightgbm_out_of_range, "UnreadableModel", "model.txt"),
    "a SavedModel that writes": ("tensorflow", saved_model, "UntrustedSource", "WriteFile"),
    "a Lambda layer": ("keras", keras_lambda, "UntrustedSource", "is a Lambda"),
    "a member outside": ("keras", keras_outside, "UntrustedSource", "outside the archive"),
    "pickled weights of transformers": (
        *("transformers", transformers_pickle, "UntrustedSource", "pytorch_model.bin is a pickle"),
    ),
    "weights above the folder": (
        *("onnx", external("../secret.bin"), "UnreadableModel", "not a plain relative path"),
    ),
    "weights at an absolute path": (
        *("onnx", external("absolute"), "UnreadableModel", "not a plain relative path"),
    ),
    "weights through a link": ("onnx", external("link"), "IntegrityError", "symbolic link"),
    "weights with two names": ("onnx", external("hard link"), "IntegrityError", "hard links"),
    "functions without end": ("onnx", onnx_bomb, "CheckFailed", "function"),
    "a weight that is no number": ("onnx", onnx_with_nan, "CheckFailed", "NaN"),
}


@pytest.fixture
def work(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_hostile_source_is_refused_and_runs_nothing(work: Workplace, sample: str) -> None:
    framework, make, kind, reason = SAMPLES[sample]
    source: dict[str, Any] = {"framework": framework, "uri": make(work.root)}
    if (work.root / "factory.py").exists():
        source["factory"] = "factory.py:build"
    answer = work.refused("export", work.spec(source=source, inputs={}), "--out", "out")
    assert (answer.kind, reason in answer.message) == (kind, True), answer
    assert not (work.root / "marker").exists()


def test_the_samples_would_run_if_they_were_loaded(tmp_path: Path) -> None:
    for make in (joblib_zlib, pickle_called("model.ubj")):
        name = make(tmp_path)
        (joblib.load if name.endswith("joblib") else load_pickle)(tmp_path / name)
        (tmp_path / "marker").rmdir()


def load_pickle(path: Path) -> object:
    return pickle.loads(path.read_bytes())


def test_weights_with_one_changed_bit_are_refused_before_they_are_parsed(work: Workplace) -> None:
    save_file(dict(Net().state_dict()), work.root / "model.safetensors")
    (work.root / "factory.py").write_text(FACTORY)
    path = work.root / "model.safetensors"
    data = bytearray(path.read_bytes())
    digest = hashlib.sha256(data).hexdigest()
    data[-1] ^= 1
    path.write_bytes(data)
    source = {"framework": "pytorch", "uri": path.name, "factory": "factory.py:build"}
    spec = work.spec(source={**source, "sha256": digest})
    answer = work.refused("export", spec, "--out", "out")
    assert answer.kind == "IntegrityError"
    assert "another file, or was changed" in answer.message
