"""Models at MLflow's addresses, downloaded with the framework that their flavour names."""

import re
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple

from slipway.artifacts import digest_file
from slipway.errors import RequestError, SourceNotFound
from slipway.registries.flavours import DESCRIPTION, ModelFiles, read_flavour
from slipway.registries.mlflow_client import open_client
from slipway.registries.mlflow_errors import translated
from slipway.registries.sqlite import database_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ADDRESS: Final = re.compile(
    r"models:/(?P<name>[^/@]+)(/(?P<version>[0-9]+)|@(?P<alias>[^/@]+))|"
    r"runs:/(?P<run>[^/]+)/(?P<path>.+)"
)
_LOGGED: Final = re.compile(r"models:/(m-[^/]+)")
_MARK: Final = "registered_model_meta"  # MLflow writes it into what it loads


class DownloadedModel(NamedTuple):
    """A model as MLflow keeps it."""

    files: ModelFiles
    address: str
    """The address of the model's own file, with a version where an alias was given."""


class LocatedModel(NamedTuple):
    """A model that MLflow knows, not downloaded yet."""

    uri: str
    address: str
    """With a version where an alias was given."""
    place: str
    """Where its files are: an address of storage, or of the server that passes them on."""
    registry_uri: str


class Lineage(NamedTuple):
    """What MLflow knows of the model that a release was made from."""

    tags: dict[str, str]
    """For a run: the address, and the run that logged the model."""
    links: tuple[str, ...]
    """The same as markdown."""
    model_id: str | None
    """Its LoggedModel, where there is one."""


def find_lineage(client: "MlflowClient", uri: str | None) -> Lineage:
    """Where a model in the same MLflow comes from; nothing for models from elsewhere.

    A model whose origin is not there any more is named all the same.
    """
    from mlflow.exceptions import MlflowException

    found = _ADDRESS.match(uri) if uri else None
    if uri is None or found is None:
        return Lineage({}, (), None)
    run_id, model_id, page = found["run"], None, None
    try:
        if found["name"] and found["version"]:
            page = f"#/models/{found['name']}/versions/{found['version']}"
            version = client.get_model_version(found["name"], found["version"])
            run_id = version.run_id
            logged = _LOGGED.fullmatch(str(version.source))
            model_id = logged[1] if logged else None
        if run_id:
            experiment_id = client.get_run(run_id).info.experiment_id
            page = page or f"#/experiments/{experiment_id}/runs/{run_id}"
        if run_id and not model_id:
            model_id = _logged_in_run(client, run_id, (found["path"] or "").split("/")[0])
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    tags = {"source_model": uri, "source_run_id": run_id}
    return Lineage(
        {key: value for key, value in tags.items() if value},
        (f"Made from [{uri}]({page})" if page else f"Made from `{uri}`",),
        model_id,
    )


def locate_model(uri: str, *, registry_uri: str) -> LocatedModel:
    """Find `models:/NAME/VERSION`, `models:/NAME@ALIAS` or `runs:/ID/PATH`.

    Raises:
        RequestError: for another address, or a registry that is not MLflow.
        SourceNotFound: when there is no such version, alias or run.
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
    with translated(f"finding {uri} in {registry_uri}"):
        return LocatedModel(uri, *_locate(client, uri, found), registry_uri)


def current_marks(model: LocatedModel) -> dict[str, str]:
    """What tells a model from another at the same place: its description, its files' sizes.

    MLflow keeps no digests of files and lets a run's be overwritten. But it writes a new
    description, with an identifier and a time of its own, whenever it logs a model; so the same
    description and the same sizes are the same model, unless somebody changed a file behind
    MLflow's back. Against that, the spec's `sha256` holds.

    Raises:
        SourceNotFound, RequestError, RegistryUnavailable: as `download_model` does.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with (
        translated(f"looking at {model.uri} in {model.registry_uri}"),
        tempfile.TemporaryDirectory(prefix="slipway-") as folder,
    ):
        files = get_artifact_repository(
            model.place, tracking_uri=model.registry_uri, registry_uri=model.registry_uri
        )
        sizes, pending = {}, [""]
        while pending:
            for entry in files.list_artifacts(pending.pop() or None):
                if entry.is_dir:
                    pending.append(entry.path)
                elif PurePosixPath(entry.path).name != _MARK:
                    sizes[entry.path] = str(entry.file_size)
        if DESCRIPTION not in sizes:
            return {}  # no model: the download says so
        # MLflow's repositories carry no types.
        described = digest_file(Path(files.download_artifacts(DESCRIPTION, folder)))  # type: ignore[no-untyped-call]
    return {"": model.place, **sizes, DESCRIPTION: described}


def download_model(model: LocatedModel, folder: Path) -> DownloadedModel:
    """Download a model into a folder.

    Raises:
        RequestError: for a model without a flavour that names a framework.
        SourceNotFound: when a path in a run does not exist.
        UnreadableModel: when the model's description is damaged.
        RegistryUnavailable: when MLflow does not answer.
    """
    with translated(f"downloading {model.uri} from {model.registry_uri}"):
        root = _download(model.place, folder, model.registry_uri)
    files = read_flavour(root, model.uri)
    inside = files.path.relative_to(root).as_posix()
    address = model.address if inside == "." else f"{model.address}/{inside}"
    return DownloadedModel(files, address)


def _locate(client: "MlflowClient", uri: str, found: re.Match[str]) -> tuple[str, str]:
    """The address with a version for an alias, and where the model's files are."""
    if found["run"]:
        path = found["path"].rstrip("/")
        return uri.rstrip("/"), _place_in_run(client, found["run"], path)
    name = found["name"]
    version = found["version"] or client.get_registered_model(name).aliases.get(found["alias"])
    if version is None:
        raise SourceNotFound(f"{uri}: {name} has no alias {found['alias']}")
    place = str(client.get_model_version_download_uri(name, str(version)))
    if logged := _LOGGED.fullmatch(place):
        place = str(client.get_logged_model(logged[1]).artifact_location)
    return f"models:/{name}/{version}", place


def _place_in_run(client: "MlflowClient", run_id: str, path: str) -> str:
    """Where a path of a run is: in the last model that was logged under its name, or in the run.

    MLflow's own way from runs:/ to a logged model (3.17) asks the process's tracking server, which
    need not be the registry that is asked here.
    """
    name, _, inside = path.partition("/")
    logged = _logged_in_run(client, run_id, name)
    if logged is None:
        return f"{str(client.get_run(run_id).info.artifact_uri).rstrip('/')}/{path}"
    place = str(client.get_logged_model(logged).artifact_location)
    return f"{place.rstrip('/')}/{inside}".rstrip("/")


def _logged_in_run(client: "MlflowClient", run_id: str, name: str) -> str | None:
    """The last model that a run logged under a name."""
    outputs = getattr(client.get_run(run_id).outputs, "model_outputs", None) or ()
    logged = [client.get_logged_model(output.model_id) for output in outputs]
    named = [model for model in logged if model.name == name]
    if not named:
        return None
    return str(max(named, key=lambda model: model.creation_timestamp).model_id)


def _download(place: str, folder: Path, registry_uri: str) -> Path:
    from mlflow.artifacts import download_artifacts

    path: str = download_artifacts(
        artifact_uri=place,
        dst_path=str(folder),
        tracking_uri=registry_uri,
        registry_uri=registry_uri,
    )
    return Path(path)
