"""A worker that measures: its pool and deployment made where missing, then Prefect's own worker.

    python -m deployments.worker slipway-openvino

Run it in the environment that has the provider, on the machine that has the device, with
PREFECT_API_URL and with the SLIPWAY_STORE of the releases.
"""

import argparse
import asyncio
import contextlib
import os
import platform
import sys
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Make what is missing, and become the worker."""
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    asked.add_argument("pool", help="the work pool, as benchmark.pools of a spec names it")
    asked.add_argument("--name", default=None, help="the worker's name; HOST-PID if empty")
    given = asked.parse_args()
    if not os.environ.get("PREFECT_API_URL"):
        asked.error("set PREFECT_API_URL to the server that releases run on")
    try:
        asyncio.run(deploy(given.pool))
    except httpx.TransportError as error:
        server = os.environ["PREFECT_API_URL"]
        sys.exit(
            f"no Prefect server answers at {server} ({error}): start it, or correct the address"
        )
    name = given.name or f"{platform.node()}-{os.getpid()}"
    command = ["prefect", "worker", "start", "--pool", given.pool, "--name", name, "--limit", "1"]
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", *command])  # noqa: S606 - our own interpreter


async def deploy(pool: str) -> None:
    """The pool, and the benchmark flow of this checkout as its deployment of the same name."""
    from flows.benchmark import benchmark

    async with get_client() as client:
        with contextlib.suppress(ObjectAlreadyExists):
            await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    source = await benchmark.afrom_source(
        source=str(ROOT), entrypoint="flows/benchmark.py:benchmark"
    )
    await source.adeploy(
        name=pool,
        work_pool_name=pool,
        description="Measure a release's variants on this pool's provider.",
        tags=["slipway"],
        print_next_steps=False,
        ignore_warnings=True,
    )


if __name__ == "__main__":
    main()
