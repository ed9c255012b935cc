"""Workspaces go with their stage, also where its process could not clean up."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from slipway.specs import ReleaseSpec
from slipway.stages.exporting import export_to_folder
from slipway.stages.workspace import PREFIX, SETTLED_S, Workspace
from slipway.stores.trees import put_tree
from tests.models.onnx import save_external, trained_net


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    return folder


def age(folder: Path) -> None:
    past = time.time() - 2 * SETTLED_S
    os.utime(folder, (past, past))


def test_a_workspace_is_gone_afterwards(temporary: Path) -> None:
    with Workspace() as work:
        (work.scratch / "model.onnx").write_bytes(b"x")
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []


def test_a_workspace_is_gone_after_a_failure(temporary: Path) -> None:
    with pytest.raises(RuntimeError), Workspace():
        raise RuntimeError
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["scratch", ".tmp", "given-2", "factory.py", "golden-inputs"])
def test_a_source_may_be_called_like_anything_in_the_workspace(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "weights").write_bytes(b"mine")
    with Workspace() as work:
        ref = put_tree(work.store, folder)
        first, second = work.fetch(ref, name), work.fetch(ref, name)
        assert {path.name for path in (first, second)} == {name}
        assert (first / "weights").read_bytes() == b"mine"
        assert work.scratch not in {first, second}
        assert list(work.scratch.iterdir()) == []


KILLED = """
import os, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from slipway.specs import ReleaseSpec
from slipway.stages.exporting import export_to_folder
from slipway.stages.workspace import Workspace
with Workspace() as work:
    (work.scratch / "model.onnx").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(temporary: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(temporary)], check=False)
    (left,) = temporary.iterdir()
    assert (left / "scratch/model.onnx").exists()
    age(left)
    with Workspace():
        assert not left.exists()


def test_the_workspace_of_a_long_stage_stays(temporary: Path) -> None:
    with Workspace() as long:
        (own,) = temporary.iterdir()
        age(own)
        with Workspace():
            assert long.scratch.exists()
    assert list(temporary.iterdir()) == []


def test_a_workspace_that_was_just_made_stays(temporary: Path) -> None:
    young = temporary / f"{PREFIX}young"
    young.mkdir()
    with Workspace():
        assert young.exists()


def test_other_folders_and_links_stay(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (temporary / "slipway-notes").mkdir()
    (temporary / f"{PREFIX}link").symlink_to(tmp_path / "mine")
    age(temporary / "slipway-notes")
    age(tmp_path / "mine")
    with Workspace():
        pass
    assert {p.name for p in temporary.iterdir()} == {"slipway-notes", f"{PREFIX}link"}
    assert (tmp_path / "mine").exists()


def test_a_source_folder_called_scratch_is_exported(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    save_external(trained_net(), folder)
    spec = ReleaseSpec.from_mapping(
        {"name": "net", "source": {"framework": "onnx", "uri": str(folder)}}
    )
    report = export_to_folder(spec, tmp_path / "out")
    assert report.passed
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"model.onnx", "golden.npz"}
