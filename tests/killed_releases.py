"""A bundle stored and registered in processes that kill themselves on the way; run as a program.

    python tests/killed_releases.py BUNDLE HOME count NAME       how many effects a clean run has
    python tests/killed_releases.py BUNDLE HOME kill FIRST STEP  killed at every STEP-th effect
    python tests/killed_releases.py BUNDLE HOME meet OTHER       several at once, of both bundles

An effect is what outlives the process: a file that is opened for writing, made, renamed or removed,
a request that is sent, a transaction that is committed. A process is killed (SIGKILL, by itself)
just before its nth effect, which is also just after the one before. Then the same is run again, to
its end. One line of JSON tells what was there after each. MLflow is imported once, before the
processes are forked off.
"""

import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[1]))

import mlflow
import sqlalchemy

from slipway.artifacts import BUNDLE_MEDIA_TYPE
from slipway.packaging.manifest import bundle_tree, read_manifest
from slipway.packaging.verify import verify_bundle
from slipway.registries import open_registry
from slipway.registries.mlflow_client import open_client
from slipway.reports import RegisteredVersion, SealedBundle
from slipway.settings import Settings
from slipway.stages.registering import register_bundle
from slipway.stages.releasing import unpack_bundle
from slipway.stores import open_store
from slipway.stores.trees import fetch, put_tree
from tests.contracts.registry_contract import registration_of

ALIAS = "challenger"
_FILE_EVENTS = frozenset({"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link"})


def store_and_register(bundle: Path, name: str = "table") -> RegisteredVersion:
    """The end of a release: from the first byte in the store to the alias."""
    store = open_store(Settings().store_uri)
    ref = put_tree(store, bundle, media_type=BUNDLE_MEDIA_TYPE, tree=bundle_tree(bundle))
    sealed = SealedBundle(digest=read_manifest(bundle).digest, ref=ref)
    there = registration_of(Path(unpack_bundle(sealed).path))
    return register_bundle(
        there.model_copy(update={"name": name, "bundle_uri": ref.uri}), settings=Settings()
    )


def watch_effects(home: Path, seen: Callable[[], None]) -> None:
    """Call `seen` before every effect of this process; there is no way back."""

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event == "http.client.send":
            seen()
        elif event == "open":
            path, _, flags = args
            if isinstance(path, str | bytes | os.PathLike) and flags & (os.O_WRONLY | os.O_RDWR):
                _if_inside(path)
        elif event in _FILE_EVENTS:
            _if_inside(args[0])

    def _if_inside(path: Any) -> None:
        if isinstance(path, str | os.PathLike) and str(path).startswith(str(home)):
            seen()

    sys.addaudithook(audit)
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "commit", lambda _: seen())


def run(bundle: Path, home: Path, kill_at: int | None, name: str = "table") -> tuple[int, int]:
    """Fork a process that stores and registers; its exit status, and its effects until then."""
    return run_until(home, kill_at, lambda: store_and_register(bundle, name))


