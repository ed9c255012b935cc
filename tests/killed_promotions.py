"""Promotions in processes that kill themselves on the way; run as a program.

    python tests/killed_promotions.py TEMPLATE HOME prepare      release two versions into TEMPLATE
    python tests/killed_promotions.py TEMPLATE HOME again|repair NAME N [N]...

Each process promotes version 2 of `table`, whose champion is version 1, as NAME, in a copy of
TEMPLATE; under another name than `table`, the version is copied to it. It is killed (SIGKILL, by
itself) just before its nth effect, as `killed_releases.py` counts them, N counted from the end of a
clean run. Then it is looked at; then the same is asked again, or the registry is repaired by the
log; and it is looked at once more. One line of JSON each.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from slipway.packaging.stored import StoredBundle
from slipway.promotion.log import read_log
from slipway.registries import open_registry
from slipway.settings import Settings
from slipway.specs import PromotionRequest
from slipway.stages.histories import history
from slipway.stages.promoting import move, weigh
from slipway.stores import open_store
from tests.killed_releases import in_child, run_until, tell
from tests.promotion_cases import evidence, release

ALIAS = "champion"


def promote(version: int, name: str = "table") -> bool:
    """As the command does, without Prefect."""
    to = {"name": name} if name != "table" else None
    request = {"name": "table", "version": version, "by": "anna", "to": to}
    return move(weigh(PromotionRequest.model_validate(request))).moved


def prepare() -> bool:
    """Two versions, the first of them the champion."""
    settings = Settings()
    store, registry = open_store(settings.store_uri), open_registry(settings.registry_uri)
    release(store, registry, settings.root / "1")
    release(store, registry, settings.root / "2", evidence(metric=0.991))
    return promote(1)


def state(name: str) -> dict[str, Any]:
    """What the log says, what the registry says, and what is wrong with the versions."""
    settings = Settings()
    store, registry = open_store(settings.store_uri), open_registry(settings.registry_uri)
    for version in registry.versions(name):
        StoredBundle.of(store, version).verify()
    return {
        "log": [record.to_version for record in read_log(store, name, ALIAS)],
        "alias": registry.aliases(name).get(ALIAS),
        "versions": [version.version for version in registry.versions(name)],
        "tags": [
            registry.about(name, version.version).tags.get(f"promotion.{ALIAS}", "")[:2]
            for version in registry.versions(name)
        ],
        "drift": [told.drift is not None for told in history(name, alias=ALIAS).aliases]
        if registry.versions(name)
        else [],
    }


def run(template: Path, home: Path, name: str, kill_at: int | None) -> tuple[int, int]:
    """Promote in a fresh copy; the process's exit status, and how many effects it had."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(template, home)
    return run_until(home, kill_at, lambda: promote(2, name))


def main() -> None:
    """As the module's description says."""
    template, home = map(Path, sys.argv[1:3])
    what, *rest = sys.argv[3:]
    if what == "prepare":
        tell(in_child(prepare))
        home.rename(template)
        return
    name, *places = rest
    status, effects = run(template, home, name, None)
    assert status == 0, status
    for place in places:
        status, _ = run(template, home, name, effects - int(place))
        killed = in_child(lambda: state(name))
        if what == "repair":
            in_child(lambda: history(name, repair=True).passed)
        else:
            again, _ = run_until(home, None, lambda: promote(2, name))
            assert again == 0, again
        ended = in_child(lambda: state(name))
        tell({"at": place, "status": status, "killed": killed, "ended": ended})


if __name__ == "__main__":
    main()
