"""Session entries that a model's file carries: read back, applied, and nothing else obeyed."""

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.providers.hardware import lacks_vnni
from slipway.providers.recommended import X64_PRECISION, recommended_entries
from slipway.providers.sessions import Session
from tests import tiny_models


def carrying(folder: Path, entries: dict[str, str]) -> Path:
    model = tiny_models.mlp()
    onnx.helper.set_model_props(model, entries)
    return tiny_models.save(model, folder)


@pytest.mark.parametrize("lacking", [True, False])
def test_what_a_model_carries_is_what_its_sessions_are_told_where_vnni_is_missing(
    lacking: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.providers.sessions.lacks_vnni", lambda: lacking)
    model = carrying(tmp_path, {"author": "somebody", X64_PRECISION: "1"})
    assert recommended_entries(model) == {X64_PRECISION: "1"}
    assert Session(model).entries.get(X64_PRECISION) == ("1" if lacking else None)
    assert Session(model, entries={X64_PRECISION: "0"}).entries[X64_PRECISION] == "0"


@pytest.mark.parametrize(
    ("machine", "flags", "lacking"),
    [("x86_64", "fpu avx2", True), ("x86_64", "avx2 avx_vnni", False),
     ("x86_64", "avx512f avx512_vnni", False), ("aarch64", "asimd", False)],
)  # fmt: skip
def test_vnni_is_read_off_the_processors_flags(
    machine: str, flags: str, lacking: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    assert lacks_vnni(cpuinfo=tmp_path / "cpuinfo") is lacking


def test_a_model_cannot_choose_entries_that_reach_files(tmp_path: Path) -> None:
    model = carrying(tmp_path, {"session.optimized_model_external_initializers_file_name": "x"})
    assert recommended_entries(model) == {}


def test_entries_behind_large_weights_are_found(tmp_path: Path) -> None:
    model = tiny_models.mlp()
    filler = onnx.helper.make_tensor("filler", onnx.TensorProto.UINT8, [1 << 22], bytes(1 << 22),
                                     raw=True)  # fmt: skip
    model.graph.initializer.append(filler)
    onnx.helper.set_model_props(model, {X64_PRECISION: "1"})
    assert recommended_entries(tiny_models.save(model, tmp_path)) == {X64_PRECISION: "1"}


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_model_carry_nothing(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "model.onnx"
    path.write_bytes(data)
    assert recommended_entries(path).keys() <= {X64_PRECISION}


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_no_reason_to_fail(kept: float, tmp_path: Path) -> None:
    model = carrying(tmp_path, {X64_PRECISION: "1"})
    data = model.read_bytes()
    model.write_bytes(data[: int(len(data) * kept)])
    assert recommended_entries(model).keys() <= {X64_PRECISION}


def test_no_file_carries_nothing(tmp_path: Path) -> None:
    assert recommended_entries(tmp_path / "absent.onnx") == {}
