"""Postgres: one server, a database and an account for each service that keeps something in it."""

import secrets
import signal
import subprocess
from pathlib import Path
from typing import Any

from infra.topology.failures import TopologyError
from infra.topology.programs import Program, account, give_to, start, wait_until
from infra.topology.site import HOST, ROOT, Site, find_program

NAME = "postgres"
USER = "postgres"  # Debian's; the server refuses to run as root
DATABASES = {"prefect": ("prefect",), "mlflow": ("mlflow", "mlflow_auth")}
"""The databases of each account."""


def up(site: Site) -> None:
    """Start the server, and make what is missing in it."""
    data = site.data(NAME)
    if not (data / "PG_VERSION").exists():
        _initialise(site, data)
    start(
        Program(
            NAME,
            (
                *(_program("postgres"), "-D", str(data), "-p", str(site.port(NAME))),
                *("-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories="),
                *("-c", "max_connections=200"),
            ),
            {"LC_ALL": "C.UTF-8"},
            port=site.port(NAME),
            user=USER,
            stop_signal=signal.SIGINT,  # its "fast" shutdown: does not wait for clients
        ),
        site.folder,
        ROOT,
    )
    wait_until(lambda: _connects(site), NAME, site.folder)
    _make_databases(site)


def url(site: Site, account_name: str, database: str, *, driver: str = "postgresql") -> str:
    """SQLAlchemy's address of a database."""
    password = site.secret(f"{NAME}-{account_name}")
    return f"{driver}://{account_name}:{password}@{HOST}:{site.port(NAME)}/{database}"


def _initialise(site: Site, data: Path) -> None:
    give_to(USER, data)
    # initdb reads the password from a file that its own user may read, and no other.
    password = data.parent / f".{secrets.token_hex(8)}"
    password.touch(0o600)
    try:
        give_to(USER, password)
        password.write_text(site.secret(f"{NAME}-superuser"), encoding="ascii")
        made = subprocess.run(
            [
                *(_program("initdb"), "-D", str(data), "-U", "slipway", "-E", "UTF8"),
                *("--locale=C.UTF-8", "-A", "scram-sha-256", f"--pwfile={password}"),
            ],
            check=False,
            capture_output=True,
            text=True,
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
            **account(USER),
        )
    finally:
        password.unlink()
    if made.returncode:
        raise TopologyError(f"initdb failed: {made.stderr.strip()}")


def _program(name: str) -> str:
    found = find_program(name)
    if found is None:
        raise TopologyError(f"{name} is not installed: apt-get install postgresql")
    return found


def _connect(site: Site) -> Any:  # noqa: ANN401 - psycopg2 has no types
    import psycopg2

    connection = psycopg2.connect(
        host=HOST,
        port=site.port(NAME),
        user="slipway",
        password=site.secret(f"{NAME}-superuser"),
        dbname="postgres",
        connect_timeout=5,
    )
    connection.autocommit = True
    return connection


def _connects(site: Site) -> bool:
    import psycopg2

    try:
        _connect(site).close()
    except psycopg2.OperationalError:
        return False
    return True


def _make_databases(site: Site) -> None:
    from psycopg2 import sql

    connection = _connect(site)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT rolname FROM pg_roles")
            roles = {row[0] for row in cursor.fetchall()}
            cursor.execute("SELECT datname FROM pg_database")
            databases = {row[0] for row in cursor.fetchall()}
            for owner, names in DATABASES.items():
                if owner not in roles:
                    cursor.execute(
                        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                            sql.Identifier(owner), sql.Literal(site.secret(f"{NAME}-{owner}"))
                        )
                    )
                for name in set(names) - databases:
                    cursor.execute(
                        sql.SQL("CREATE DATABASE {} OWNER {}").format(
                            sql.Identifier(name), sql.Identifier(owner)
                        )
                    )
    finally:
        connection.close()