def run_until(home: Path, kill_at: int | None, act: Callable[[], object]) -> tuple[int, int]:
    """Fork a process that acts until its nth effect; its exit status, and its effects."""
    counted = home / "effects"
    pid = os.fork()
    if pid == 0:
        log = os.open(counted, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        watch_effects(home, Counter(log, kill_at).see)
        _do(act)
    _, status = os.waitpid(pid, 0)
    effects = len(counted.read_bytes()) if counted.exists() else 0
    counted.unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(status), effects


class Counter:
    """Writes a byte for each effect, and kills this process before one of them."""

    def __init__(self, log: int, kill_at: int | None) -> None:
        self._log, self._kill_at = log, kill_at
        self._seen = 0

    def see(self) -> None:
        self._seen += 1
        if self._seen == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(self._log, b".")


def _do(act: Callable[[], object]) -> NoReturn:
    """Act and leave this process, without anything that the parent has to do at its end."""
    try:
        act()
    except BaseException:  # noqa: BLE001 - the parent reads the status
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def state(home: Path, name: str = "table") -> dict[str, Any]:
    """The versions, where the alias points, and what is wrong with what a reader downloads."""
    registry = open_registry(Settings().registry_uri)
    versions = registry.versions(name)
    wrong = [problem for version in versions for problem in _wrong(version, home)]
    aliased = [version.version for version in versions if version.alias == ALIAS]
    return {
        "versions": [version.version for version in versions],
        "digests": [version.bundle_digest for version in versions],
        "alias": aliased,
        "wrong": wrong,
    }


def _wrong(version: RegisteredVersion, home: Path) -> list[str]:
    """Download a version in both ways, from MLflow and from the store, and verify it."""
    found = []
    with tempfile.TemporaryDirectory(dir=home) as name:
        mlflow.set_tracking_uri(Settings().registry_uri)
        address = f"models:/{version.name}/{version.version}"
        (Path(name) / "mlflow").mkdir()
        there = mlflow.artifacts.download_artifacts(address, dst_path=f"{name}/mlflow")
        found.append(verify_bundle(Path(there), digest=version.bundle_digest))
        about = open_registry(Settings().registry_uri).about(version.name, version.version)
        store = open_store(Settings().store_uri)
        digest = f"sha256:{about.tags['bundle_uri'].rpartition('/')[2]}"
        tree = SealedBundle.model_validate(
            {
                "digest": version.bundle_digest,
                "ref": {
                    "uri": "",
                    "digest": digest,
                    "size_bytes": 0,
                    "media_type": BUNDLE_MEDIA_TYPE,
                },
            }
        )
        out = fetch(store, tree.ref, Path(name) / "fetched")
        found.append(verify_bundle(out, digest=version.bundle_digest))
    return [finding.message for report in found for finding in report.findings]


def _forget(home: Path) -> None:
    """Begin anew: a home that nothing was made in, but whose database has its tables."""
    for path in home.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "template.db":
            path.unlink()
    if (home / "template.db").exists():
        shutil.copyfile(home / "template.db", home / "mlflow.db")


def prepare(home: Path) -> None:
    """Make MLflow's tables once, where its database is a file: that takes a second."""
    if "sqlite" not in Settings().registry_uri:
        return
    (home / "template.db").unlink(missing_ok=True)
    _forget(home)
    in_child(lambda: bool(open_client(Settings().registry_uri, home / "mlflow.db")))
    with (
        closing(sqlite3.connect(home / "mlflow.db")) as made,
        closing(sqlite3.connect(home / "template.db")) as template,
    ):
        made.backup(template)
    _forget(home)


def in_child(act: Callable[[], object]) -> Any:
    """What a function gives in a process of its own, so that no connection is shared by a fork."""
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        with os.fdopen(reader) as answer:
            text = answer.read()
        os.waitpid(pid, 0)
        return json.loads(text)
    os.close(reader)
    _do(lambda: os.write(writer, json.dumps(act()).encode()))


def kill_at_every(bundle: Path, home: Path, first: int, step: int) -> None:
    """Kill, look, run again, look; until a run ends before it would have been killed."""
    kill_at, place = first, Settings().store_uri
    while True:
        _forget(home)
        name = "table"
        if "sqlite" not in Settings().registry_uri:  # nothing is forgotten there
            name = f"table-{kill_at}"
            os.environ["SLIPWAY_STORE"] = f"{place}/{name}"
        status, _ = run(bundle, home, kill_at, name)
        killed = in_child(lambda: state(home, name))  # noqa: B023 - called at once
        again, _ = run(bundle, home, None, name)
        ended = in_child(lambda: state(home, name))  # noqa: B023
        tell({"at": kill_at, "status": status, "killed": killed, "again": again, "ended": ended})
        if status == 0:
            return
        kill_at += step


def meet(bundles: list[Path], home: Path) -> None:
    """Release several at once; what there is in the end."""
    pids = []
    for bundle in bundles:
        if pid := os.fork():
            pids.append(pid)
        else:
            _do(lambda: store_and_register(bundle))  # noqa: B023 - the loop ends here
    ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    tell({"ends": ends, "state": in_child(lambda: state(home))})


def tell(found: object) -> None:
    """Print a line of JSON."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def main() -> None:
    """As the module's description says."""
    bundle, home, what, *rest = sys.argv[1:]
    prepare(Path(home))
    if what == "count":
        tell(run(Path(bundle), Path(home), None, rest[0]))
    elif what == "kill":
        kill_at_every(Path(bundle), Path(home), *map(int, rest))
    else:
        meet([Path(bundle), *map(Path, rest)], Path(home))


if __name__ == "__main__":
    main()
