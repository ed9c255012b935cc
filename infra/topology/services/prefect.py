"""Prefect's server: the API, the UI and the services, behind one password."""

import os
import sys

from infra.topology.http import answers
from infra.topology.programs import Program, start, wait_until
from infra.topology.services import postgres, redis
from infra.topology.site import ADMIN, HOST, ROOT, Site

NAME = "prefect"


def up(site: Site) -> None:
    """Start the server."""
    command = (*prefect("server", "start"), "--host", HOST, "--port", str(site.port(NAME)))
    start(Program(NAME, command, _environment(site), site.port(NAME)), site.folder, ROOT)
    wait_until(lambda: answers(f"{api(site)}/health"), NAME, site.folder)


def api(site: Site) -> str:
    """The API's address."""
    return f"{site.url(NAME)}/api"


def login(site: Site) -> str:
    """The user and password that the API and the UI ask for."""
    return f"{ADMIN}:{site.secret(NAME)}"


def prefect(*arguments: str) -> tuple[str, ...]:
    """A command of Prefect's, run by this interpreter."""
    return (sys.executable, "-m", "prefect", *arguments)


def plain_environment() -> dict[str, str]:
    """This process's environment without any Prefect server's or client's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}


def server_environment(address: str) -> dict[str, str]:
    """What every server of ours is told, wherever it keeps its data.

    Args:
        address: Where browsers find it, without a path.
    """
    return {
        "PREFECT_SERVER_UI_API_URL": f"{address}/api",  # the UI asks port 4200 otherwise
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": address,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
    }


def _environment(site: Site) -> dict[str, str]:
    return {
        **plain_environment(),
        **server_environment(site.url(NAME)),
        "PREFECT_HOME": str(site.data(NAME)),
        "PREFECT_SERVER_API_AUTH_STRING": login(site),
        # The server is a client of itself: its automations start runs.
        "PREFECT_API_AUTH_STRING": login(site),
        "PREFECT_SERVER_METRICS_ENABLED": "true",  # /api/metrics, behind the password
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        **(_on_postgres(site) if site.plan.has(postgres.NAME) else {}),
        **(_on_redis(site) if site.plan.has(redis.NAME) else {}),
    }


def _on_postgres(site: Site) -> dict[str, str]:
    address = postgres.url(site, NAME, "prefect", driver="postgresql+asyncpg")
    return {"PREFECT_SERVER_DATABASE_CONNECTION_URL": address}


def _on_redis(site: Site) -> dict[str, str]:
    return {
        "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
        "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
        "PREFECT_REDIS_MESSAGING_URL": redis.url(site, 0),
        "PREFECT_SERVER_DOCKET_URL": redis.url(site, 1),
    }
