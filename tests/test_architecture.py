"""The house: what stands at the top, which way imports go, and names that shadow nothing."""

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP_LEVEL = {
    *("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile"),
    *("flows", "tasks", "slipway", "deployments", "docker", "infra", "tests", "examples"),
    "benchmarks",
}


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def test_the_top_level_is_the_house_and_dotfiles() -> None:
    top = {path.partition("/")[0] for path in tracked()}
    assert {name for name in top if not name.startswith(".")} == TOP_LEVEL


def test_imports_go_down_only() -> None:
    ran = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_flow_and_task_files_shadow_nothing_installed() -> None:
    # A flow file started by path puts its folder first on sys.path, for good.
    installed = set(importlib.metadata.packages_distributions()) | set(sys.stdlib_module_names)
    ours = {
        path.stem
        for folder in ("flows", "tasks")
        for path in (ROOT / folder).glob("*.py")
        if path.stem != "__init__"
    }
    assert ours
    assert ours & installed == set()


def test_docker_is_no_package() -> None:
    assert not list((ROOT / "docker").rglob("__init__.py"))


def test_the_wheel_holds_the_core_alone(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {
        "slipway",
        f"slipway-{importlib.metadata.version('slipway')}.dist-info",
    }
    assert "slipway/py.typed" in names
    assert "slipway/reporting/report.html.j2" in names


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['slipway', '--help']\n"
        "from slipway.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'prefect', 'mlflow', 'onnx', 'onnxruntime', 'numpy', 'sklearn'}\n"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Take a trained model" in ran.stdout
    assert ran.stderr == ""


def test_the_core_imports_without_an_orchestrator_or_a_framework() -> None:
    code = (
        "import sys, pkgutil, importlib, slipway\n"
        "for found in pkgutil.walk_packages(slipway.__path__, 'slipway.'):\n"
        "    if found.name.startswith('slipway.exporters.') and found.name.count('.') == 2:\n"
        "        continue\n"
        "    importlib.import_module(found.name)\n"
        "heavy = {'torch', 'prefect', 'mlflow', 'sklearn', 'skl2onnx'}\n"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
