"""A check passes sound models, and says of others what is wrong; ONNX's own models prove it."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.backend.test.case.node import collect_testcases

from slipway.errors import UnreadableModel
from slipway.reports import CheckReport
from slipway.validation.checking import check_and_open, check_model, first_error
from slipway.validation.preflight import inspect_model
from slipway.validation.versions import MAX_IR_VERSION, MAX_OPSETS
from tests.unit.validation.graphs import external, graph, linear, save


def errors(report: CheckReport) -> list[str]:
    return [finding.code for finding in report.findings if finding.level == "error"]


def test_a_sound_model_passes_with_its_facts(tmp_path: Path) -> None:
    path = save(linear(), tmp_path)
    report = check_model(path)
    assert report.passed
    assert (report.opset, report.ir_version, report.operators) == (18, 10, {"MatMul": 1})
    assert report.size_bytes == path.stat().st_size


def test_external_data_counts_towards_the_size(tmp_path: Path) -> None:
    path = external(linear(), tmp_path)
    report = check_model(path)
    assert report.passed
    assert report.size_bytes == path.stat().st_size + 32


def test_an_empty_file_is_unreadable_rather_than_failed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    with pytest.raises(UnreadableModel, match="is empty"):
        check_model(path)


def test_native_parsers_are_not_asked_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        pytest.fail("a native parser was given a graph that the preflight refused")

    monkeypatch.setattr(onnx.checker, "check_model", never)
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", never)
    monkeypatch.setattr(onnxruntime, "InferenceSession", never)
    report, session = check_and_open(save(linear(np.full((4, 2), np.nan, np.float32)), tmp_path))
    assert not report.passed
    assert session is None
    assert errors(report) == ["nan-weight"]
    assert "initializer 'w': holds 8 NaN" in str(first_error(report))


def test_shapes_that_contradict_each_other_are_found(tmp_path: Path) -> None:
    model = linear(np.zeros((5, 2), np.float32))
    report = check_model(save(model, tmp_path))
    assert errors(report) == ["shape-inference"]


def test_a_wrong_attribute_is_found_by_the_checker(tmp_path: Path) -> None:
    model = graph("g (float[n] x) => (float[n] y) { y = Relu<nonsense = 3>(x) }")
    report = check_model(save(model, tmp_path))
    assert errors(report) == ["checker"]


def test_sequences_cannot_be_served(tmp_path: Path) -> None:
    model = graph("g (float[n] x) => (seq(float[n]) y) { y = SequenceConstruct(x) }")
    report = check_model(save(model, tmp_path))
    assert errors(report) == ["interface"]


def test_what_the_runtime_does_not_load_fails(tmp_path: Path) -> None:
    head = '<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>'
    text = "g (float[n, 4] x) => (float[n, 4] y) { y = com.microsoft.NhwcMaxPool(x) }"
    model = graph(text, head=head)
    assert errors(check_model(save(model, tmp_path))) == ["runtime-load"]


def test_a_model_of_contrib_operators_passes(tmp_path: Path) -> None:
    head = '<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>'
    text = "g (float[n, 4] x) => (float[n, 4] y) { t = com.microsoft.Gelu(x) y = Relu(t) }"
    report = check_model(save(graph(text, head=head), tmp_path))
    assert report.passed
    assert report.operators == {"Relu": 1, "com.microsoft.Gelu": 1}


def test_large_weights_are_checked_whole_after_shape_inference(tmp_path: Path) -> None:
    weight = np.ones((4, 5000), np.float32)
    model = graph("g (float[n, 4] x) => (float[n, 5000] y) { y = MatMul(x, w) }", w=weight)
    report, session = check_and_open(save(model, tmp_path))
    assert report.passed
    assert session is not None
    assert session.run({"x": np.ones((1, 4), np.float32)})["y"].min() == 4


MEANT_TO_BE_REFUSED = {"unknown-domain": 18, "non-deterministic": 6, "training-mode": 2}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # onnx's cases overflow on purpose
def test_onnx_s_own_models_pass_but_for_training_and_random_numbers(tmp_path: Path) -> None:
    """Every node case of ONNX's backend suite whose opset the runtime supports.

    1,569 of 1,595 pass the preflight; the others train, throw dice, or use ONNX's preview domains.
    Nothing that the preflight passes may hang or crash the checker.
    """
    refused: Counter[str] = Counter()
    seen = 0
    for case in collect_testcases(None):
        assert case.model is not None
        model = onnx.ModelProto.FromString(case.model.SerializeToString())
        if any(o.version > MAX_OPSETS.get(o.domain, 99) for o in model.opset_import):
            continue
        seen += 1
        model.ir_version = min(model.ir_version, MAX_IR_VERSION)
        found = [f for f in inspect_model(model, folder=tmp_path) if f.level == "error"]
        refused.update(finding.code for finding in found[:1])
    assert seen > 1500
    assert refused == MEANT_TO_BE_REFUSED
