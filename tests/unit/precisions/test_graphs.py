"""Models are tidied without changing what they compute."""

from pathlib import Path

import onnx
import pytest
from onnx import parser

from slipway.errors import PrecisionFailed, UnreadableModel
from slipway.precisions import graphs
from tests import tiny_models

UNSORTED = """
<ir_version: 10, opset_import: ["" : 18, "com.microsoft" : 1]>
g (float[n] x) => (float[n] y) {
    y = Add (a, b)
    b = Exp (a)
    a = Neg (x)
}
"""
BRANCH = """
<ir_version: 10, opset_import: ["" : 18]>
g (bool c, float[n] x) => (float[n] y) {
    y = If (c) <
        then_branch = t () => (float[n] p) { p = Neg (late) },
        else_branch = e () => (float[n] q) { q = Exp (x) }
    >
    late = Neg (x)
}
"""


def test_nodes_are_sorted_by_what_they_read() -> None:
    model = parser.parse_model(UNSORTED)
    graphs.tidy(model)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Neg", "Exp", "Add"]


def test_a_value_captured_by_a_branch_is_made_before_it() -> None:
    model = parser.parse_model(BRANCH)
    graphs.tidy(model)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Neg", "If"]


def test_a_circular_graph_is_refused_by_node() -> None:
    model = parser.parse_model(UNSORTED.replace("Neg (x)", "Neg (y)"))
    with pytest.raises(PrecisionFailed, match="circular"):
        graphs.tidy(model)


def test_node_names_become_unique_and_given_ones_stay() -> None:
    model = parser.parse_model(UNSORTED)
    for node, name in zip(model.graph.node, ("same", "same", "Neg_2"), strict=True):
        node.name = name
    graphs.name_nodes(model)
    names = [node.name for node in model.graph.node]
    assert names[0] == "same"
    assert names[2] == "Neg_2"
    assert len(set(names)) == 3


def test_paths_of_the_exporting_machine_do_not_stay() -> None:
    model = parser.parse_model(UNSORTED)
    model.graph.node[0].doc_string = "/home/someone/model.py"
    model.graph.node[0].metadata_props.add(key="stack", value="/home/someone/model.py")
    graphs.tidy(model)
    assert b"someone" not in model.SerializeToString()


def test_opset_imports_that_no_node_uses_go() -> None:
    model = parser.parse_model(UNSORTED)
    graphs.tidy(model)
    assert [opset.domain for opset in model.opset_import] == [""]


def test_large_models_keep_their_weights_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LARGE_BYTES", 1000)
    graphs.save_model(tiny_models.mlp(), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.data").stat().st_size > 1000
    expected = tiny_models.mlp()
    loaded = graphs.load_model(tmp_path / "m.onnx")
    for name in tiny_models.MLP_WEIGHTS:
        assert (tiny_models.weight(loaded, name) == tiny_models.weight(expected, name)).all()


def test_missing_external_data_is_an_unreadable_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LARGE_BYTES", 1000)
    graphs.save_model(tiny_models.mlp(), tmp_path / "m.onnx")
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(UnreadableModel, match="external data"):
        graphs.load_model(tmp_path / "m.onnx")
