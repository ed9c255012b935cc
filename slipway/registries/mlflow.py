"""MLflow as the registry; its SDK is imported when a call needs it.

One version per bundle. On SQLite the version's source is the unpacked bundle itself. A server
takes no local paths: there the source is the bundle's folder in the store, where the store is S3,
or else the bundle is uploaded into the version's run first.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from slipway.errors import RequestError, SourceNotFound
from slipway.protocols import Registration, VersionAbout
from slipway.registries import mlflow_series
from slipway.registries.mlflow_client import open_client
from slipway.registries.mlflow_errors import despite_races, translated
from slipway.registries.mlflow_run import close_abandoned, discard_run, link_models, record_run
from slipway.registries.sqlite import DIGEST_TAG, database_path, peek
from slipway.registries.views import RegistryView, check_alias, check_name
from slipway.reports import RegisteredVersion, SeriesPoint

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACTS: Final = "mlflow-artifacts"
"""Folder of the runs' files, beside the SQLite file."""


class MlflowRegistry:
    """Versions in MLflow, exactly one per bundle digest.

    MLflow itself makes a second version of whatever is registered twice, and has no lock to take.
    So: search for the tag with the digest; create; search again; the smallest number wins and a
    loser deletes its own. Numbers are given in the order of commits: everybody sees the same
    winner.

    Each new version has a run with the parameters, the metrics and the evidence. A process killed
    between run and version leaves a run that nothing points to; the next try makes both, and marks
    that run as killed. The alias comes last: as long as it does not point at the version, what a
    killed process left undone of it is done by whoever registers the bundle again.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._database = database_path(uri)

    def register(self, registration: Registration) -> RegisteredVersion:
        """Make or find the version, then set the alias; unchanged, MLflow is not even imported."""
        name = check_name(registration.name)
        alias = check_alias(registration.alias) if registration.alias else None
        view = self._view(name)
        version = view.find(registration.bundle_digest) or self._create(registration)
        moves = alias is not None and view.aliases.get(alias) != version.version
        if version.created or moves:
            despite_races(lambda: self._complete(name, version.version))
        if alias is None:
            return version
        self.set_alias(name, alias, version.version)
        return version.model_copy(update={"alias": alias})

    def find(self, name: str, bundle_digest: str) -> RegisteredVersion | None:
        """The smallest version with this digest."""
        return self._view(check_name(name)).find(bundle_digest)

    def resolve(self, name: str, alias: str) -> RegisteredVersion:
        """The version that an alias points to."""
        return self._view(check_name(name)).resolve(check_alias(alias))

    def versions(self, name: str) -> tuple[RegisteredVersion, ...]:
        """All versions that carry a bundle's digest, oldest first."""
        return self._view(check_name(name)).all()

    def names(self) -> tuple[str, ...]:
        """All registered models, in order; those that no release made have no versions here."""
        if self._database is not None and not self._database.exists():
            return ()
        found: list[str] = []
        token: str | None = None
        with translated(f"listing {self.uri}"):
            while True:
                page = self._client.search_registered_models(page_token=token)
                found.extend(model.name for model in page)
                token = page.token
                if not token:
                    return tuple(sorted(found))

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; where it points there already, nothing is written."""
        despite_races(lambda: self._point(name, alias, version))

    def _point(self, name: str, alias: str, version: int) -> None:
        if self._view(check_name(name)).aliases.get(check_alias(alias)) == version:
            return
        with translated(f"pointing {name}@{alias} at version {version} in {self.uri}"):
            self._client.set_registered_model_alias(name, alias, str(version))

    def record(self, name: str, series: str, point: SeriesPoint) -> None:
        """Add a point to a series, in the experiment that the model's versions are in."""
        check_name(series)
        with translated(f"recording {series} of {name} in {self.uri}"):
            mlflow_series.record(self._client, self._experiment(check_name(name)), series, point)

    def recorded(self, name: str, series: str) -> tuple[SeriesPoint, ...]:
        """The points of a series, oldest first."""
        check_name(series)
        if self._database is not None and not self._database.exists():
            return ()
        with translated(f"reading {series} of {name} in {self.uri}"):
            experiment = self._client.get_experiment_by_name(f"slipway-{check_name(name)}")
            if experiment is None:
                return ()
            run = mlflow_series.find_run(self._client, experiment.experiment_id, series)
            return mlflow_series.points(self._client, run) if run else ()

    def aliases(self, name: str) -> Mapping[str, int]:
        """All aliases of a registered model."""
        return dict(self._view(check_name(name)).aliases)

    def about(self, name: str, version: int) -> VersionAbout:
        """When a version was made, its tags and its description."""
        with translated(f"reading version {version} of {check_name(name)} in {self.uri}"):
            found = self._client.get_model_version(name, str(version))
        return VersionAbout(
            registered_s=found.creation_timestamp / 1000,
            tags=dict(found.tags),
            description=found.description or "",
        )

    def annotate(
        self, name: str, version: int, *, tags: Mapping[str, str], description: str | None = None
    ) -> None:
        """Set tags of a version, and its description where one is given."""
        with translated(f"annotating version {version} of {check_name(name)} in {self.uri}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(name, str(version), key, value)
            if description is not None:
                self._client.update_model_version(name, str(version), description)

    @cached_property
    def _client(self) -> "MlflowClient":
        return open_client(self.uri, self._database)

    def _view(self, name: str) -> RegistryView:
        """What is registered under a name; from SQLite directly where that is beyond doubt."""
        if self._database is not None:
            peeked = peek(self._database, name)
            if peeked is not None:
                return peeked
        return self._ask(name)

    def _ask(self, name: str) -> RegistryView:
        client = self._client
        try:
            with translated(f"reading {name} in {self.uri}"):
                aliases = client.get_registered_model(name).aliases
                versions = {
                    int(version.version): f"sha256:{version.tags[DIGEST_TAG]}"
                    for version in _search(client, name)
                    if DIGEST_TAG in version.tags and version.status == "READY"
                }
        except SourceNotFound:
            aliases, versions = {}, {}
        page = None if self._database else f"{self.uri}/#/models/{name}/versions/{{version}}"
        return RegistryView(name, versions, {a: int(v) for a, v in aliases.items()}, page)

    def _create(self, registration: Registration) -> RegisteredVersion:
        """Make a version, unless another process has made it meanwhile."""
        _check_files(registration)
        name, digest = registration.name, registration.bundle_digest
        client = self._client
        with translated(f"registering {name} in {self.uri}"):
            self._ensure_model(name)
            run = record_run(client, self._experiment(name), registration)
            mine = client.create_model_version(
                name,
                source=self._source(registration, run.run_id),
                run_id=run.run_id,
                description=f"{registration.description}\n{run.links}".strip(),
                tags={
                    **registration.tags,
                    "bundle_uri": registration.bundle_uri,
                    DIGEST_TAG: digest.removeprefix("sha256:"),
                },
            )
            view = self._ask(name)
            winner = view.find(digest)
            if winner is not None and winner.version != int(mine.version):
                client.delete_model_version(name, str(mine.version))
                discard_run(client, run.run_id)
                return winner
        return view.version(int(mine.version), created=True)

    def _complete(self, name: str, version: int) -> None:
        """Do what is left to do once a version is there; any of its makers may do it."""
        client = self._client
        with translated(f"completing version {version} of {name} in {self.uri}"):
            made = client.get_model_version(name, str(version))
            if made.run_id:
                link_models(client, made.run_id, name, version)
                close_abandoned(client, made.run_id, made.tags[DIGEST_TAG])

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _source(self, registration: Registration, run_id: str) -> str:
        """Where the version's files are; they are sent to a server only if it cannot read them."""
        if self._database is not None:
            return str(registration.bundle.absolute())
        if registration.files_uri is not None:
            return registration.files_uri
        self._client.log_artifacts(run_id, str(registration.bundle), "bundle")
        return f"{self._client.get_run(run_id).info.artifact_uri}/bundle"

    def _experiment(self, model: str) -> str:
        """The model's own experiment.

        Its artifact location is given, since MLflow's default for a database is `./mlruns`: another
        folder for each place that a process is started from.
        """
        from mlflow.exceptions import MlflowException

        name = f"slipway-{model}"
        folder = self._database.parent / ARTIFACTS / name if self._database else None
        try:
            created: str = self._client.create_experiment(
                name, artifact_location=folder.as_uri() if folder else None
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        return created


def _check_files(registration: Registration) -> None:
    if not (registration.bundle / "MLmodel").is_file():
        raise RequestError(f"{registration.bundle} holds no MLmodel; register an unpacked bundle")
    for path in registration.evidence:
        if not path.is_file():
            raise SourceNotFound(f"no evidence at {path}")


def _search(client: "MlflowClient", name: str) -> Iterator[Any]:
    """All versions, page by page; MLflow's entities carry no types."""
    token = None
    while True:
        page = client.search_model_versions(f"name='{name}'", max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
