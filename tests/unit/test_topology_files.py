"""compose.yaml and the Kubernetes manifests hold to their schemas, and to our own rules."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml

from deployments.pools import TEMPLATES

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "infra/compose.yaml"
KUBERNETES = ROOT / "infra/kubernetes"
VERSIONS = ("1.31", "1.34")
"""Kubernetes's, oldest and newest that the manifests are for."""


def compose() -> dict[str, Any]:
    """The file as Compose reads it: anchors resolved, variables at their defaults."""
    text = re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text(encoding="utf-8"))
    return dict(yaml.safe_load(text))


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the manifests, by file and name."""
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for found in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if found["kind"] != "Kustomization":
                yield f"{path.name}: {found['kind']} {found['metadata']['name']}", found


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods that the manifests make."""
    for name, found in manifests():
        if "template" in found.get("spec", {}):
            yield name, found["spec"]["template"]["spec"]


def test_compose_holds_to_the_specification() -> None:
    # The anchors are YAML's; what they leave is what Compose reads.
    compose_spec.PyCompose.from_json(json.dumps(compose())).validate()


def test_a_mistake_in_compose_is_found() -> None:
    wrong = compose()
    wrong["services"]["prefect"]["helthcheck"] = {"disable": True}
    with pytest.raises(Exception, match="helthcheck"):
        compose_spec.PyCompose.from_json(json.dumps(wrong)).validate()


def test_compose_binds_to_this_machine_alone() -> None:
    for name, service in compose()["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_compose_keeps_every_password_in_a_file() -> None:
    found = compose()
    for name, secret in found["secrets"].items():
        assert set(secret) == {"file"}, name
    for name, service in found["services"].items():
        assert set(service.get("secrets", [])) <= set(found["secrets"]), name
        for variable in service.get("environment", {}):
            is_file = variable.endswith("_FILE")
            assert is_file or not any(word in variable for word in ("PASSWORD", "SECRET")), variable


def test_the_passwords_of_compose_are_those_that_the_script_makes(tmp_path: Path) -> None:
    made = tmp_path / "secrets"
    subprocess.run(["sh", str(ROOT / "infra/secrets.sh"), str(made)], check=True)
    before = {path.name: path.read_text() for path in made.iterdir()}
    assert set(before) == {Path(one["file"]).name for one in compose()["secrets"].values()}
    assert len(set(before.values())) == len(before)
    assert made.stat().st_mode & 0o077 == 0
    subprocess.run(["sh", str(ROOT / "infra/secrets.sh"), str(made)], check=True)
    assert {path.name: path.read_text() for path in made.iterdir()} == before


def test_services_of_compose_drop_what_they_do_not_need() -> None:
    for name, service in compose()["services"].items():
        if str(service["image"]).startswith("slipway-"):
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_holds_to_the_schema(version: str) -> None:
    names = []
    for name, found in manifests():
        kubernetes_validate.validate(found, version, strict=True)
        names.append(name)
    assert len(names) > 10


def test_a_mistake_in_a_manifest_is_found() -> None:
    _, wrong = next(iter(manifests()))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**wrong, "spek": {}}, VERSIONS[0], strict=True)


def test_no_pod_runs_as_root_or_writes_to_its_image() -> None:
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name


def test_selectors_find_their_pods() -> None:
    found = [one for _, one in manifests()]
    labels = {
        one["spec"]["template"]["metadata"]["labels"]["app"]
        for one in found
        if "template" in one.get("spec", {})
    }
    for one in found:
        if one["kind"] == "Service":
            assert one["spec"]["selector"]["app"] in labels
        if one["kind"] == "NetworkPolicy":
            assert one["spec"]["podSelector"]["matchLabels"]["app"] in labels
            for source in one["spec"]["ingress"][0]["from"]:
                assert source["podSelector"]["matchLabels"]["app"] in labels


def test_compose_and_kubernetes_tell_a_prefect_server_the_same() -> None:
    _, pod = next((name, pod) for name, pod in pods() if name.endswith("Deployment prefect"))
    there = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    here = compose()["services"]["prefect"]["environment"]
    assert there == {name: here[name] for name in there}


def test_kustomize_builds_the_whole() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl")
    built = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=True
    )
    found = list(yaml.safe_load_all(built.stdout))
    for one in found:
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
    assert {one["metadata"].get("namespace", "slipway") for one in found} == {"slipway"}


def test_a_job_of_a_pool_and_the_manifests_share_account_and_secret() -> None:
    properties = json.loads((TEMPLATES / "kubernetes.json").read_text())["variables"]["properties"]
    accounts = [
        one["metadata"]["name"] for _, one in manifests() if one["kind"] == "ServiceAccount"
    ]
    assert properties["service_account_name"]["default"] in accounts
    secrets = {
        volume["secret"]["secretName"]
        for _, pod in pods()
        for volume in pod["volumes"]
        if "secret" in volume
    }
    assert secrets == {properties["secret"]["default"]}


def test_a_container_is_given_the_same_few_passwords_in_both() -> None:
    services = compose()["services"]
    alike = {"prefect-migrate": "migrate", "slipway-deploy": "deploy", "worker-cpu": "worker"}
    seen = set()
    for name, pod in pods():
        app = name.split()[-1]
        given = {
            item["key"]
            for volume in pod["volumes"]
            for item in volume.get("secret", {}).get("items", [])
        }
        assert given == set(services[alike.get(app, app)]["secrets"]), name
        seen.add(app)
    assert len(seen) == 10
