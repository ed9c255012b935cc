"""Models in MLflow: logged by MLflow itself, fetched by address, known by their flavour."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from slipway.artifacts import digest_file
from slipway.errors import (
    IntegrityError,
    RequestError,
    SourceNotFound,
    SpecError,
    UnreadableModel,
    UntrustedSource,
)
from slipway.registries import mlflow_source
from slipway.registries.flavours import read_flavour
from slipway.registries.mlflow_source import DownloadedModel, download_model, locate_model
from slipway.specs import ReleaseSpec
from slipway.stages.exporting import export_to_folder
from slipway.stages.making import export_model, fetch_materials
from tests.mlflow_server import mlflow_server

__all__ = ["mlflow_server"]
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, while it logs the models


class Logged(NamedTuple):
    registry: str
    run: str


def log_models(registry: str) -> Logged:
    """A scikit-learn model as skops (version 1, champion) and as a pickle (version 2)."""
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    sklearn = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 3)).astype(np.float32)
    model = sklearn.LogisticRegression().fit(x, (x[:, 0] > 0).astype(int))
    mlflow.set_tracking_uri(registry)
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        for form in ("skops", "cloudpickle"):
            mlflow.sklearn.log_model(
                model,
                name=form,
                serialization_format=form,
                registered_model_name="digits",
                pip_requirements=[],
            )
        mlflow.log_text("no model", "notes/readme.txt")
    client.set_registered_model_alias("digits", "champion", "1")
    return Logged(registry, run.info.run_id)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # MLflow's own artifact folder stands in the working directory
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
        yield log_models(f"sqlite:///{folder}/mlflow.db")


@pytest.fixture
def home(logged: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logged:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_REGISTRY", logged.registry)
    return logged


def downloaded(uri: str, folder: Path, *, registry_uri: str) -> DownloadedModel:
    return download_model(locate_model(uri, registry_uri=registry_uri), folder)


def spec(uri: str, **source: Any) -> ReleaseSpec:
    return ReleaseSpec.from_mapping({"name": "tiny", "source": {"uri": uri, **source}})


def test_an_alias_a_version_and_a_run_give_the_same_file(home: Logged) -> None:
    uris = ("models:/digits@champion", "models:/digits/1", f"runs:/{home.run}/skops")
    found = {uri: fetch_materials(spec(uri)) for uri in uris}
    assert len({materials.source.digest for materials in found.values()}) == 1
    origins = [materials.origin for materials in found.values()]
    assert [origin.uri for origin in origins if origin] == [
        "models:/digits/1/model.skops",
        "models:/digits/1/model.skops",
        f"runs:/{home.run}/skops/model.skops",
    ]
    assert {origin.framework for origin in origins if origin} == {"sklearn"}


@pytest.mark.usefixtures("home")
def test_a_model_exports_by_its_alias_alone(tmp_path: Path) -> None:
    exported = export_to_folder(spec("models:/digits@champion"), tmp_path / "out")
    assert exported.passed, exported.diagnosis
    assert [tensor.name for tensor in exported.outputs] == ["label", "probabilities"]


@pytest.mark.usefixtures("home")
def test_a_pickle_in_mlflow_needs_trust_like_any_other() -> None:
    wanted = spec("models:/digits/2")
    materials = fetch_materials(wanted)
    with pytest.raises(UntrustedSource, match=r"model\.pkl is a pickle"):
        export_model(materials.complete(wanted), materials.source)
    digest = materials.source.digest.removeprefix("sha256:")
    trusted = spec("models:/digits/2", trusted=True, sha256=digest)
    report = export_model(materials.complete(trusted), fetch_materials(trusted).source)
    assert report.framework == "sklearn"


@pytest.mark.usefixtures("home")
def test_other_bytes_than_the_spec_names_are_refused() -> None:
    with pytest.raises(IntegrityError, match="the spec says"):
        fetch_materials(spec("models:/digits@champion", sha256="0" * 64))


@pytest.mark.usefixtures("home")
def test_a_framework_that_the_flavour_contradicts_is_refused() -> None:
    assert fetch_materials(spec("models:/digits/1", framework="sklearn")).origin is not None
    with pytest.raises(SpecError, match=r"pytorch in the spec.*is a sklearn model"):
        fetch_materials(spec("models:/digits/1", framework="pytorch"))


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "uri", ["models:/absent/1", "models:/digits/9", "models:/digits@none", "runs:/0a0a/model"]
)
def test_a_model_that_is_not_there_is_not_found(uri: str, home: Logged, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=uri):
        downloaded(uri, tmp_path, registry_uri=home.registry)


def test_a_path_that_a_run_does_not_have_is_not_found(home: Logged, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="absent"):
        downloaded(f"runs:/{home.run}/absent", tmp_path, registry_uri=home.registry)


def test_files_of_a_run_that_are_no_model_are_refused(home: Logged, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no MLmodel"):
        downloaded(f"runs:/{home.run}/notes", tmp_path, registry_uri=home.registry)


@pytest.mark.parametrize(
    "uri", ["models:/digits", "models:/digits/latest", "models:/digits/Production", "runs:/abc"]
)
def test_an_address_without_a_version_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="models:/NAME/VERSION"):
        downloaded(uri, tmp_path, registry_uri="sqlite:///unused.db")


def test_a_registry_that_is_not_mlflow_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="memory://"):
        downloaded("models:/digits/1", tmp_path, registry_uri="memory://here")


@pytest.mark.slow
def test_a_server_gives_the_same_files(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    logged = log_models(mlflow_server)
    paths = [
        downloaded(uri, tmp_path / str(i), registry_uri=mlflow_server).files.path
        for i, uri in enumerate(("models:/digits@champion", f"runs:/{logged.run}/skops"))
    ]
    assert {path.name for path in paths} == {"model.skops"}
    assert digest_file(paths[0]) == digest_file(paths[1])
    with pytest.raises(SourceNotFound):
        downloaded("models:/digits/9", tmp_path / "none", registry_uri=mlflow_server)


def model_folder(folder: Path, description: str, *files: str) -> Path:
    (folder / "MLmodel").write_text(description)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_the_exported_program_is_taken_from_pytorchs_folder(tmp_path: Path) -> None:
    text = "flavors: {python_function: {data: x}, pytorch: {model_data: data}}"
    folder = model_folder(tmp_path, text, "data/model.pt2", "conda.yaml")
    assert read_flavour(folder, "here").path == folder / "data/model.pt2"


def test_a_flavour_without_a_framework_lists_what_there_is(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, "flavors: {python_function: {}, spacy: {data: x}}")
    with pytest.raises(RequestError, match="it has: python_function, spacy"):
        read_flavour(folder, "here")


@pytest.mark.parametrize(
    "description",
    [
        "flavors: {sklearn: {pickled_model: ../../secret}}",
        "flavors: {sklearn: {pickled_model: /etc/passwd}}",
        "flavors: {sklearn: {pickled_model: absent}}",
        "flavors: {sklearn: {pickled_model: link}}",
        "flavors: {sklearn: {}}",
        "flavors: {sklearn: 3}",
        "flavors: [sklearn]",
        "- a list",
        "{",
        "!!python/object/apply:os.system [touch ran]",
    ],
)
def test_a_hostile_or_broken_description_is_refused(description: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(UnreadableModel, match="here"):
        read_flavour(model_folder(folder, description), "here")
    assert not Path("ran").exists()


def test_a_model_is_downloaded_once_until_it_is_logged_again(
    home: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    original = mlflow_source._download

    def counted(place: str, folder: Path, registry_uri: str) -> Path:
        found.append(place)
        return original(place, folder, registry_uri)

    monkeypatch.setattr(mlflow_source, "_download", counted)
    uris = ("models:/digits@champion", "models:/digits/1", f"runs:/{home.run}/skops")
    first = [fetch_materials(spec(uri)) for uri in uris]
    assert len(found) == 2  # an alias is its version
    assert [fetch_materials(spec(uri)) for uri in uris] == first
    assert len(found) == 2


def test_marks_tell_models_apart_that_have_the_same_sizes(home: Logged) -> None:
    located = locate_model(f"runs:/{home.run}/skops", registry_uri=home.registry)
    before = mlflow_source.current_marks(located)
    assert before == mlflow_source.current_marks(located)
    place = next(Path(home.registry.removeprefix("sqlite:///")).parent.rglob("model.skops"))
    description = place.with_name("MLmodel")
    text = description.read_text()
    try:
        description.write_text(text[::-1])  # as long, and another
        assert mlflow_source.current_marks(located) != before
    finally:
        description.write_text(text)


def test_the_process_own_tracking_server_is_not_asked(
    home: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/elsewhere.db")
    try:
        for uri in ("models:/digits@champion", f"runs:/{home.run}/skops"):
            assert fetch_materials(spec(uri)).origin is not None
    finally:
        mlflow.set_tracking_uri(before)
