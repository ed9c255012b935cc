"""MLflow's server: the registry, behind accounts; its artifacts in S3, or in a folder."""

import os
import sys
from pathlib import Path

from infra.topology.accounts import WORKER, make_worker
from infra.topology.buckets import MLFLOW
from infra.topology.http import answers
from infra.topology.programs import Program, start, wait_until
from infra.topology.services import postgres, s3
from infra.topology.site import ADMIN, HOST, Site

NAME = "mlflow"
AUTH_CACHE_S = 60


def up(site: Site) -> None:
    """Start the server, and make the workers' account."""
    command = (
        *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"),
        *("--host", HOST, "--port", str(site.port(NAME)), "--workers", "1"),
        *("--allowed-hosts", f"{HOST}:{site.port(NAME)},localhost:{site.port(NAME)}"),
        *("--artifacts-destination", _artifacts(site)),
    )
    start(Program(NAME, command, _environment(site), site.port(NAME)), site.folder, site.data(NAME))
    wait_until(lambda: answers(f"{site.url(NAME)}/health"), NAME, site.folder)
    make_worker(
        site.url(NAME),
        admin_password=site.secret("mlflow-admin"),
        worker_password=site.secret("mlflow-worker"),
    )


def client_environment(site: Site) -> dict[str, str]:
    """What a worker needs to use the registry."""
    return {
        "SLIPWAY_REGISTRY": site.url(NAME),
        "MLFLOW_TRACKING_USERNAME": WORKER,
        "MLFLOW_TRACKING_PASSWORD": site.secret("mlflow-worker"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _artifacts(site: Site) -> str:
    if site.plan.has(s3.NAME):
        return f"s3://{MLFLOW}"
    folder = site.data(NAME) / "artifacts"
    folder.mkdir(exist_ok=True)
    return str(folder)


def _environment(site: Site) -> dict[str, str]:
    # Addresses hold passwords, so they go by the environment and never by the command line.
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        "MLFLOW_BACKEND_STORE_URI": _database(site, "mlflow"),
        "MLFLOW_AUTH_CONFIG_PATH": str(_auth_file(site)),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": site.secret("mlflow-admin"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": site.secret("mlflow-sessions"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its jobs cost fourteen processes
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **(s3.environment(site) if site.plan.has(s3.NAME) else {}),
    }


def _database(site: Site, name: str) -> str:
    if site.plan.has(postgres.NAME):
        return postgres.url(site, NAME, name)
    return f"sqlite:///{site.data(NAME)}/{name}.db"


def _auth_file(site: Site) -> Path:
    path = site.secret_file("mlflow-auth.ini")
    path.touch(0o600)
    path.write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = {_database(site, 'mlflow_auth')}\n"
        f"admin_username = {ADMIN}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        # Else each of a registration's forty requests hashes the password, 0.1 CPU seconds.
        f"auth_cache_ttl_seconds = {AUTH_CACHE_S}\n",
        encoding="utf-8",
    )
    return path
