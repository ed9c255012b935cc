"""Where one topology lives: its folder, its ports, its secrets, and what it is made of.

All of it is decided at the first start and kept in the folder, so that the next start finds the
same data behind the same doors.
"""

import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from infra.topology.failures import TopologyError

ROOT: Final = Path(__file__).resolve().parents[2]
PLAN: Final = "plan.json"
HOST: Final = "127.0.0.1"
ADMIN: Final = "admin"
PORTS: Final = {
    "prefect": 4200,
    "mlflow": 5000,
    "postgres": 5442,
    "redis": 6389,
    "s3": 9301,
    "s3-internal": 9310,  # and the twenty after it
}
OPTIONAL: Final = {
    "postgres": ("postgres", "initdb"),
    "redis": ("redis-server",),
    "s3": ("radosgw", "radosgw-admin", "ceph-osd", "ceph-mon", "monmaptool"),
}
"""Parts that are there where their programs are installed."""


@dataclass(frozen=True)
class Plan:
    """What a topology is made of."""

    parts: tuple[str, ...]
    ports: dict[str, int] = field(default_factory=lambda: dict(PORTS))

    def has(self, part: str) -> bool:
        """Whether one of the optional parts is in it."""
        return part in self.parts


@dataclass(frozen=True)
class Site:
    """A topology's folder on this machine."""

    folder: Path
    plan: Plan

    @property
    def home(self) -> Path:
        """SLIPWAY_HOME of the worker."""
        return self.folder.parent

    def port(self, name: str) -> int:
        """The port that a service listens on."""
        return self.plan.ports[name]

    def url(self, name: str) -> str:
        """The address of a service that speaks HTTP."""
        return f"http://{HOST}:{self.port(name)}"

    def data(self, name: str) -> Path:
        """The folder of what a service must not lose."""
        folder = self.folder / "data" / name
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def secret(self, name: str) -> str:
        """A password of this topology, made at its first use and kept in a file of mode 0600."""
        path = self.secret_file(name)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text(encoding="ascii").strip()
        with os.fdopen(handle, "w", encoding="ascii") as file:
            made = secrets.token_urlsafe(24)
            file.write(made + "\n")
        return made

    def secret_file(self, name: str) -> Path:
        """Where a password is kept."""
        return self.folder / "secrets" / name


def make_site(folder: Path, *, without: frozenset[str] = frozenset()) -> Site:
    """The topology of a folder; planned now if there is none.

    Args:
        folder: Its folder.
        without: Optional parts to leave out of a new one.

    Raises:
        TopologyError: when it was planned with a part whose programs are gone.
    """
    path = folder / PLAN
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        plan = asdict(_planned(without))
        path.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
    folder.chmod(0o711)  # Postgres's user passes through on the way to its data
    for name in ("log", "run", "secrets"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    return open_site(folder)


def open_site(folder: Path) -> Site:
    """The topology that is in a folder.

    Raises:
        TopologyError: when there is none, or one with a part whose programs are gone.
    """
    try:
        known = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TopologyError(f"there is no topology in {folder}: make up makes one") from error
    plan = Plan(tuple(known["parts"]), known["ports"])
    for part in plan.parts:
        if gone := missing(part):
            raise TopologyError(
                f"{folder} keeps its data in {part}, and {', '.join(gone)} cannot be found: "
                f"install it again, or move {folder} away to start anew"
            )
    return Site(folder, plan)


def missing(part: str) -> list[str]:
    """Programs of an optional part that are not installed."""
    return [name for name in OPTIONAL[part] if find_program(name) is None]


def find_program(name: str) -> str | None:
    """A program on the PATH, or where Debian keeps the programs of Postgres (newest first)."""
    if found := shutil.which(name):
        return found
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest = sorted(versions, key=lambda path: int(path.parts[-3]), reverse=True)
    return str(newest[0]) if newest else None


def _planned(without: frozenset[str]) -> Plan:
    parts = tuple(part for part in OPTIONAL if part not in without and not missing(part))
    return Plan(parts, PORTS | _asked_ports(os.environ.get("SLIPWAY_PORTS", "")))


def _asked_ports(text: str) -> dict[str, int]:
    """The ports in a text such as `prefect=4300,mlflow=5100`."""
    asked = {}
    for item in filter(None, text.split(",")):
        name, _, port = item.partition("=")
        if name not in PORTS or not port.isdecimal():
            raise TopologyError(
                f"SLIPWAY_PORTS={text}: expected NAME=PORT,... of {', '.join(PORTS)}"
            )
        asked[name] = int(port)
    return asked
