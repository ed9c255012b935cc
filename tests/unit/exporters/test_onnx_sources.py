"""ONNX as a source: what is kept, what is converted, and what is refused."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from slipway.errors import (
    CheckFailed,
    DataError,
    ExportFailed,
    IntegrityError,
    RequestError,
    SlipwayError,
    SpecError,
    UnreadableModel,
)
from slipway.exporters import export
from slipway.isolation.runner import Limits, run_isolated
from slipway.protocols import ExportRequest, ExportResult
from slipway.providers.signature import read_graph
from slipway.samples.golden import GoldenSet
from slipway.specs import ReleaseSpec, TensorSpec, Tolerance
from slipway.stages.making import fetch_materials
from slipway.stages.workspace import Workspace
from slipway.stores.memory import MemoryStore
from slipway.validation.parity import check_parity
from tests.models.onnx import move_weights, request_for, save_external, trained_net


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def agrees(result: ExportResult) -> bool:
    golden = GoldenSet.load(result.golden)
    return check_parity(result.model, golden, tolerance=Tolerance()).passed


def test_a_folder_with_external_data_becomes_one_file(source: Path, scratch: Path) -> None:
    save_external(trained_net(), source)
    result = export(request_for(source), scratch)
    assert agrees(result)
    assert sorted(path.name for path in scratch.iterdir()) == ["golden.npz", "model.onnx"]
    alone = scratch.parent / "alone"
    alone.mkdir()
    onnx.save(trained_net(), alone / "net.onnx")
    other = export(request_for(alone / "net.onnx"), alone)
    assert result.model.read_bytes() == other.model.read_bytes()


def test_more_weights_than_a_protobuf_holds_stay_outside(
    source: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.exporters.cleaning.EXTERNAL_DATA_BYTES", 100)
    model = trained_net()
    wide = np.eye(16, dtype=np.float32)  # large enough to be moved out
    model.graph.initializer.append(numpy_helper.from_array(wide, "wide"))
    model.graph.node[2].input[0] = "spread"
    model.graph.node.insert(2, helper.make_node("MatMul", ["hidden", "wide"], ["spread"]))
    save_external(model, source)
    result = export(request_for(source), scratch)
    names = sorted(path.name for path in scratch.iterdir())
    assert names == ["golden.npz", "model.onnx", "model.onnx.data"]
    assert agrees(result)


def test_the_only_model_of_a_folder_may_have_any_name(source: Path, scratch: Path) -> None:
    onnx.save(trained_net(), source / "net.onnx")
    assert agrees(export(request_for(source), scratch))
    onnx.save(trained_net(), source / "other.onnx")
    with pytest.raises(UnreadableModel, match=r"2 \.onnx files and no model\.onnx"):
        export(request_for(source), scratch)


def test_an_external_model_without_its_folder_is_told_to_give_the_folder(
    source: Path, scratch: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(save_external(trained_net(), source).read_bytes())
    with pytest.raises(UnreadableModel, match=r"given as a folder: set source\.uri to it"):
        export(request_for(alone), scratch)


@pytest.mark.parametrize("opset", [13, 17, 22])
def test_the_opset_is_kept_when_none_is_asked_for(source: Path, scratch: Path, opset: int) -> None:
    path = saved(trained_net(opset=opset), source)
    result = export(request_for(path, keep_opset=True), scratch)
    assert result.opset == opset
    assert result.route == "onnx"


@pytest.mark.parametrize("given", [13, 17, 21])
def test_another_opset_is_converted_to_when_asked_for(
    source: Path, scratch: Path, given: int
) -> None:
    path = saved(trained_net(opset=given), source)
    result = export(request_for(path, opset=18), scratch)
    assert result.opset == 18
    assert result.route == f"onnx.version_converter {given} to 18"
    assert agrees(result)


def test_an_opset_that_the_converter_cannot_reach_is_refused_with_a_way_out(
    source: Path, scratch: Path
) -> None:
    model = trained_net(opset=20)
    model.graph.node[1].op_type = "Gelu"  # new in opset 20
    path = saved(model, source)
    with pytest.raises((ExportFailed, CheckFailed), match="opset"):
        export(request_for(path, opset=18), scratch)
    assert agrees(export(request_for(path, opset=18, keep_opset=True), scratch))


def test_operators_of_further_domains_survive_another_opset(source: Path, scratch: Path) -> None:
    model = trained_net(opset=17)
    model.graph.node[1].op_type = "Gelu"
    model.graph.node[1].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    result = export(request_for(saved(model, source), opset=18), scratch)
    assert agrees(result)
    assert {node.domain for node in read_graph(result.model).graph.node} == {"", "com.microsoft"}


def test_an_opset_beyond_the_runtime_is_refused(source: Path, scratch: Path) -> None:
    path = saved(trained_net(opset=28), source)
    with pytest.raises(CheckFailed, match="opset 28"):
        export(request_for(path), scratch)


def test_dimensions_are_called_as_the_spec_calls_them(source: Path, scratch: Path) -> None:
    path = saved(trained_net(), source)
    result = export(request_for(path, inputs={"x": TensorSpec(shape=("rows", 4))}), scratch)
    assert result.inputs[0].shape == ("rows", 4)
    assert result.outputs[0].shape == ("rows", 3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"y": TensorSpec(shape=("batch", 4))}, "no input y; it has x"),
        ({"x": TensorSpec(dtype="int64", shape=("batch", 4))}, "float32"),
        ({"x": TensorSpec(shape=("batch", 4, 1))}, r"batch', 4, 1"),
        ({"x": TensorSpec(shape=("batch", 5))}, "dimension 1 is 5 in the spec, 4"),
    ],
)
def test_inputs_that_the_model_does_not_have_are_refused(
    source: Path, scratch: Path, asked: dict[str, TensorSpec], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        export(request_for(saved(trained_net(), source), inputs=asked), scratch)


def test_a_fixed_batch_cannot_become_dynamic(source: Path, scratch: Path) -> None:
    model = trained_net()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    path = saved(model, source)
    assert export(request_for(path), scratch).golden_batch_sizes == (2,)
    with pytest.raises(ExportFailed, match="fixes it at 2"):
        export(request_for(path, inputs={"x": TensorSpec(shape=("batch", 4))}), scratch)


def test_an_output_name_that_a_tensor_inside_has_is_given_to_the_output(
    source: Path, scratch: Path
) -> None:
    result = export(request_for(saved(trained_net(), source), outputs=("hidden",)), scratch)
    assert [tensor.name for tensor in result.outputs] == ["hidden"]
    assert agrees(result)


def test_names_inside_control_flow_follow_a_renamed_output(source: Path, scratch: Path) -> None:
    model = trained_net()
    branch = helper.make_graph(
        [helper.make_node("Neg", ["probabilities"], ["inside"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inside", onnx.TensorProto.FLOAT, None)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((), dtype=np.bool_), "yes"))
    other = onnx.GraphProto.FromString(branch.SerializeToString())
    other.node[0].output[0] = other.output[0].name = "elsewhere"
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["negative"], then_branch=branch, else_branch=other)
    )
    model.graph.output.append(
        helper.make_tensor_value_info("negative", onnx.TensorProto.FLOAT, ["batch", 3])
    )
    path = saved(model, source)
    result = export(request_for(path, outputs=("answer", "inside")), scratch)
    assert agrees(result)


def test_inputs_that_the_source_does_not_take_are_told(source: Path, scratch: Path) -> None:
    model = trained_net()
    model.graph.node[0].input[0] = "row"
    ids = helper.make_tensor_value_info("x", onnx.TensorProto.INT64, ["batch"])
    model.graph.input[0].CopyFrom(ids)
    model.graph.initializer.append(
        numpy_helper.from_array(np.ones((2, 4), dtype=np.float32), "table")
    )
    model.graph.node.insert(0, helper.make_node("Gather", ["table", "x"], ["row"]))
    with pytest.raises(DataError, match=r"does not run on golden inputs .* give data\.golden"):
        export(request_for(saved(model, source)), scratch)


OUTSIDE = ("/etc/passwd", "../secret.bin", "sub/../../secret.bin", "", ".", "*/_ORT_MEM_ADDR_/*")


@pytest.mark.parametrize("location", OUTSIDE)
def test_external_data_outside_the_folder_is_refused(
    source: Path, scratch: Path, location: str
) -> None:
    (source.parent / "secret.bin").write_bytes(bytes(4096))
    move_weights(save_external(trained_net(), source), location)
    with pytest.raises(UnreadableModel, match="external data"):
        export(request_for(source), scratch)


def test_external_data_through_a_link_is_refused(source: Path, scratch: Path) -> None:
    path = save_external(trained_net(), source)
    secret = source.parent / "secret.bin"
    (source / "weights.bin").rename(secret)
    (source / "weights.bin").symlink_to(secret)
    with pytest.raises(UnreadableModel, match="symbolic link"):
        export(request_for(source), scratch)
    (source / "weights.bin").unlink()
    os.link(secret, source / "weights.bin")
    with pytest.raises(UnreadableModel, match="hard links"):
        export(request_for(source), scratch)
    (source / "weights.bin").unlink()
    (source / "inside").symlink_to(source.parent)
    move_weights(path, "inside/secret.bin")
    with pytest.raises(UnreadableModel, match="symbolic link"):
        export(request_for(source), scratch)


def test_a_model_that_is_a_link_is_refused(source: Path, scratch: Path) -> None:
    elsewhere = saved(trained_net(), source.parent)
    (source / "model.onnx").symlink_to(elsewhere)
    with pytest.raises(UnreadableModel, match="symbolic link"):
        export(request_for(source), scratch)


def test_external_data_that_ends_early_is_refused(source: Path, scratch: Path) -> None:
    save_external(trained_net(), source)
    data = (source / "weights.bin").read_bytes()
    (source / "weights.bin").write_bytes(data[:-8])
    with pytest.raises(UnreadableModel, match="beyond the end"):
        export(request_for(source), scratch)


def test_one_file_read_a_thousand_times_is_refused(source: Path, scratch: Path) -> None:
    path = save_external(trained_net(), source)
    model = onnx.load(path, load_external_data=False)
    first = model.graph.initializer[0]
    for index in range(1000):
        copy = model.graph.initializer.add()
        copy.CopyFrom(first)
        copy.name = f"copy_{index}"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnreadableModel, match="unfolds to"):
        export(request_for(source), scratch)


def test_external_data_in_a_constant_node_is_confined_too(source: Path, scratch: Path) -> None:
    model = trained_net()
    weight = model.graph.initializer.pop()
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret.bin")
    (source.parent / "secret.bin").write_bytes(bytes(4096))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["second"], value=weight))
    (source / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnreadableModel, match="external data"):
        export(request_for(source), scratch)


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "nobody"


def not_a_number(model: onnx.ModelProto) -> None:
    weights = np.full((4, 16), np.nan, dtype=np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "first"))


def sequence_output(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("SequenceConstruct", ["scores"], ["list"]))
    model.graph.output.append(
        helper.make_tensor_sequence_value_info("list", onnx.TensorProto.FLOAT, None)
    )


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (unknown_operator, "nobody"),
        (not_a_number, "NaN"),
        (sequence_output, "sequence"),
    ],
)
def test_a_model_that_can_never_be_right_is_refused(
    source: Path, scratch: Path, breaks: object, message: str
) -> None:
    assert callable(breaks)
    model = trained_net()
    breaks(model)
    with pytest.raises(SlipwayError, match=message):
        export(request_for(saved(model, source)), scratch)


def test_functions_that_call_functions_without_end_are_refused_at_once(
    source: Path, scratch: Path
) -> None:
    model = trained_net()
    model.opset_import.append(helper.make_opsetid("bomb", 1))
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("bomb", 1)]
    for level in range(40):
        inner = [
            helper.make_node(
                f"f{level + 1}" if level < 39 else "Relu",
                ["a"] if not call else [f"b{call - 1}"],
                [f"b{call}"],
                domain="bomb" if level < 39 else "",
            )
            for call in range(4)
        ]
        model.functions.append(
            helper.make_function("bomb", f"f{level}", ["a"], ["b3"], inner, imports)
        )
    model.graph.node[1].op_type, model.graph.node[1].domain = "f0", "bomb"
    with pytest.raises(CheckFailed, match="function"):
        run_isolated(
            "slipway.exporters:export",
            request_for(saved(model, source)),
            returns=ExportResult,
            scratch=scratch,
            what="the export",
            reads=[source],
            limits=Limits(timeout_s=30),
        )


def test_a_model_of_another_suffix_is_named(source: Path, scratch: Path) -> None:
    request: ExportRequest = request_for(source / "absent.onnx")
    with pytest.raises(RequestError, match="absent"):
        export(request, scratch)


def test_a_hard_link_in_the_folder_never_reaches_the_store(source: Path, tmp_path: Path) -> None:
    save_external(trained_net(), source)
    (source / "weights.bin").rename(tmp_path / "secret.bin")
    os.link(tmp_path / "secret.bin", source / "weights.bin")
    spec = ReleaseSpec.from_mapping(
        {"name": "net", "source": {"framework": "onnx", "uri": str(source)}}
    )
    store = MemoryStore()
    with pytest.raises(IntegrityError, match=r"weights\.bin has 2 hard links"):
        fetch_materials(spec, workspace=Workspace(store=store))
    assert list(store.digests()) == []
