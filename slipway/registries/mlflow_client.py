"""The MLflow client of an address, imported and opened when a call needs it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slipway.errors import EnvironmentMissing
from slipway.registries.mlflow_errors import translated
from slipway.registries.sqlite import first_use

if TYPE_CHECKING:
    from mlflow import MlflowClient

_QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for --json
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own 7 retries take more than four minutes; the tasks retry, too.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}


def open_client(uri: str, database: Path | None) -> "MlflowClient":
    """A client for an MLflow server, or for the SQLite file of `database`.

    Raises:
        EnvironmentMissing: when MLflow is not installed.
        RegistryUnavailable, RequestError: when the database cannot be opened.
    """
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise EnvironmentMissing(
            f"the registry {uri} needs 'mlflow': pip install 'slipway[mlflow]'"
        ) from error
    with translated(f"opening {uri}"):
        if database is None:
            return MlflowClient(tracking_uri=uri, registry_uri=uri)
        with first_use(database):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)  # makes the tables, where there are none
            client.search_registered_models(max_results=1)
        return client
