"""The work pools: which there are, how their jobs start, and which of their queues goes first."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

from deployments.changes import Change, settle

Kind = Literal["process", "docker", "kubernetes"]
TEMPLATES: Final = Path(__file__).parent / "pools"


@dataclass(frozen=True)
class Pool:
    """A work pool and its queues, by priority: 1 goes first."""

    name: str
    description: str
    queues: tuple[tuple[str, int], ...] = (("default", 1),)
    keeps_kind: bool = False
    """Whether its workers may be of another kind than the others', as a machine with a GPU is."""


def benchmark_pool(name: str) -> Pool:
    """The pool of the workers that measure on one provider."""
    return Pool(
        name,
        f"Benchmarks on one provider, each device for one at a time. A worker, on a machine that "
        f"has the provider: python -m deployments.worker {name}",
        keeps_kind=True,
    )


POOLS: Final = (
    Pool(
        "slipway",
        "Releases, promotions and what runs at night. Night work waits in its own queue, so that a "
        "person's release overtakes it.",
        queues=(("default", 1), ("night", 2)),
    ),
    benchmark_pool("slipway-openvino"),
    benchmark_pool("slipway-cuda"),
)


def find(name: str) -> Pool:
    """A pool of the table, or a new one for benchmarks."""
    return next((pool for pool in POOLS if pool.name == name), benchmark_pool(name))


def apply(
    client: SyncPrefectClient, kind: Kind, pools: Sequence[Pool] = POOLS
) -> dict[str, Change]:
    """Bring the server's pools to what is wanted.

    Args:
        client: The server.
        kind: What their workers start: processes, containers, or Kubernetes jobs.
        pools: Which; those of the table above if not given.

    Raises:
        ValueError: where a pool is there already and is of another kind.
    """
    changes = {}
    for pool in pools:
        changes[f"pool {pool.name}"] = _apply_pool(client, pool, kind)
        for name, priority in pool.queues:
            changes[f"queue {pool.name}/{name}"] = _apply_queue(client, pool, name, priority)
    return changes


def _apply_pool(client: SyncPrefectClient, pool: Pool, kind: Kind) -> Change:
    try:
        found = client.read_work_pool(pool.name).model_dump(mode="json")
    except ObjectNotFound:
        found = None
    if found is not None and pool.keeps_kind and found["type"] in get_args(Kind):
        kind = found["type"]
    if found is not None and found["type"] != kind:
        raise ValueError(
            f"the pool {pool.name} is there and of type {found['type']}, not {kind}: say --workers "
            f"{found['type']}, or delete it first (prefect work-pool delete {pool.name})"
        )
    template = json.loads((TEMPLATES / f"{kind}.json").read_text(encoding="utf-8"))
    wanted = {"description": pool.description, "base_job_template": template}
    return settle(
        wanted,
        found,
        make=lambda: client.create_work_pool(WorkPoolCreate(name=pool.name, type=kind, **wanted)),
        change=lambda: client.update_work_pool(pool.name, WorkPoolUpdate(**wanted)),
    )


def _apply_queue(client: SyncPrefectClient, pool: Pool, name: str, priority: int) -> Change:
    place = {"work_pool_name": pool.name}
    queues = client.request(
        "POST", "/work_pools/{work_pool_name}/queues/filter", path_params=place, json={}
    ).json()
    wanted = {"name": name, "priority": priority}
    return settle(
        wanted,
        next((queue for queue in queues if queue["name"] == name), None),
        make=lambda: client.request(
            "POST", "/work_pools/{work_pool_name}/queues", path_params=place, json=wanted
        ),
        change=lambda: client.request(
            "PATCH",
            "/work_pools/{work_pool_name}/queues/{name}",
            path_params={**place, "name": name},
            json=wanted,
        ),
    )
