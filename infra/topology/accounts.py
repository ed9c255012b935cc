"""The workers' account in MLflow: `python -m infra.topology.accounts URL FOLDER-OF-SECRETS`.

Workers make models and versions of their own, and are no admin.
"""

import sys
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.error import HTTPError

from infra.topology.http import ask
from infra.topology.site import ADMIN

WORKER: Final = "worker"


def make_worker(url: str, *, admin_password: str, worker_password: str) -> None:
    """Make the account unless it is there.

    Args:
        url: MLflow's server.
        admin_password: The admin's, who makes it.
        worker_password: The account's own.
    """
    users = f"{url}/api/2.0/mlflow/users"
    login = f"{ADMIN}:{admin_password}"
    try:
        ask(f"{users}/get?username={WORKER}", login=login)
    except HTTPError as error:
        error.close()
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        account = {"username": WORKER, "password": worker_password}
        ask(f"{users}/create", login=login, body=account)


if __name__ == "__main__":
    admin, worker = (
        (Path(sys.argv[2]) / name).read_text(encoding="ascii").strip()
        for name in ("mlflow-admin", "mlflow-worker")
    )
    make_worker(sys.argv[1], admin_password=admin, worker_password=worker)
