"""Models at MLflow's addresses, downloaded with the framework that their flavour names."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from slipway.errors import RequestError, SourceNotFound
from slipway.registries.flavours import ModelFiles, read_flavour
from slipway.registries.mlflow_client import open_client
from slipway.registries.mlflow_errors import translated
from slipway.registries.sqlite import database_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ADDRESS: Final = re.compile(
    r"models:/(?P<name>[^/@]+)(/(?P<version>[0-9]+)|@(?P<alias>[^/@]+))|runs:/(?P<run>[^/]+)/.+"
)


class DownloadedModel(NamedTuple):
    """A model as MLflow keeps it."""

    files: ModelFiles
    address: str
    """The address of the model's own file, with a version where an alias was given."""


def download_model(uri: str, folder: Path, *, registry_uri: str) -> DownloadedModel:
    """Download `models:/NAME/VERSION`, `models:/NAME@ALIAS` or `runs:/ID/PATH` into a folder.

    Raises:
        RequestError: for another address, a registry that is not MLflow, or a model without a
            flavour that names a framework.
        SourceNotFound: when there is no such version, alias or run.
        UnreadableModel: when the model's description is damaged.
        EnvironmentMissing: when MLflow is not installed.
        RegistryUnavailable: when it does not answer.
    """
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise RequestError(
            f"{uri} names no model: write models:/NAME/VERSION, models:/NAME@ALIAS or "
            "runs:/ID/PATH; stages and `latest` are no versions"
        )
    if registry_uri.startswith("memory:"):
        raise RequestError(f"{uri} is in MLflow, and the registry is {registry_uri}")
    client = open_client(registry_uri, database_path(registry_uri))
    with translated(f"downloading {uri} from {registry_uri}"):
        address, place = _locate(client, uri, found)
        model = _download(place, folder, registry_uri)
    files = read_flavour(model, uri)
    inside = files.path.relative_to(model).as_posix()
    return DownloadedModel(files, address if inside == "." else f"{address}/{inside}")


def _locate(client: "MlflowClient", uri: str, found: re.Match[str]) -> tuple[str, str]:
    """The address with a version for an alias, and where the model's files are."""
    if found["run"]:
        client.get_run(found["run"])  # for a clear answer where there is none
        return uri.rstrip("/"), uri
    name = found["name"]
    version = found["version"] or client.get_registered_model(name).aliases.get(found["alias"])
    if version is None:
        raise SourceNotFound(f"{uri}: {name} has no alias {found['alias']}")
    place = client.get_model_version_download_uri(name, str(version))
    return f"models:/{name}/{version}", place


def _download(place: str, folder: Path, registry_uri: str) -> Path:
    from mlflow.artifacts import download_artifacts

    path: str = download_artifacts(
        artifact_uri=place,
        dst_path=str(folder),
        tracking_uri=registry_uri,
        registry_uri=registry_uri,
    )
    return Path(path)
