"""One benchmark at a time per device, among processes that share nothing but the machine."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from slipway.errors import Transient
from slipway.stages.devices import device_lock

HOLDER = """
import sys, time
from slipway.stages.devices import device_lock
with device_lock("slipway host cpu", patience_s=60):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_a_device_that_another_process_keeps_is_waited_for_and_free_when_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(Transient, match="other benchmarks kept it"),
            device_lock("slipway host cpu", patience_s=0.3),
        ):
            raise AssertionError("the device was given twice")
        with device_lock("slipway host cuda-0", patience_s=0.3):
            pass  # another device is free
        holder.kill()
    started = time.monotonic()
    with device_lock("slipway host cpu", patience_s=60):
        assert time.monotonic() - started < 30
