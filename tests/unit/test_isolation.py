"""A child process that crashes, hangs, flees or reaches out is stopped; this process goes on."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slipway.errors import (
    ChildCrashed,
    ChildFailed,
    ChildOutOfMemory,
    ChildTimedOut,
    EnvironmentMissing,
)
from slipway.isolation.probes import Action, ProbeAnswer, ProbeRequest
from slipway.isolation.runner import Limits, run_isolated
from slipway.isolation.sandbox import landlock_abi

needs_landlock = pytest.mark.skipif(landlock_abi() == 0, reason="this kernel has no Landlock")


@pytest.fixture(params=["fresh", "forked"], autouse=True)
def preload(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every promise holds for children started fresh and for those forked from the nursery."""
    monkeypatch.setattr(
        f"{__name__}.PRELOAD", () if request.param == "fresh" else ("slipway.isolation.probes",)
    )


PRELOAD: tuple[str, ...] = ()


def probe(
    folder: Path, action: Action, target: str = "", *, limits: Limits | None = None
) -> ProbeAnswer:
    scratch = folder / "job" / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    return run_isolated(
        "slipway.isolation.probes:attempt",
        ProbeRequest(action=action, target=target),
        returns=ProbeAnswer,
        scratch=scratch,
        what=f"the {action} probe",
        limits=limits,
        preload=PRELOAD,
    )


def test_an_answer_comes_back_as_its_type(tmp_path: Path) -> None:
    assert probe(tmp_path, "answer", "grüße").detail == "grüße"


def test_a_segfault_is_an_error_with_the_last_output(tmp_path: Path) -> None:
    with pytest.raises(ChildCrashed, match=r"SIGSEGV[\s\S]*about to crash"):
        probe(tmp_path, "crash")


def test_an_exit_without_an_answer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ChildCrashed, match="status 3"):
        probe(tmp_path, "exit", "3")


def test_a_hang_in_native_code_is_killed_in_time(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ChildTimedOut, match=r"limit of 1 s"):
        probe(tmp_path, "hang", limits=Limits(timeout_s=1))
    assert time.monotonic() - started < 5


def test_memory_beyond_the_limit_is_an_error_that_names_the_limit(tmp_path: Path) -> None:
    with pytest.raises(ChildOutOfMemory, match=r"limit of 0\.2 GiB"):
        probe(tmp_path, "allocate", str(1 << 30), limits=Limits(memory_bytes=256 << 20))


def test_memory_within_the_limit_is_granted(tmp_path: Path) -> None:
    size = 64 << 20
    assert probe(tmp_path, "allocate", str(size), limits=Limits(memory_bytes=1 << 30)).done


def test_no_secret_of_this_environment_is_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    assert probe(tmp_path, "environment", "AWS_SECRET_ACCESS_KEY").detail == ""


def test_a_process_that_fled_to_another_session_ends_too(tmp_path: Path) -> None:
    mark = f"fled-{os.getpid()}"
    probe(tmp_path, "flee", mark)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        listed = subprocess.run(["ps", "axo", "args"], capture_output=True, check=True, text=True)
        if mark not in listed.stdout:
            return
        time.sleep(0.05)
    pytest.fail("the process is still running")


def test_scratch_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / "job" / "scratch" / "made"
    assert probe(tmp_path, "write", str(target)).done
    assert target.is_file()


@needs_landlock
def test_nothing_outside_scratch_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / "outside"
    assert not probe(tmp_path, "write", str(target)).done
    assert not target.exists()


@needs_landlock
@pytest.mark.parametrize("path", ["{tmp}/secret", "/etc/shadow", "/proc/{pid}/environ"])
def test_files_that_are_no_input_cannot_be_read(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("hunter2")
    answer = probe(tmp_path, "read", path.format(tmp=tmp_path, pid=os.getpid()))
    assert not answer.done, answer.detail


def test_the_network_cannot_be_reached(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = probe(tmp_path, "connect", f"127.0.0.1:{port}")
    assert not answer.done, answer.detail


def test_an_interpreter_that_is_not_there_is_a_missing_environment(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMissing, match="/no/such/python"):
        run_isolated(
            "slipway.isolation.probes:attempt",
            ProbeRequest(action="answer"),
            returns=ProbeAnswer,
            scratch=tmp_path,
            what="a probe",
            python="/no/such/python",
        )


def test_an_unforeseen_exception_keeps_its_text(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match=r"a probe failed: ValueError: invalid literal"):
        probe_with_words(tmp_path)


def probe_with_words(folder: Path) -> ProbeAnswer:
    return run_isolated(
        "slipway.isolation.probes:attempt",
        ProbeRequest(action="exit", target="words"),
        returns=ProbeAnswer,
        scratch=folder,
        what="a probe",
        preload=PRELOAD,
    )


def test_many_threads_share_one_nursery(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: probe(tmp_path / str(n), "answer", str(n)).detail, range(24))
        )
    assert answers == [str(n) for n in range(24)]


def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "import test_isolation as tests\n"
        f"tests.PRELOAD = {PRELOAD!r}\n"
        "tests.probe(Path(sys.argv[1]), 'hang')\n"
    )
    here = str(Path(__file__).parent)
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), here])
    scratch = str(tmp_path / "job" / "scratch")
    wait_until(lambda: any(scratch in where for where in working_folders()))
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(scratch in where for where in working_folders()))


def working_folders() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            found.append(str((entry / "cwd").readlink()))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not come about in 20 s")
