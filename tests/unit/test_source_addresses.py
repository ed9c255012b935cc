"""Addresses in a spec: what each form names, and which are refused."""

from pathlib import Path
from typing import Any

import pytest

from slipway.errors import SourceNotFound, SpecError
from slipway.specs import ReleaseSpec, file_name, load_spec, local_path
from slipway.stages.making import fetch_materials
from slipway.stages.workspace import Workspace
from slipway.stores import open_store
from tests.s3_server import running, use


def spec(**source: Any) -> ReleaseSpec:
    return ReleaseSpec.from_mapping({"name": "tiny", "source": source})


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("model.pt2", "model.pt2"),
        ("/a b/100%20.pt2", "/a b/100%20.pt2"),
        ("file:///a%20b/100%2520%23%3F.pt2", "/a b/100%20#?.pt2"),
        ("file://localhost/a.pt2", "/a.pt2"),
        ("file:/a.pt2", "/a.pt2"),
        ("FILE:///%C3%A9.pt2", "/é.pt2"),
    ],
)
def test_an_address_names_this_path(uri: str, path: str) -> None:
    assert local_path(uri) == Path(path)


@pytest.mark.parametrize(
    "uri", ["file://elsewhere/a", "file:///a?b", "file:///a#b", "file:///a%00b", "s3://b/k"]
)
def test_an_address_of_nothing_here_is_refused(uri: str) -> None:
    with pytest.raises(SpecError):
        local_path(uri)


def test_a_file_is_called_by_its_name_wherever_it_is() -> None:
    uris = ("/x/a b.pt2", "file:///x/a%20b.pt2", "s3://bucket/x/a b.pt2", "models:/n/3/a b.pt2")
    assert {file_name(uri) for uri in uris} == {"a b.pt2"}


def test_addresses_are_not_taken_for_relative_paths(tmp_path: Path) -> None:
    file = tmp_path / "release.yaml"
    for uri in ("models:/digits@champion", "runs:/ab12/model", "s3://b/k", "file:///a%20b"):
        file.write_text(f"{{name: a, source: {{framework: sklearn, uri: '{uri}'}}}}")
        assert load_spec(file).source.uri == uri
    file.write_text("{name: a, source: {framework: sklearn, uri: 'odd:name.skops'}}")
    assert load_spec(file).source.uri == str(tmp_path / "odd:name.skops")


def test_only_a_model_in_mlflow_may_leave_its_framework_out() -> None:
    assert spec(uri="models:/digits/3").source.framework is None
    for uri in ("model.skops", "s3://b/model.skops", "file:///model.skops"):
        with pytest.raises(SpecError, match=r"framework: missing.*models:/"):
            spec(uri=uri)


def test_a_framework_that_was_never_asked_for_is_no_guess() -> None:
    with pytest.raises(SpecError, match="fetched"):
        _ = spec(uri="models:/digits/3").source.known_framework


def test_an_address_that_nothing_reads_is_named_with_its_entry() -> None:
    with pytest.raises(SpecError, match=r"source\.uri: nothing here reads gs:"):
        fetch(spec(uri="gs://bucket/model.skops", framework="sklearn"))


def test_data_does_not_come_from_the_registry(tmp_path: Path) -> None:
    (tmp_path / "m.skops").write_bytes(b"x")
    raw = {
        "name": "tiny",
        "source": {"framework": "sklearn", "uri": str(tmp_path / "m.skops")},
        "data": {"golden": "models:/data/1"},
    }
    with pytest.raises(SpecError, match=r"data\.golden: nothing here reads models:"):
        fetch(ReleaseSpec.from_mapping(raw))


def test_model_data_and_assets_are_fetched_from_s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("boto3", reason="boto3 is not installed")
    (tmp_path / "a b.json").write_bytes(b"{}")
    with running() as server:
        use(monkeypatch, server)
        server.buckets = {"b": {"m/model.skops": b"model", "golden.npz": b"golden"}}
        work = Workspace(store=open_store("memory://"))
        materials = fetch_materials(
            ReleaseSpec.from_mapping(
                {
                    "name": "tiny",
                    "source": {"framework": "sklearn", "uri": "s3://b/m/model.skops"},
                    "data": {"golden": "s3://b/golden.npz"},
                    "assets": [f"file://{tmp_path}/a%20b.json"],
                }
            ),
            workspace=work,
        )
        with pytest.raises(SourceNotFound, match="s3://b/other"):
            fetch(spec(framework="sklearn", uri="s3://b/other"))
    assert work.store.read_bytes(materials.source.digest) == b"model"
    assert materials.golden is not None
    assert work.store.read_bytes(materials.golden.digest) == b"golden"
    assert list(materials.assets) == ["a b.json"]


def fetch(wanted: ReleaseSpec) -> None:
    fetch_materials(wanted, workspace=Workspace(store=open_store("memory://")))
