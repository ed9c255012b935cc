"""A release that takes seconds: a small torch network whose labels are its own answers.

So fp32 is right by construction, and every other precision is off by as much as it really is.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FEATURES = 6


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.pt2, weights.safetensors, cal.npz, eval.npz and labels.json."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 1),
    ).eval()
    random = np.random.default_rng(0)
    x = random.standard_normal((300, FEATURES)).astype(np.float32)
    with torch.no_grad():
        y = network(torch.from_numpy(x)).numpy()
    batch = torch.export.Dim("batch")
    program = torch.export.export(network, (torch.from_numpy(x[:2]),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "model.pt2")
    save_file(network.state_dict(), folder / "weights.safetensors")
    np.savez(folder / "cal.npz", x=x[:100])
    np.savez(folder / "golden.npz", x=x[100:140])
    np.savez(folder / "eval.npz", x=x[140:], label=y[140:])
    (folder / "labels.json").write_text('["value"]', encoding="utf-8")
    return folder


@pytest.fixture
def tiny(tiny_files: Path, tmp_path: Path) -> dict[str, Any]:
    """A spec as the form sends it, over files of this test's own."""
    folder = tmp_path / "files"
    shutil.copytree(tiny_files, folder)
    return tiny_spec(folder)


def tiny_spec(folder: Path) -> dict[str, Any]:
    """The spec over a folder of files: every precision, a metric, an asset, and a name."""
    return {
        "name": "tiny",
        "source": {"framework": "pytorch", "uri": str(folder / "model.pt2")},
        "inputs": {"x": {"dtype": "float32", "shape": ["batch", FEATURES]}},
        "outputs": ["y"],
        "data": {
            "golden": str(folder / "golden.npz"),
            "calibration": str(folder / "cal.npz"),
            "evaluation": str(folder / "eval.npz"),
        },
        "metric": "rmse",
        "budget": {"metric_drop": 0.1},
        "precisions": {"fp16": {}, "int8-dynamic": {}, "int8-static": {"samples": 32}},
        "benchmark": {"queries": 20},
        "assets": [str(folder / "labels.json")],
        "register": {"name": "tiny"},
    }
