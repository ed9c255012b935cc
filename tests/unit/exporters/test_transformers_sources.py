"""Transformers folders: what is inferred, which part is exported, and what is refused."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BartModel,
    BertForSequenceClassification,
    BertModel,
    DistilBertForTokenClassification,
    PreTrainedModel,
    RobertaModel,
    T5ForConditionalGeneration,
)

from slipway.errors import (
    DataError,
    ExportFailed,
    SlipwayError,
    SpecError,
    UnreadableModel,
    UntrustedSource,
)
from slipway.exporters import export, transformers
from slipway.exporters.assets import source_assets
from slipway.exporters.transformers_files import load_pretrained
from slipway.exporters.transformers_inputs import infer_inputs, made_up_cases
from slipway.precisions import convert
from slipway.protocols import ConvertRequest
from slipway.samples.arrays import save_npz
from slipway.samples.golden import GoldenSet
from slipway.specs import (
    Fp16Spec,
    Int8DynamicSpec,
    Int8StaticSpec,
    ReleaseSpec,
    TensorSpec,
    Tolerance,
)
from slipway.stages.making import fetch_materials
from slipway.stages.workspace import Workspace
from slipway.stores.memory import MemoryStore
from slipway.validation.parity import check_parity
from tests.models import transformers as models

pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained classifier's folder; copied, never changed."""
    return models.save(models.classifier(), tmp_path_factory.mktemp("kept")).path


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    copy.mkdir()
    for file in kept.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def configure(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, **changes}))


