"""PyTorch sources that are asked for in unusual ways, or cannot be had as asked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.export import Dim

from slipway.artifacts import digest_file
from slipway.errors import (
    DataError,
    EnvironmentMissing,
    ExportFailed,
    SlipwayError,
    SpecError,
    UnreadableModel,
)
from slipway.exporters import EXPORTERS, export
from slipway.protocols import ExportRequest, ExportResult
from slipway.samples.arrays import save_npz
from slipway.samples.golden import GoldenSet
from slipway.specs import FRAMEWORKS, SourceSpec, TensorSpec, Tolerance
from slipway.validation.parity import check_parity
from tests.models.pytorch import (
    FACTORY,
    Echo,
    Nested,
    Net,
    save_net,
    save_program,
    save_tokens,
    trained_net,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)
X = {"x": TensorSpec(shape=("batch", 4))}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_net(tmp_path_factory.mktemp("program") / "model.pt2")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokens(tmp_path_factory.mktemp("tokens") / "model.pt2")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(trained_net().state_dict(), path)
    (path.parent / "factory.py").write_text(FACTORY)
    return path


def export_file(path: Path, folder: Path, **asked: Any) -> ExportResult:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    source = SourceSpec(framework="pytorch", uri=str(path), **asked.pop("source", {}))
    return export(ExportRequest(source=source, path=path, **asked), scratch)


def from_weights(path: Path, folder: Path, **asked: Any) -> ExportResult:
    source = {"factory": "factory.py:build", **asked.pop("source", {})}
    asked = {"inputs": X, "factory_path": path.parent / "factory.py", **asked}
    return export_file(path, folder, source=source, **asked)


def assert_parity(result: ExportResult) -> None:
    golden = GoldenSet.load(result.golden)
    report = check_parity(result.model, golden, tolerance=Tolerance())
    assert report.passed, [output.reason for output in report.outputs]


def test_every_framework_of_the_spec_has_an_exporter() -> None:
    assert tuple(EXPORTERS) == FRAMEWORKS


def test_nested_outputs_are_numbered_in_order(tmp_path: Path) -> None:
    path = save_program(Nested(), (torch.randn(2, 4),), ({0: Dim("b")},), tmp_path / "m.pt2")
    result = export_file(path, tmp_path)
    assert [output.name for output in result.outputs] == ["output_0", "output_1", "output_2"]
    assert [output.dtype for output in result.outputs] == ["float32", "float32", "int64"]
    assert_parity(result)


def test_an_output_that_shares_the_inputs_name_gets_another(tmp_path: Path) -> None:
    path = save_program(Echo(), (torch.randn(2, 4),), ({0: Dim("b")},), tmp_path / "m.pt2")
    result = export_file(path, tmp_path)
    assert [output.name for output in result.outputs] == ["x_out"]
    assert_parity(result)


def test_inputs_and_dimensions_are_renamed_as_the_spec_says(tokens: Path, tmp_path: Path) -> None:
    asked = {
        "input_ids": TensorSpec(dtype="int64", shape=("rows", "length")),
        "attention": TensorSpec(shape=("rows", "length")),
    }
    result = export_file(tokens, tmp_path, inputs=asked)
    assert {tensor.name: tensor.shape for tensor in result.inputs} == {
        "input_ids": ("rows", "length"),
        "attention": ("rows", "length"),
    }
    assert {o.name: o.shape for o in result.outputs}["tokens"] == ("rows", "length", 3)
    assert_parity(result)


def test_the_sequence_length_differs_between_golden_cases(tokens: Path, tmp_path: Path) -> None:
    golden = GoldenSet.load(export_file(tokens, tmp_path).golden)
    assert len({case.inputs["ids"].shape[1] for case in golden.cases}) > 1


def test_golden_inputs_come_from_the_data_given(program: Path, tmp_path: Path) -> None:
    data = np.random.default_rng(5).standard_normal((10, 4)).astype(np.float32)
    save_npz(tmp_path / "golden.npz", {"x": data})
    result = export_file(program, tmp_path, golden_inputs=tmp_path / "golden.npz")
    assert result.golden_batch_sizes == (1, 3)
    for case in GoldenSet.load(result.golden).cases:
        np.testing.assert_array_equal(case.inputs["x"], data[: len(case.inputs["x"])])


def test_labels_are_no_input_when_golden_rows_come_from_labelled_data(
    program: Path, tmp_path: Path
) -> None:
    save_npz(tmp_path / "d.npz", {"x": np.ones((3, 4), np.float32), "label": np.arange(3)})
    result = export_file(program, tmp_path, sample_data=tmp_path / "d.npz")
    assert set(GoldenSet.load(result.golden).cases[0].inputs) == {"x"}


def test_a_fixed_program_stays_fixed_when_nothing_else_is_asked(tmp_path: Path) -> None:
    path = save_net(tmp_path / "m.pt2", dynamic=False)
    result = export_file(path, tmp_path)
    assert result.inputs[0].shape == (2, 4)
    assert result.golden_batch_sizes == (2,)


def test_a_dynamic_dimension_that_the_program_fixes_fails(tmp_path: Path) -> None:
    path = save_net(tmp_path / "m.pt2", dynamic=False)
    with pytest.raises(ExportFailed, match=r"dimension 0 was asked for as dynamic.*fixes it at 2"):
        export_file(path, tmp_path, inputs=X)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"x": TensorSpec(shape=("batch", 5))}, "dimension 1 is 5 in the spec, 4 in the program"),
        ({"x": TensorSpec(shape=(2, 4))}, "fixed at 2 in the spec, and dynamic in the program"),
        ({"x": TensorSpec(shape=("batch",))}, "1 dimensions in the spec, 2 in the program"),
        (
            {"x": TensorSpec(dtype="float64", shape=("batch", 4))},
            "float64 in the spec, float32 in the program",
        ),
        ({**X, "y": TensorSpec(shape=("batch",))}, "names 2 inputs .*takes 1"),
    ],
)
def test_a_spec_that_contradicts_the_program_is_refused(
    program: Path, tmp_path: Path, asked: dict[str, TensorSpec], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        export_file(program, tmp_path, inputs=asked)


def test_golden_data_of_another_shape_is_refused(program: Path, tmp_path: Path) -> None:
    save_npz(tmp_path / "golden.npz", {"x": np.ones((3, 5), np.float32)})
    with pytest.raises(DataError, match=r"x has shape \[3, 5\], the model takes \[batch, 4\]"):
        export_file(program, tmp_path, golden_inputs=tmp_path / "golden.npz")


def test_an_opset_that_torch_does_not_reach_fails_with_the_one_it_does(
    program: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportFailed, match=r"opset 11 was asked for.*set opset: 18"):
        export_file(program, tmp_path, opset=11)


def test_the_highest_opset_of_the_runtime_is_exported_right(program: Path, tmp_path: Path) -> None:
    result = export_file(program, tmp_path, opset=26)
    assert result.opset == 26
    assert_parity(result)


def test_weights_are_filled_into_what_the_factory_built(weights: Path, tmp_path: Path) -> None:
    result = from_weights(weights, tmp_path)
    case = GoldenSet.load(result.golden).cases[-1]
    net = trained_net()
    with torch.no_grad():
        expected = net(torch.from_numpy(case.inputs["x"])).numpy()
    np.testing.assert_allclose(case.outputs["output"], expected, rtol=1e-5, atol=1e-6)


def test_an_installed_factory_is_found_by_its_module(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(nn.Linear(4, 3).state_dict(), path)
    result = export_file(
        path,
        tmp_path,
        inputs=X,
        source={
            "factory": "torch.nn:Linear",
            "factory_arguments": {"in_features": 4, "out_features": 3},
        },
    )
    assert_parity(result)


def test_a_fixed_batch_of_a_module_is_kept(weights: Path, tmp_path: Path) -> None:
    result = from_weights(weights, tmp_path, inputs={"x": TensorSpec(shape=(2, 4))})
    assert result.inputs[0].shape == (2, 4)


def test_a_whole_module_is_exported_when_trusted_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(Net(), path)
    trust = {"trusted": True, "sha256": digest_file(path).removeprefix("sha256:")}
    assert_parity(export_file(path, tmp_path, inputs=X, source=trust))


@pytest.mark.parametrize(
    ("factory", "arguments", "error", "message"),
    [
        (None, {}, SpecError, "set source.factory"),
        ("build", {}, SpecError, "names no callable"),
        ("no.such.module:build", {}, SpecError, "cannot import no.such.module"),
        ("factory.py:absent", {}, SpecError, "no callable 'absent'"),
        ("factory.py:torch", {}, SpecError, "no callable 'torch'"),
        ("factory.py:build", {"wide": 3}, ExportFailed, "raised TypeError: .*'wide'"),
        ("factory.py:build", {"width": 9}, ExportFailed, "do not fit the factory's module"),
        ("builtins:dict", {}, SpecError, "returned dict, not a torch.nn.Module"),
    ],
)
def test_a_wrong_factory_is_named(
    weights: Path,
    tmp_path: Path,
    factory: str | None,
    arguments: dict[str, Any],
    error: type[SlipwayError],
    message: str,
) -> None:
    file = weights.parent / "factory.py" if factory and factory.startswith("factory.py") else None
    with pytest.raises(error, match=message):
        from_weights(
            weights,
            tmp_path,
            factory_path=file,
            source={"factory": factory, "factory_arguments": arguments},
        )


def test_a_factory_file_that_does_not_parse_is_named(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "factory.py").write_text("def build(:")
    with pytest.raises(SpecError, match=r"cannot import factory\.py .SyntaxError"):
        from_weights(weights, tmp_path, factory_path=tmp_path / "factory.py")


def test_weights_without_inputs_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="give inputs in the spec"):
        from_weights(weights, tmp_path, inputs={})


def test_inputs_that_the_module_does_not_take_fail_with_their_shape(
    weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportFailed, match=r"inputs of shape \[\[3, 5\]\]"):
        from_weights(weights, tmp_path, inputs={"x": TensorSpec(shape=("batch", 5))})


def test_a_tensor_alone_is_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(torch.ones(3), path)
    with pytest.raises(UnreadableModel, match="holds a Tensor, not weights by name"):
        export_file(path, tmp_path, inputs=X)


def test_a_failing_converter_is_told_without_colours_or_advice(tmp_path: Path) -> None:
    class Unusual(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(x @ x.mT).real  # type: ignore[no-any-return]

    path = save_program(Unusual(), (torch.randn(4, 4),), None, tmp_path / "m.pt2")
    with pytest.raises(ExportFailed, match=r"unsupported operator aten\.linalg_eig") as caught:
        export_file(path, tmp_path)
    assert "\x1b" not in str(caught.value)
    assert "eig" in str(caught.value)


def test_string_inputs_cannot_be_made_up(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"takes strings.*give data\.golden"):
        from_weights(weights, tmp_path, inputs={"x": TensorSpec(dtype="string", shape=("b", 4))})


def test_without_pyarrow_parquet_names_its_extra(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "d.parquet").write_bytes(b"PAR1" + bytes(8))
    with pytest.raises(EnvironmentMissing, match=r"slipway\[parquet\]"):
        export_file(program, tmp_path, golden_inputs=tmp_path / "d.parquet")
