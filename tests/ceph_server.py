"""A real S3 server for a module of tests: Ceph's, from Debian's packages."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "infra" / "s3" / "ceph.sh"
PROGRAMS = ("radosgw", "ceph-osd", "ceph-mon", "bash")
PORTS = 24
"""How many the server's processes want in a row."""


@dataclass(frozen=True)
class Ceph:
    """A running server: what its users need in their environment, and its switches."""

    folder: Path
    environment: dict[str, str]

    def script(self, command: str) -> str:
        """What the script prints; it ends within a minute or fails the test."""
        ran = subprocess.run(
            ["bash", str(SCRIPT), command, str(self.folder)],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """A server of this module's own; the tests are skipped where Ceph is not installed."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(
            f"no {', '.join(missing)}: apt-get install --no-install-recommends ceph-mon ceph-osd "
            "radosgw"
        )
    port = _free_ports()
    server = Ceph(
        tmp_path_factory.mktemp("ceph") / "server",
        {"PORT": str(port), "BASE": str(port + 1), "SIZE": "2G"},
    )
    try:
        printed = server.script("start")
        words = (word for line in printed.splitlines() for word in line.split()[1:])
        yield Ceph(server.folder, server.environment | dict(word.split("=", 1) for word in words))
    finally:
        server.script("stop")


def use(ceph: Ceph, patch: pytest.MonkeyPatch) -> None:
    """Make this process a user of the server, and of no other configuration on the machine."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "SLIPWAY_S3_ENDPOINT_URL"):
        patch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        patch.setenv(name, "/nonexistent")
    for name, value in ceph.environment.items():
        if name not in {"PORT", "BASE", "SIZE"}:
            patch.setenv(name, value)


def _free_ports() -> int:
    """The first of a row of ports that nobody listens on, below those that the system hands out."""
    for first in range(20_000 + os.getpid() % 400 * PORTS, 32_000, PORTS):
        with_ports = [socket.socket() for _ in range(PORTS)]
        try:
            for offset, opened in enumerate(with_ports):
                opened.bind(("127.0.0.1", first + offset))
        except OSError:
            continue
        else:
            return first
        finally:
            for opened in with_ports:
                opened.close()
    pytest.skip("no row of free ports")