PARTS: dict[str, tuple[Callable[[], PreTrainedModel], tuple[str, ...], tuple[str, ...]]] = {
    "RoBERTa": (
        lambda: RobertaModel(models.roberta()),
        ("input_ids", "attention_mask"),
        ("last_hidden_state", "pooler_output"),
    ),
    "token classes": (
        lambda: DistilBertForTokenClassification(models.distilbert()),
        ("input_ids", "attention_mask"),
        ("logits",),
    ),
    "T5's encoder": (
        lambda: T5ForConditionalGeneration(models.t5()),
        ("input_ids", "attention_mask"),
        ("last_hidden_state",),
    ),
    "BART's encoder": (
        lambda: BartModel(models.bart()),
        ("input_ids", "attention_mask"),
        ("last_hidden_state",),
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_architectures_are_exported_with_dynamic_batch_and_sequence(
    tmp_path: Path, name: str
) -> None:
    make, inputs, outputs = PARTS[name]
    torch.manual_seed(0)
    request = models.save(make(), tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    result = export(request, scratch)
    assert tuple(tensor.name for tensor in result.inputs) == inputs
    assert tuple(tensor.name for tensor in result.outputs) == outputs
    assert {tensor.shape for tensor in result.inputs} == {("batch", "sequence")}
    golden = GoldenSet.load(result.golden)
    assert check_parity(result.model, golden, tolerance=Tolerance(rtol=1e-3, atol=1e-4)).passed
    shapes = {case.inputs["input_ids"].shape for case in golden.cases}
    assert len({rows for rows, _ in shapes}) == len({length for _, length in shapes}) == 3
    alone = [finding.code for finding in result.findings]
    assert alone == (["encoder-alone"] if "encoder" in name else [])


def test_where_dynamo_fails_the_tracing_exporter_is_taken_and_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Path:
        raise ExportFailed("no decomposition")

    routes = {**transformers.ROUTES, "torch.onnx dynamo": fails}
    monkeypatch.setattr(transformers, "ROUTES", routes)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    result = export(models.request_for(folder, opset=21), scratch)
    assert result.route == "torch.onnx legacy"
    assert result.opset == 21
    assert [finding.message for finding in result.findings] == [
        "torch.onnx dynamo: no decomposition"
    ]
    golden = GoldenSet.load(result.golden)
    assert check_parity(result.model, golden, tolerance=Tolerance()).passed
    assert {tensor.shape for tensor in result.inputs} == {("batch", "sequence")}


def test_every_precision_stands_an_attention_mask(folder: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    result = export(models.request_for(folder), scratch)
    golden = GoldenSet.load(result.golden)
    save_npz(tmp_path / "calibration.npz", dict(golden.cases[-1].inputs))
    for precision, options in (
        ("fp16", Fp16Spec()),
        ("int8-dynamic", Int8DynamicSpec()),
        ("int8-static", Int8StaticSpec()),
    ):
        own = tmp_path / precision
        own.mkdir()
        converted = convert(
            ConvertRequest.model_validate(
                {
                    "precision": precision,
                    "model": result.model,
                    "options": options,
                    "calibration": tmp_path / "calibration.npz",
                }
            ),
            own,
        )
        assert converted.model is not None, converted.reason
        report = check_parity(converted.model, golden, tolerance=Tolerance(rtol=0.05, atol=0.2))
        assert report.passed, (precision, report.worst)


def test_made_up_sentences_are_such_as_a_tokenizer_makes(folder: Path) -> None:
    configure(folder, eos_token_id=7)
    model = load_pretrained(folder)
    inputs = infer_inputs(model, model, {})
    for case in made_up_cases(inputs, model, seed=0):
        ids, mask = case["input_ids"], case["attention_mask"]
        assert ids.min() >= 0
        assert ids.max() < models.WORDS
        assert set(np.unique(mask)) <= {0, 1}
        assert (np.diff(mask, axis=1) <= 0).all()
        assert mask[0].all()
        assert ((ids == model.config.pad_token_id) == (mask == 0)).all()
        assert ((ids == 7).sum(1) == 1).all()
    assert (mask == 0).any()
    assert case["token_type_ids"].any()


def test_sentences_are_no_longer_than_the_positions_that_there_are() -> None:
    model = RobertaModel(models.roberta())
    model.config.max_position_embeddings = 10
    cases = made_up_cases(infer_inputs(model, model, {}), model, seed=0)
    assert max(case["input_ids"].shape[1] for case in cases) == 8


def test_inputs_may_be_fewer_and_fixed_where_the_spec_says_so(folder: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    asked = {
        "input_ids": TensorSpec(dtype="int64", shape=("rows", 12)),
        "attention_mask": TensorSpec(dtype="int64", shape=("rows", 12)),
    }
    result = export(models.request_for(folder, inputs=asked), scratch)
    assert [tensor.shape for tensor in result.inputs] == [("rows", 12), ("rows", 12)]
    with pytest.raises(SpecError, match="no input words; it takes input_ids"):
        export(models.request_for(folder, inputs={"words": asked["input_ids"]}), scratch)


def test_golden_ids_beyond_the_vocabulary_are_told(folder: Path, tmp_path: Path) -> None:
    ids = np.full((4, 5), models.WORDS + 3)
    ones = np.ones((4, 5), dtype=np.int64)
    save_npz(
        tmp_path / "golden.npz", {"input_ids": ids, "attention_mask": ones, "token_type_ids": ones}
    )
    with pytest.raises(DataError, match=r"does not run on golden inputs"):
        export(models.request_for(folder, golden_inputs=tmp_path / "golden.npz"), tmp_path)


def test_weights_in_several_files_and_by_the_safe_loader_are_the_same(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    names = sorted(whole)
    reference = load_pretrained(folder).state_dict()
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: whole[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    sharded = load_pretrained(folder).state_dict()
    (folder / "model.safetensors.index.json").unlink()
    torch.save(whole, folder / "pytorch_model.bin")
    pickled = load_pretrained(folder).state_dict()
    for name, tensor in reference.items():
        assert torch.equal(tensor, sharded[name])
        assert torch.equal(tensor, pickled[name])


class _Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_with_code_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    mark = tmp_path / "ran"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Runs(mark), protocol=2))
    with pytest.raises(UntrustedSource, match=r"pytorch_model\.bin is a pickle"):
        load_pretrained(folder)
    torch.save({"a": _Runs(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(UntrustedSource, match=r"pytorch_model\.bin is a pickle"):
        load_pretrained(folder)
    assert not mark.exists()


def test_code_beside_the_weights_is_never_run(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = f"import os; os.mkdir({str(mark)!r})\n"
    for name in ("modeling_own.py", "configuration_own.py", "custom_generate/generate.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    own = {"AutoConfig": "configuration_own.Own", "AutoModel": "modeling_own.Own"}
    configure(folder, auto_map=own)
    load_pretrained(folder)
    configure(folder, model_type="own")
    with pytest.raises(ExportFailed, match=r"no model of type 'own', and code .* never run"):
        load_pretrained(folder)
    assert not mark.exists()


def test_what_a_configuration_would_fetch_or_patch_is_not_followed(folder: Path) -> None:
    configure(
        folder,
        _attn_implementation="somebody/kernels",
        attn_implementation="somebody/kernels",
        transformers_weights="../secret.safetensors",
        fusion_config={"x": True},
        dtype="float16",
    )
    model = load_pretrained(folder)
    assert model.config._attn_implementation == "eager"
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def outside(folder: Path) -> None:
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def link(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "secret.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "secret.safetensors")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def half_the_weights(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    part = {name: tensor for name, tensor in whole.items() if "classifier" not in name}
    save_file(part, folder / "model.safetensors")


BROKEN: dict[str, tuple[Callable[[Path], None], type[SlipwayError], str]] = {
    "an adapter": (adapter, ExportFailed, "merge it into its base model"),
    "weights outside": (outside, UnreadableModel, "not a plain relative path"),
    "a link": (link, UnreadableModel, "symbolic link"),
    "no weights": (no_weights, UnreadableModel, "neither model.safetensors nor"),
    "a random head": (half_the_weights, ExportFailed, "would be random .*classifier"),
    "quantized": (
        lambda folder: configure(folder, quantization_config={"quant_method": "x"}),
        ExportFailed,
        "quantized already",
    ),
    "another class": (
        lambda folder: configure(folder, architectures=["RobertaModel"]),
        ExportFailed,
        "RobertaModel is not of type bert",
    ),
    "no such class": (
        lambda folder: configure(folder, architectures=["Nonesuch"]),
        ExportFailed,
        "no architecture 'Nonesuch'",
    ),
    "no class of models": (
        lambda folder: configure(folder, architectures=["Trainer"]),
        ExportFailed,
        "no architecture 'Trainer'",
    ),
    "other sizes": (
        lambda folder: configure(folder, hidden_size=64),
        ExportFailed,
        "cannot be filled",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_folder_that_is_no_whole_model_is_refused(folder: Path, name: str) -> None:
    breaks, error, message = BROKEN[name]
    breaks(folder)
    with pytest.raises(error, match=message):
        load_pretrained(folder)


def test_without_a_named_class_the_headless_model_is_taken(tmp_path: Path) -> None:
    path = models.save(BertModel(models.bert()), tmp_path).path
    configure(path, architectures=None)
    assert type(load_pretrained(path)) is BertModel


def test_a_file_instead_of_the_folder_is_told(folder: Path) -> None:
    with pytest.raises(UnreadableModel, match="name the folder that save_pretrained wrote"):
        load_pretrained(folder / "model.safetensors")


def test_tokenizer_files_become_assets_unless_the_spec_has_its_own(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("vocab.txt", "tokenizer.json", "training_args.bin"):
        (folder / name).write_text("of the folder")
    (folder / "merges.txt").symlink_to(tmp_path / "elsewhere")
    names = [path.name for path in source_assets("transformers", folder)]
    assert names == ["config.json", "tokenizer.json", "vocab.txt"]
    (folder / "merges.txt").unlink()
    (tmp_path / "vocab.txt").write_text("of the spec")
    spec = ReleaseSpec.from_mapping(
        {
            "name": "net",
            "source": {"framework": "transformers", "uri": str(folder)},
            "assets": [str(tmp_path / "vocab.txt")],
        }
    )
    store = MemoryStore()
    materials = fetch_materials(spec, workspace=Workspace(store=store))
    assert sorted(materials.assets) == names
    assert store.read_bytes(materials.assets["vocab.txt"].digest) == b"of the spec"


def test_a_trained_head_is_what_is_exported(folder: Path) -> None:
    assert type(load_pretrained(folder)) is BertForSequenceClassification
