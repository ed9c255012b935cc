"""What auditors read of a bundle: its statement of origin, and the packages that made it."""

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from slipway.artifacts import digest_bytes, digest_file
from slipway.errors import IntegrityError
from slipway.packaging.bundle import build_bundle
from slipway.packaging.manifest import read_manifest
from slipway.packaging.provenance import make_statement, package_url, read_data_digests
from slipway.packaging.sbom import describe_environment
from slipway.reports import Provenance
from tests.sample_bundles import make_content

DATA = digest_bytes(b"calibration")
PROVENANCE = Provenance(
    source_digest=digest_bytes(b"source"),
    data_digests={"calibration": DATA},
    folders=("source",),
    spec={"name": "table", "opset": 18},
    spec_digest=digest_bytes(b"spec"),
    tools={"slipway": "0.1.0", "torch": "2.13.0+cpu"},
    python="3.11",
    platform="linux",
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    build_bundle(folder / "bundle", content=make_content(folder / "content"))
    return folder / "bundle"


@pytest.fixture(scope="module")
def statement(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "provenance.json").read_bytes())
    return found


@pytest.fixture(scope="module")
def sbom(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "sbom.cdx.json").read_bytes())
    return found


def test_the_statement_is_an_in_toto_statement_with_slsas_provenance(
    statement: dict[str, Any],
) -> None:
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    predicate = statement["predicate"]
    assert set(predicate) == {"buildDefinition", "runDetails"}
    assert set(predicate["buildDefinition"]) == {
        "buildType",
        "externalParameters",
        "internalParameters",
        "resolvedDependencies",
    }
    for uri in (
        predicate["buildDefinition"]["buildType"],
        predicate["runDetails"]["builder"]["id"],
    ):
        assert re.fullmatch(r"[a-z]+:.+", uri)


def test_the_subjects_are_all_files_but_the_statement_itself(
    bundle: Path, statement: dict[str, Any]
) -> None:
    named = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    sealed = {file.path for file in read_manifest(bundle).files}
    assert set(named) == sealed - {"provenance.json"}
    for name, digest in named.items():
        assert digest_file(bundle / name) == f"sha256:{digest}"


def test_source_data_and_tools_are_the_dependencies() -> None:
    made = make_statement(PROVENANCE, subjects=())["predicate"]["buildDefinition"]
    assert made["resolvedDependencies"] == [
        {
            "name": "source",
            "digest": {"sha256": digest_bytes(b"source").removeprefix("sha256:")},
            "mediaType": "application/vnd.slipway.tree+json",
        },
        {"name": "data/calibration", "digest": {"sha256": DATA.removeprefix("sha256:")}},
        {"name": "slipway", "uri": "pkg:pypi/slipway@0.1.0"},
        {"name": "torch", "uri": "pkg:pypi/torch@2.13.0%2Bcpu"},
    ]
    assert made["externalParameters"] == {"spec": {"name": "table", "opset": 18}}


def test_the_data_digests_are_read_back(tmp_path: Path) -> None:
    made = json.dumps(make_statement(PROVENANCE, subjects=()))
    (tmp_path / "provenance.json").write_text(made)
    found = {"source": PROVENANCE.source_digest, "calibration": DATA}
    assert read_data_digests(tmp_path) == found


@pytest.mark.parametrize("content", [None, "{", "[]", '{"predicate": {"buildDefinition": {}}}'])
def test_a_damaged_statement_is_distrusted(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "provenance.json").write_text(content)
    with pytest.raises(IntegrityError, match="no provenance of a bundle"):
        read_data_digests(tmp_path)


def test_the_packages_of_this_environment_are_listed_with_their_versions(
    sbom: dict[str, Any],
) -> None:
    found = {component["name"]: component for component in sbom["components"]}
    for package in ("onnx", "onnxruntime", "numpy", "pydantic"):
        assert found[package]["version"] == version(package)
        assert found[package]["purl"] == package_url(package, version(package))
    assert len({component["bom-ref"] for component in sbom["components"]}) == len(found)


def test_dependencies_lead_from_listed_packages_to_listed_packages(sbom: dict[str, Any]) -> None:
    listed = {component["bom-ref"] for component in sbom["components"]}
    needs = {entry["ref"]: entry["dependsOn"] for entry in sbom["dependencies"]}
    assert set(needs) <= listed
    assert {other for others in needs.values() for other in others} <= listed
    onnx = package_url("onnx", version("onnx"))
    assert package_url("numpy", version("numpy")) in needs[onnx]


def test_a_tool_of_another_environment_is_a_component_as_well() -> None:
    made = json.loads(describe_environment("table", tools={"onnx": "1.0.0", "cobol2onnx": "0.1"}))
    purls = {component["purl"] for component in made["components"]}
    assert {"pkg:pypi/onnx@1.0.0", "pkg:pypi/cobol2onnx@0.1"} <= purls


def test_an_environment_has_one_document() -> None:
    one, two = (describe_environment("table", tools={}) for _ in range(2))
    assert one == two
    assert describe_environment("another", tools={}) != one


def test_the_document_is_valid_cyclonedx(bundle: Path) -> None:
    validation = pytest.importorskip(
        "cyclonedx.validation.json", reason="cyclonedx-python-lib, which has the schema, is absent"
    )
    schema = pytest.importorskip("cyclonedx.schema")
    found = validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(
        (bundle / "sbom.cdx.json").read_text()
    )
    assert found is None
