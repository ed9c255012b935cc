"""A worker that measures: its pool and deployment made where missing, then Prefect's own worker.

    python -m deployments.worker slipway-openvino

Run it in the environment that has the provider, on the machine that has the device, with
PREFECT_API_URL and with the SLIPWAY_STORE of the releases.
"""

import argparse
import os
import platform
import sys

import httpx
from prefect.client.orchestration import get_client

from deployments import flows, pools


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
        deploy(given.pool)
    except ValueError as error:
        asked.error(str(error))
    except httpx.TransportError as error:
        server = os.environ["PREFECT_API_URL"]
        sys.exit(
            f"no Prefect server answers at {server} ({error}): start it, or correct the address"
        )
    name = given.name or f"{platform.node()}-{os.getpid()}"
    command = ["prefect", "worker", "start", "--pool", given.pool, "--name", name, "--limit", "1"]
    os.chdir(flows.ROOT)
    os.execv(sys.executable, [sys.executable, "-m", *command])  # noqa: S606 - our own interpreter


def deploy(pool: str) -> None:
    """The pool, and on it the benchmark of prefect.yaml under the pool's name."""
    with get_client(sync_client=True) as client:
        pools.apply(client, "process", [pools.find(pool)])
        flows.apply_benchmark(client, pool)


if __name__ == "__main__":
    main()
