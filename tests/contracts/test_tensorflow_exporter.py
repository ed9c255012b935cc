"""SavedModels against the contract."""

import shutil
from pathlib import Path
from typing import ClassVar

import pytest

from slipway.errors import UnreadableModel, UntrustedSource
from slipway.protocols import ExportRequest
from slipway.specs import Framework, SourceSpec
from tests.contracts.exporter_contract import ExporterContract, damaged, export_in

pytest.importorskip(
    "slipway.exporters.tensorflow_runtime",
    reason="TensorFlow is not installed: pip install 'slipway[tensorflow]'",
    exc_type=ImportError,
)

from tests.models import tensorflow as saved_models


class TestSavedModel(ExporterContract):
    """Two inputs whose signature sorts them otherwise than they are written, two outputs."""

    framework: ClassVar[Framework] = "tensorflow"
    module: ClassVar[str] = "tensorflow"
    inputs: ClassVar[tuple[str, ...]] = ("a", "x")
    outputs: ClassVar[tuple[str, ...]] = ("best", "scores")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        path = saved_models.save(saved_models.trained(), folder / "saved")
        return ExportRequest(source=SourceSpec(framework="tensorflow", uri=str(path)), path=path)

    @pytest.mark.parametrize("damage", ["empty", "random", "text", "zeros", "first half", "folder"])
    def test_a_damaged_file_is_refused_by_name(
        self, asked: ExportRequest, tmp_path: Path, damage: str
    ) -> None:
        copied = Path(shutil.copytree(asked.path, tmp_path / "damaged"))
        graph = copied / "saved_model.pb"
        graph.unlink()
        damaged(asked.path / "saved_model.pb", graph, damage)
        with pytest.raises((UnreadableModel, UntrustedSource), match="damaged"):
            export_in(tmp_path, asked.model_copy(update={"path": copied}))

    @pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95, 0.999])
    @pytest.mark.parametrize(
        "member",
        ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
    )
    def test_a_truncated_file_is_refused(  # type: ignore[override]
        self, asked: ExportRequest, tmp_path: Path, share: float, member: str
    ) -> None:
        copied = Path(shutil.copytree(asked.path, tmp_path / "truncated"))
        data = (asked.path / member).read_bytes()
        (copied / member).write_bytes(data[: int(len(data) * share)])
        with pytest.raises((UnreadableModel, UntrustedSource)):
            export_in(tmp_path, asked.model_copy(update={"path": copied}))
