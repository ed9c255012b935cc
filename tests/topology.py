"""`make up` and `make down` in a folder and on ports of the tests' own."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.topology.programs import sweep
from infra.topology.site import PORTS, Site, open_site

ROOT = Path(__file__).parents[1]
S3_PORTS = 21


def topology(
    folder: Path, *arguments: str, ports: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command that make runs."""
    return subprocess.run(
        [sys.executable, "-m", "infra.topology", "--folder", str(folder), *arguments],
        cwd=ROOT,
        env={**os.environ, "SLIPWAY_PORTS": ports, **environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@contextmanager
def folder_for_one() -> Iterator[Path]:
    """A folder that the users of Postgres and Redis may enter, which pytest's own is not.

    What runs there ends with the block.
    """
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="slipway-up-") as made:
        Path(made).chmod(0o755)
        path = Path(made) / "topology"
        yield path
        if path.exists():
            topology(path, "down", "--drain", "0")
            sweep(path)


def bring_up(folder: Path) -> Site:
    """The topology of a folder, with every part that is installed here."""
    ran = topology(folder, "up", ports=free_ports())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{folder}/secrets/prefect" in ran.stdout
    return open_site(folder)


def free_ports() -> str:
    """A port for every service, none of them those that the system hands out to clients."""
    first = next(
        first
        for first in range(12_000 + os.getpid() % 200 * 40, 32_000, 40)
        if all(_is_free(port) for port in range(first, first + 40))
    )
    named = {name: first + S3_PORTS + number for number, name in enumerate(PORTS)}
    return ",".join(f"{name}={port}" for name, port in (named | {"s3-internal": first}).items())


def _is_free(port: int) -> bool:
    with socket.socket() as opened:
        try:
            opened.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
