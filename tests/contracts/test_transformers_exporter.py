"""Transformers folders against the contract: sentences and images."""

import shutil
from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("transformers", reason="transformers is not installed")

from transformers import ViTForImageClassification

from slipway.errors import UnreadableModel, UntrustedSource
from slipway.protocols import ExportRequest
from slipway.specs import Framework
from tests.contracts.exporter_contract import DAMAGED, ExporterContract, damaged, export_in
from tests.models import transformers as models

pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)


class TransformersContract(ExporterContract):
    framework: ClassVar[Framework] = "transformers"
    module: ClassVar[str] = "transformers"
    inputs: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    outputs: ClassVar[tuple[str, ...]] = ("logits",)

    @pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
    @pytest.mark.parametrize("damage", DAMAGED)
    def test_a_damaged_file_is_refused_by_name(  # type: ignore[override]
        self, asked: ExportRequest, tmp_path: Path, damage: str, file: str
    ) -> None:
        folder = tmp_path / asked.path.name
        shutil.copytree(asked.path, folder)
        (folder / file).unlink()
        damaged(asked.path / file, folder / file, damage)
        with pytest.raises((UnreadableModel, UntrustedSource), match=file):
            export_in(tmp_path, asked.model_copy(update={"path": folder}))

    @pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95, 0.999])
    def test_a_truncated_file_is_refused(
        self, asked: ExportRequest, tmp_path: Path, share: float
    ) -> None:
        folder = tmp_path / asked.path.name
        shutil.copytree(asked.path, folder)
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[: int(len(data) * share)])
        with pytest.raises((UnreadableModel, UntrustedSource)):
            export_in(tmp_path, asked.model_copy(update={"path": folder}))


class TestBertClassifier(TransformersContract):
    inputs: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask", "token_type_ids")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return models.save(models.classifier(), folder)


class TestViT(TransformersContract):
    inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return models.save(ViTForImageClassification(models.vit()), folder)
