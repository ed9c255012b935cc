"""What a user asked for appears whole, and never over another model's weights."""

from pathlib import Path

import pytest

from slipway.errors import RequestError
from slipway.stages.delivery import deliver_model


def made(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "model.onnx.data").write_bytes(b"weights")
    return folder / "model.onnx"


def test_external_data_comes_along_under_its_own_name(tmp_path: Path) -> None:
    deliver_model(made(tmp_path / "made"), tmp_path / "out" / "small.onnx")
    assert (tmp_path / "out" / "small.onnx").read_bytes() == b"graph"
    assert (tmp_path / "out" / "model.onnx.data").read_bytes() == b"weights"
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_the_weights_of_another_model_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model.onnx.data").write_bytes(b"another model's")
    with pytest.raises(RequestError, match="a folder of its own"):
        deliver_model(made(tmp_path / "made"), tmp_path / "small.onnx")
    assert (tmp_path / "model.onnx.data").read_bytes() == b"another model's"
    assert not (tmp_path / "small.onnx").exists()
