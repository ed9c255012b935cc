"""A framework in an environment of its own: a second one, really made, that lacks the others."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.cli.doctor import _interpreters
from slipway.errors import EnvironmentMissing, RequestError
from slipway.isolation.interpreters import examine, requirements
from slipway.isolation.probes import Action, ProbeAnswer, ProbeRequest
from slipway.isolation.runner import run_isolated
from slipway.isolation.sandbox import landlock_abi
from slipway.reports import ExportReport
from slipway.settings import Settings
from slipway.specs import ReleaseSpec
from slipway.stages.interpreters import interpreter_for
from slipway.stages.making import export_model, fetch_materials
from tests.guest_environment import CORE, SKLEARN, install, make

VARIABLE = "SLIPWAY_PYTHON_SKLEARN"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with what every exporter needs, and no framework."""
    return make(tmp_path_factory.mktemp("core") / "venv", CORE)


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with scikit-learn and its converter, and no other framework."""
    pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    return make(tmp_path_factory.mktemp("guest") / "venv", (*CORE, *SKLEARN))


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseSpec:
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    x = np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)
    skops.dump(LogisticRegression().fit(x, (x[:, 0] > 0).astype(int)), tmp_path / "m.skops")
    source = {"framework": "sklearn", "uri": str(tmp_path / "m.skops")}
    return ReleaseSpec.from_mapping({"name": "tiny", "source": source})


def export(spec: ReleaseSpec) -> ExportReport:
    return export_model(spec, fetch_materials(spec).source)


def probe(python: Path, folder: Path, action: Action, target: str) -> ProbeAnswer:
    scratch = folder / "job" / "scratch"
    scratch.mkdir(parents=True)
    return run_isolated(
        "slipway.isolation.probes:attempt",
        ProbeRequest(action=action, target=target),
        returns=ProbeAnswer,
        scratch=scratch,
        what="the probe",
        python=str(python),
    )


@pytest.mark.slow
def test_the_exporter_runs_in_the_environment_that_is_named(
    guest: Path, spec: ReleaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = export(spec)
    monkeypatch.setenv(VARIABLE, str(guest))
    there = export(spec)
    assert there.model.digest == here.model.digest
    assert there.golden.digest == here.golden.digest

    # A version that only that environment has shows that it is the one that answers.
    name = next(guest.parents[1].glob("lib/*/site-packages/skl2onnx-*.dist-info"))
    metadata = name / "METADATA"
    text = metadata.read_text(encoding="utf-8")
    metadata.unlink()  # a hard link to the installed one
    current = next(line for line in text.splitlines() if line.startswith("Version: "))
    metadata.write_text(text.replace(current, "Version: 0.0.7", 1), encoding="utf-8")
    assert export(spec).tools["skl2onnx"] == "0.0.7"


@pytest.mark.slow
def test_another_framework_is_missing_there_and_the_way_out_is_named(
    guest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_PYTHON_PYTORCH", str(guest))
    (tmp_path / "m.pt2").write_bytes(b"never read")
    source = {"framework": "pytorch", "uri": str(tmp_path / "m.pt2")}
    with pytest.raises(EnvironmentMissing) as refused:
        export(ReleaseSpec.from_mapping({"name": "tiny", "source": source}))
    message = str(refused.value)
    assert "'torch'" in message
    assert "SLIPWAY_PYTHON_PYTORCH" in message
    wanted = " ".join(f"'{one}'" for one in requirements("pytorch").values())
    assert "'torch==" in wanted
    assert f"{guest} -m pip install {wanted}" in message


def test_an_environment_of_its_own_sees_nothing_of_this_one(core: Path, tmp_path: Path) -> None:
    found = examine(core, named_by=VARIABLE)
    names = ("numpy", "torch", "scikit-learn", "slipway", "onnxruntime")
    assert [found.versions([name])[name] == "absent" for name in names] == [False, *[True] * 4]
    assert probe(core, tmp_path, "answer", "here").detail == "here"


@pytest.mark.skipif(landlock_abi() == 0, reason="this kernel has no Landlock")
@pytest.mark.parametrize("action", ["read", "write"])
def test_a_child_of_another_environment_is_held_like_any_other(
    action: Action, core: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    assert not probe(core, tmp_path, action, str(secret)).done
    assert secret.read_text() == "secret"


def test_an_environment_without_the_core_says_what_to_install(tmp_path: Path) -> None:
    python = make(tmp_path / "venv", ("PyYAML",))
    with pytest.raises(EnvironmentMissing) as refused:
        probe(python, tmp_path, "answer", "")
    message = str(refused.value)
    assert "lacks pydantic, numpy, onnx, which every exporter needs" in message
    bounds = " ".join(f"'{requirements()[name]}'" for name in ("pydantic", "numpy", "onnx"))
    assert f"{python} -m pip install {bounds}" in message


def _missing(folder: Path) -> Path:
    return folder / "nowhere" / "python"


def _not_a_program(folder: Path) -> Path:
    (folder / "python").write_text("not a program")
    return folder / "python"


def _fails(folder: Path) -> Path:
    return _script(folder, "echo no library libfoo >&2; exit 3")


def _answers_nonsense(folder: Path) -> Path:
    return _script(folder, "echo hello")


def _script(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("breaking", "problem"),
    [
        (_missing, "No such file"),
        (_not_a_program, "Permission denied"),
        (_fails, "status 3 no library libfoo"),
        (_answers_nonsense, "does not answer as Python does"),
    ],
)
def test_a_broken_interpreter_is_refused_by_name(
    breaking: Callable[[Path], Path],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = breaking(tmp_path)
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(EnvironmentMissing, match=f"{VARIABLE}={path} is no Python.*{problem}"):
        interpreter_for("sklearn")
    (found,) = _interpreters()
    assert (found.ok, found.needed) == (False, True)
    assert str(path) in found.detail


def test_a_variable_that_names_no_framework_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_PYTHON_SKLERN", sys.executable)
    with pytest.raises(RequestError, match="did you mean SLIPWAY_PYTHON_SKLEARN"):
        interpreter_for("pytorch")
    (found,) = _interpreters()
    assert "SLIPWAY_PYTHON_SKLERN" in found.detail


def test_without_a_variable_the_current_environment_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert interpreter_for("sklearn") is None
    assert _interpreters() == []
    assert Settings().pythons == {}


def test_an_interpreter_is_asked_again_when_its_environment_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = make(tmp_path / "venv", ("PyYAML",))
    asked: list[str] = []
    real = subprocess.run

    def counted(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments[0][0])
        return real(*arguments, **options)

    monkeypatch.setattr("slipway.isolation.interpreters.subprocess.run", counted)
    first = examine(python, named_by=VARIABLE)
    assert examine(python, named_by=VARIABLE) is first
    assert len(asked) == 1
    install(next((tmp_path / "venv/lib").glob("*/site-packages")), "six")
    assert examine(python, named_by=VARIABLE).versions(["six"]) != {"six": "absent"}
    assert len(asked) == 2
    shutil.rmtree(tmp_path / "venv")
    with pytest.raises(EnvironmentMissing):
        examine(python, named_by=VARIABLE)


def test_the_doctor_lists_what_an_environment_has(
    core: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(core))
    (found,) = _interpreters()
    assert not found.ok
    assert str(core) in found.detail
    assert "scikit-learn absent" in found.detail
    assert f"numpy {np.__version__}" in found.detail


def test_requirements_are_those_of_the_package() -> None:
    assert "scikit-learn" in requirements("sklearn")
    assert "torch" not in requirements("sklearn")
    assert {"pydantic", "numpy", "onnx", "pyyaml"} <= requirements().keys()
    assert requirements("none") == {}


def test_the_cache_key_holds_the_versions_of_that_environment(
    core: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("prefect", reason="prefect is not installed")
    from tasks.stages import framework_tools

    assert framework_tools("sklearn")["scikit-learn"] != "absent"
    monkeypatch.setenv(VARIABLE, str(core))
    tools = framework_tools("sklearn")
    assert tools["scikit-learn"] == "absent"
    assert tools["numpy"] == np.__version__
