"""The page of a failed export says the kind, the facts and the way out, and stays harmless."""

from typing import get_args

import pytest

from slipway.artifacts import digest_bytes
from slipway.reporting.failure import failure_markdown, render_failure, ways_out
from slipway.reports import ExportFailure, FailureKind, TensorInfo

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"


def failure(kind: FailureKind = "converter", **changes: object) -> ExportFailure:
    return ExportFailure.model_validate(
        {
            "name": "digits",
            "framework": "keras",
            "source": "model.keras",
            "source_digest": digest_bytes(b"model"),
            "source_bytes": 2048,
            "kind": kind,
            "message": "tf2onnx has no ONNX for Hash; replace the layer",
            "opset": 18,
            "max_opset": 22,
            "inputs": [TensorInfo(name="x", dtype="float32", shape=("batch", 3))],
            "tools": {"tf2onnx": "1.17.0"},
            "python": "3.11.7",
            "platform": "Linux",
            **changes,
        }
    )


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_every_kind_has_its_words_and_a_way_out(kind: FailureKind) -> None:
    found = failure(kind)
    page = render_failure(found)
    assert f"<code>{kind}</code>" in page
    assert ways_out(found)
    for wanted in (found.message, "model.keras", "2.00 KiB", "[batch, 3]", "tf2onnx 1.17.0"):
        assert wanted in page


def test_an_opset_that_has_the_operator_is_the_first_way_out() -> None:
    found = failure("unsupported-operator", facts={"operator": "Gelu", "needed_opset": 20})
    assert ways_out(found)[0] == "Set max_opset: 20 in the spec: opset 20 has what is missing."
    page = render_failure(found)
    assert "<dt>Operator</dt><dd><code>Gelu</code>" in page
    assert "<dt>Opset that has it</dt><dd><code>20</code>" in page
    assert "Gelu" in failure_markdown(found)


def test_text_of_a_model_stays_text() -> None:
    found = failure(message=HOSTILE, source=HOSTILE, facts={"operator": HOSTILE})
    assert "<script" not in render_failure(found)
    assert "<img" not in render_failure(found)
    assert "<script" not in failure_markdown(found).replace("\\<", "")
