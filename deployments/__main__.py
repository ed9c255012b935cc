"""`python -m deployments`: bring the server that PREFECT_API_URL names to what stands here.

Run it as often as you like: what is as it should be is left alone.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import get_args

from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError

from deployments import automations, flows, notifications, pools
from deployments.changes import Change


def main(arguments: Sequence[str] | None = None) -> int:
    """Apply everything, in the order in which one needs the other."""
    asked = _parser().parse_args(arguments)
    if not os.environ.get("PREFECT_API_URL"):
        print("set PREFECT_API_URL to the server's address, such as http://127.0.0.1:4200/api, and")
        print("PREFECT_API_AUTH_STRING to user:password if it asks for them")
        return 2
    try:
        told = notifications.address()
        with get_client(sync_client=True) as client:
            _say(pools.apply(client, asked.workers))
            _say(flows.apply(client))
            _say(notifications.apply(told))
            _say(automations.apply(client))
    except (ValueError, OSError, PrefectHTTPStatusError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _say(changes: dict[str, Change]) -> None:
    for name, change in changes.items():
        print(f"{change:<10} {name}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployments", description=__doc__)
    parser.add_argument(
        "--workers",
        choices=get_args(pools.Kind),
        default=os.environ.get("SLIPWAY_WORKERS", "process"),
        help="what the workers of the pools start",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
