"""The self-test opens what a sweep tuned as the bundle recommends to open it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway.artifacts import ArtifactRef, digest_bytes
from slipway.errors import IntegrityError
from slipway.packaging.bundle import build_bundle
from slipway.protocols import SelftestRequest
from slipway.providers.sessions import Session
from slipway.reports import Evidence, ExportReport
from slipway.stages import children
from tests.sample_bundles import make_content

REF = ArtifactRef(uri="file:///m", digest=digest_bytes(b"m"), size_bytes=1)
EVIDENCE = Evidence(
    name="table",
    framework="onnx",
    export=ExportReport(
        model=REF, golden=REF, framework="onnx", route="as it is", opset=18, inputs=(), outputs=(),
        golden_batch_sizes=(1,), tools={},
    ),
    variants=(),
    passed=True,
)  # fmt: skip
SWEPT = {
    "variant": "variants/int8-static/model.onnx",
    "intra_op_num_threads": 1,
    "execution_mode": "parallel",
    "graph_optimization_level": "basic",
}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of each session that is opened with any, as the real one is opened."""
    seen: list[dict[str, Any]] = []
    real: Callable[..., Session] = Session

    def opening(model: Path, **settings: Any) -> Session:
        seen.append(settings)
        return real(model, **settings)

    monkeypatch.setattr("slipway.stages.children.Session", opening)
    return seen


def bundle_with(serving: object, folder: Path) -> SelftestRequest:
    content = replace(
        make_content(folder / "content"),
        evidence={"evidence/evidence.json": EVIDENCE.model_dump_json().encode()},
        serving={"cpu": json.dumps(serving).encode()},
    )
    build_bundle(folder / "bundle", content=content)
    return SelftestRequest(bundle=folder / "bundle")


def test_the_swept_variant_repeats_its_answers_with_the_recommended_settings(
    opened: list[dict[str, Any]], tmp_path: Path
) -> None:
    report = children.selftest(bundle_with(SWEPT, tmp_path), tmp_path)
    assert report.passed
    assert opened == [
        {"intra_op_threads": 1, "execution_mode": "parallel", "optimization": "basic"}
    ]


def test_settings_that_are_none_are_named(tmp_path: Path) -> None:
    wrong = {**SWEPT, "graph_optimization_level": "most"}
    with pytest.raises(IntegrityError, match=r"serving/cpu\.json cannot be read"):
        children.selftest(bundle_with(wrong, tmp_path), tmp_path)
