import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import onnx
import pytest

from slipway.artifacts import digest_bytes
from slipway.errors import (
    EnvironmentMissing,
    RegistryUnavailable,
    RequestError,
    SlipwayError,
    SourceNotFound,
)
from slipway.packaging.bundle import build_bundle
from slipway.packaging.verify import verify_bundle
from slipway.protocols import Measurement, Registration
from slipway.providers.recommended import X64_PRECISION
from slipway.registries import open_registry
from slipway.registries.mlflow import MlflowRegistry
from slipway.registries.sqlite import peek
from slipway.reports import RegisteredVersion
from tests.contracts.registry_contract import OTHER, RegistryContract, registration_of
from tests.sample_bundles import make_content, table_rows, table_scores

# MLflow 3.17 warns of its own classes when mlflow.pyfunc is first imported: a type hint of its
# PythonModel.predict is Any. Nothing of ours has type hints for it.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised database: making its tables takes a second, copying it takes none."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    MlflowRegistry(f"sqlite:///{path}")._ask("nobody")
    return path


@pytest.fixture
def database(template: Path, tmp_path: Path) -> Path:
    with (
        closing(sqlite3.connect(template)) as source,
        closing(sqlite3.connect(tmp_path / "mlflow.db")) as target,
    ):
        source.backup(target)
    return tmp_path / "mlflow.db"


@pytest.fixture
def registry(database: Path) -> MlflowRegistry:
    return MlflowRegistry(f"sqlite:///{database}")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    build_bundle(tmp_path / "bundle", content=make_content(tmp_path / "content"))
    return tmp_path / "bundle"


@pytest.fixture
def registration(bundle: Path) -> Registration:
    return registration_of(bundle)


class TestMlflowRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, database: Path) -> MlflowRegistry:
        return MlflowRegistry(f"sqlite:///{database}")


class TestMlflowRegistryThroughItsClient(RegistryContract):
    """The same with every reading done by MLflow: both ways must agree."""

    @pytest.fixture
    def registry(self, database: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowRegistry:
        monkeypatch.setattr("slipway.registries.mlflow.peek", lambda *_: None)
        return MlflowRegistry(f"sqlite:///{database}")


@pytest.fixture
def tracking(registry: MlflowRegistry) -> Iterator[MlflowRegistry]:
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(registry.uri)
    yield registry
    mlflow.set_tracking_uri(before)


def experiment_of(registry: MlflowRegistry) -> str:
    experiment = registry._client.get_experiment_by_name("slipway-table")
    assert experiment is not None
    return str(experiment.experiment_id)


def runs_of(registry: MlflowRegistry) -> list[Any]:
    return list(registry._client.search_runs([experiment_of(registry)]))


def bundle_runs(registry: MlflowRegistry) -> list[Any]:
    """The bundles' own runs, without those of their variants."""
    return [run for run in runs_of(registry) if "mlflow.parentRunId" not in run.data.tags]


def parent_of(registry: MlflowRegistry) -> Any:
    [run] = bundle_runs(registry)
    return registry._client.get_run(run.info.run_id)


def logged_models(registry: MlflowRegistry) -> dict[str, Any]:
    found = registry._client.search_logged_models([experiment_of(registry)])
    return {str(model.name): model for model in found}


def test_the_version_says_where_what_and_how_good(
    registry: MlflowRegistry, registration: Registration
) -> None:
    registry.register(registration)
    client = registry._client
    version = client.get_model_version_by_alias("table", "challenger")
    assert version.source == str(registration.bundle)
    assert version.description is not None
    assert version.description.startswith(registration.description)
    assert version.tags == {
        "gate": "passed",
        "bundle_uri": registration.bundle_uri,
        "bundle_sha256": registration.bundle_digest.removeprefix("sha256:"),
    }
    assert version.run_id is not None
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"opset": "18"}
    assert run.data.metrics == {"int8-static/cpu/p50_ms": 12.0, "fp32/cpu/p50_ms": 24.0}
    history = client.get_metric_history(version.run_id, "int8-static/cpu/p50_ms")
    assert [(found.step, found.value) for found in history] == [(1, 1.5), (8, 12.0)]
    assert [file.path for file in client.list_artifacts(version.run_id)] == ["plots", "report.html"]
    assert [file.path for file in client.list_artifacts(version.run_id, "plots")] == [
        "plots/size.svg"
    ]


def test_the_run_names_its_data_by_digest(
    registry: MlflowRegistry, registration: Registration
) -> None:
    registry.register(registration)
    [data] = parent_of(registry).inputs.dataset_inputs
    digest = registration.datasets["calibration"]
    assert data.dataset.name == "calibration"
    assert json.loads(data.dataset.source) == {"digest": digest}
    assert digest.removeprefix("sha256:").startswith(data.dataset.digest)
    assert {tag.key: tag.value for tag in data.tags} == {"mlflow.data.context": "calibration"}


def test_each_variant_has_a_logged_model_with_its_own_numbers(
    registry: MlflowRegistry, registration: Registration
) -> None:
    registry.register(registration)
    models = logged_models(registry)
    assert sorted(models) == ["fp32", "int8-static"]
    for name, milliseconds in (("fp32", 3.0), ("int8-static", 1.5)):
        model = models[name]
        assert str(model.status) == "READY"
        assert model.params == {"status": "passed"}
        numbers = sorted((m.key, m.step, m.value) for m in model.metrics)
        assert numbers == [("cpu/p50_ms", 1, milliseconds), ("cpu/p50_ms", 8, milliseconds * 8)]
        assert model.tags["bundle_sha256"] == registration.bundle_digest.removeprefix("sha256:")
        run = registry._client.get_run(model.source_run_id)
        assert run.info.run_name == name
        assert run.data.tags["mlflow.parentRunId"] == parent_of(registry).info.run_id


def test_a_logged_model_says_how_its_variant_is_loaded_and_that_loads(
    tracking: MlflowRegistry, registration: Registration
) -> None:
    import mlflow.onnx

    tracking.register(registration)
    model = logged_models(tracking)["int8-static"]
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "table", "version": 1}]
    assert model.tags["load_as"] == "models:/table/1/variants/int8-static"
    loaded = mlflow.onnx.load_model(model.tags["load_as"])
    assert isinstance(loaded, onnx.ModelProto)


def test_the_description_leads_to_the_run_and_the_logged_models(
    registry: MlflowRegistry, registration: Registration
) -> None:
    registry.register(registration)
    description = str(registry._client.get_model_version("table", "1").description)
    run = parent_of(registry)
    assert f"(#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})" in description
    for name, model in logged_models(registry).items():
        assert f"[{name}](#/experiments/{model.experiment_id}/models/{model.model_id})" in (
            description
        )


def test_a_model_from_mlflow_is_named_as_the_source(
    tracking: MlflowRegistry, registration: Registration
) -> None:
    client = tracking._client
    training = client.create_run(client.create_experiment("training"))
    model = client.create_logged_model(
        training.info.experiment_id, name="net", source_run_id=training.info.run_id
    )
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model("net")
    client.create_model_version("net", f"models:/{model.model_id}", run_id=training.info.run_id)
    tracking.register(registration.model_copy(update={"source_uri": "models:/net/1/data/net.pt2"}))
    run = parent_of(tracking)
    assert run.data.tags["source_model"] == "models:/net/1/data/net.pt2"
    assert run.data.tags["source_run_id"] == training.info.run_id
    assert [found.model_id for found in run.inputs.model_inputs] == [model.model_id]
    description = str(client.get_model_version("table", "1").description)
    assert "Made from [models:/net/1/data/net.pt2](#/models/net/versions/1)" in description


def test_a_source_that_mlflow_has_forgotten_is_named_all_the_same(
    registry: MlflowRegistry, registration: Registration
) -> None:
    lost = registration.model_copy(update={"source_uri": "runs:/0123456789abcdef/model"})
    registry.register(lost)
    assert parent_of(registry).data.tags["source_model"] == "runs:/0123456789abcdef/model"


def test_artifacts_lie_beside_the_database_wherever_we_are(
    registry: MlflowRegistry,
    registration: Registration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    registry.register(registration)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(list((tmp_path / "mlflow-artifacts").rglob("report.html"))) == 1


def test_many_params_and_metrics_are_all_logged(
    registry: MlflowRegistry, registration: Registration
) -> None:
    many = registration.model_copy(
        update={
            "params": {f"p{i}": str(i) for i in range(250)},
            "metrics": tuple(Measurement(name=f"m/{i}", value=i) for i in range(1200)),
        }
    )
    registry.register(many)
    version = registry._client.get_model_version("table", "1")
    assert version.run_id is not None
    run = registry._client.get_run(version.run_id)
    assert len(run.data.params) == 250
    assert len(run.data.metrics) == 1200


def test_the_alias_loads_as_an_onnx_model(
    tracking: MlflowRegistry, registration: Registration
) -> None:
    import mlflow.onnx

    tracking.register(registration)
    model = mlflow.onnx.load_model("models:/table@challenger")
    assert isinstance(model, onnx.ModelProto)
    assert [node.op_type for node in model.graph.node] == ["LabelEncoder", "Mul", "Add"]


@pytest.mark.parametrize("variant", ["", "/variants/fp32", "/variants/int8-static"])
def test_the_alias_serves_what_onnxruntime_answers(
    tracking: MlflowRegistry, registration: Registration, variant: str
) -> None:
    import mlflow.pyfunc
    import onnxruntime

    tracking.register(registration)
    served = mlflow.pyfunc.load_model(f"models:/table@challenger{variant}")
    path = registration.bundle / (variant.lstrip("/") or "variants/int8-static") / "model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows = table_rows(4)
    answer = served.predict(rows)["score"]
    np.testing.assert_array_equal(answer, session.run(None, rows)[0])
    np.testing.assert_allclose(answer, table_scores(rows), rtol=1e-6)


def test_what_a_variant_asks_of_its_sessions_is_what_mlflow_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    monkeypatch.setattr("slipway.packaging.bundle.lacks_vnni", lambda: True)
    content = make_content(tmp_path / "content")
    model = onnx.load(content.variants["fp32"])
    onnx.helper.set_model_props(model, {X64_PRECISION: "1"})
    onnx.save(model, tmp_path / "asking.onnx")
    asking = {**content.variants, "int8-static": tmp_path / "asking.onnx"}
    build_bundle(tmp_path / "bundle", content=replace(content, variants=asking))
    for folder in ("", "variants/int8-static"):
        served = mlflow.pyfunc.load_model(str(tmp_path / "bundle" / folder))
        options = served._model_impl.rt.get_session_options()
        assert options.get_session_config_entry(X64_PRECISION) == "1"


def test_a_table_of_columns_is_served(tracking: MlflowRegistry, registration: Registration) -> None:
    import mlflow.pyfunc
    import pandas as pd

    tracking.register(registration)
    served = mlflow.pyfunc.load_model("models:/table@challenger")
    rows = table_rows(4)
    table = pd.DataFrame({"age": rows["age"][:, 0], "city": rows["city"][:, 0]})
    np.testing.assert_allclose(served.predict(table)["score"], table_scores(rows), rtol=1e-6)


def test_a_wrong_shape_is_refused_by_the_signature(
    tracking: MlflowRegistry, registration: Registration
) -> None:
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    tracking.register(registration)
    served = mlflow.pyfunc.load_model("models:/table@challenger")
    rows = table_rows(4)
    with pytest.raises(MlflowException, match="does not match expected shape"):
        served.predict({**rows, "age": rows["age"].reshape(2, 2)})


def test_the_input_example_can_be_served(
    tracking: MlflowRegistry, registration: Registration
) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    tracking.register(registration)
    model = Model.load(str(registration.bundle))
    example = model.load_input_example(str(registration.bundle))
    served = mlflow.pyfunc.load_model("models:/table@challenger")
    answer = served.predict(example)
    np.testing.assert_allclose(answer["score"], table_scores(table_rows(1)), rtol=1e-6)


def test_a_bundle_stays_sound_after_mlflow_has_loaded_it(
    tracking: MlflowRegistry, registration: Registration
) -> None:
    import mlflow.pyfunc

    tracking.register(registration)
    mlflow.pyfunc.load_model("models:/table@challenger")
    mlflow.pyfunc.load_model("models:/table@challenger/variants/fp32")
    left = sorted(registration.bundle.rglob("registered_model_meta"))
    assert [path.parent.name for path in left] == ["bundle", "fp32"]
    assert verify_bundle(registration.bundle, digest=registration.bundle_digest).findings == ()


def test_a_bundle_without_mlmodel_is_refused_and_nothing_is_made(
    registry: MlflowRegistry, registration: Registration
) -> None:
    (registration.bundle / "MLmodel").unlink()
    with pytest.raises(RequestError, match="holds no MLmodel"):
        registry.register(registration)
    assert registry.versions("table") == ()
    assert not registry._client.search_registered_models()


def test_absent_evidence_is_not_found_and_nothing_is_made(
    registry: MlflowRegistry, registration: Registration
) -> None:
    lost = registration.model_copy(update={"evidence": (Path("/nowhere/report.html"),)})
    with pytest.raises(SourceNotFound, match=r"/nowhere/report\.html"):
        registry.register(lost)
    assert registry.versions("table") == ()


def test_a_crash_between_run_and_version_is_made_good_by_the_next_try(
    registry: MlflowRegistry, registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry._client, "create_model_version", die)
        with pytest.raises(KeyboardInterrupt):
            registry.register(registration)
    assert registry.versions("table") == ()
    assert registry.register(registration).version == 1
    assert len(bundle_runs(registry)) == 2


def test_what_a_killed_process_left_running_is_marked_as_killed(
    registry: MlflowRegistry, registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry._client, "log_batch", die)
        patch.setattr(registry._client, "set_terminated", die)
        with pytest.raises(KeyboardInterrupt):
            registry.register(registration)
    assert {run.info.status for run in runs_of(registry)} == {"RUNNING"}
    registry.register(registration)
    assert {run.info.status for run in runs_of(registry)} == {"KILLED", "FINISHED"}


def test_a_version_without_its_links_gets_them_with_the_alias(
    registry: MlflowRegistry, registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry._client, "set_logged_model_tags", die)
        with pytest.raises(KeyboardInterrupt):
            registry.register(registration)
    assert "load_as" not in logged_models(registry)["fp32"].tags
    assert not registry.register(registration).created
    assert logged_models(registry)["fp32"].tags["load_as"] == "models:/table/1/variants/fp32"


def test_a_loser_of_the_race_deletes_its_own_version_and_run(
    registry: MlflowRegistry, registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = registry.register(registration)
    # The loser has searched before the winner's version was there.
    late = MlflowRegistry(registry.uri)
    monkeypatch.setattr(late, "find", lambda *_: None)
    assert late.register(registration) == winner.model_copy(update={"created": False})
    assert [version.version for version in registry.versions("table")] == [1]
    assert len(runs_of(registry)) == 3  # the bundle's and its two variants'
    assert len(logged_models(registry)) == 2


def test_a_version_made_by_others_is_left_out(
    registry: MlflowRegistry, registration: Registration
) -> None:
    registry._client.create_registered_model("table")
    registry._client.create_model_version("table", source="/somewhere")
    registry._client.set_registered_model_alias("table", "champion", "1")
    assert registry.versions("table") == ()
    with pytest.raises(SourceNotFound, match="carries no bundle's digest"):
        registry.resolve("table", "champion")
    assert registry.register(registration).version == 2


def test_a_deleted_version_is_forgotten_and_its_number_not_used_again(
    registry: MlflowRegistry, registration: Registration
) -> None:
    registry.register(registration)
    registry.register(registration.model_copy(update={"bundle_digest": OTHER}))
    registry._client.delete_model_version("table", "1")
    assert registry.find("table", registration.bundle_digest) is None
    assert registry.register(registration).version == 3


def test_a_deleted_experiment_is_restored(
    registry: MlflowRegistry, registration: Registration
) -> None:
    registry.register(registration)
    registry._client.delete_experiment(experiment_of(registry))
    other = registration.model_copy(update={"bundle_digest": OTHER})
    assert registry.register(other).version == 2


def run_python(program: str, *arguments: object, **environment: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ".", **environment},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


REGISTER = """
import sys
from pathlib import Path
from slipway.registries import open_registry
from tests.contracts.registry_contract import registration_of
registry = open_registry(sys.argv[1])
version = registry.register(registration_of(Path(sys.argv[2])))
assert registry.find("table", version.bundle_digest).version == version.version
print(version.version, version.created, "mlflow" in sys.modules)
"""


def test_an_unchanged_registration_does_not_import_mlflow(
    registry: MlflowRegistry, registration: Registration
) -> None:
    registry.register(registration)
    printed = run_python(REGISTER, registry.uri, registration.bundle)
    assert printed.split() == ["1", "False", "False"]


def test_a_registration_prints_nothing_of_mlflows_on_stdout(
    registry: MlflowRegistry, registration: Registration
) -> None:
    printed = run_python(REGISTER, registry.uri, registration.bundle)
    assert printed.split() == ["1", "True", "True"]


@pytest.mark.slow
def test_four_processes_that_meet_on_a_new_database_make_one_version(
    tmp_path: Path, bundle: Path
) -> None:
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", REGISTER, uri, str(bundle)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": "."},
        )
        for _ in range(4)
    ]
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ends
    numbers = {out.split()[0] for out, _ in ends}
    assert len(numbers) == 1
    assert [out.split()[1] for out, _ in ends].count("True") == 1
    assert len(open_registry(uri).versions("table")) == 1


def test_a_database_in_use_keeps_the_write_ahead_log(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    MlflowRegistry(f"sqlite:///{path}")._ask("nobody")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_finding_in_an_absent_database_makes_none(tmp_path: Path) -> None:
    registry = open_registry(f"sqlite:///{tmp_path / 'deep' / 'mlflow.db'}")
    assert registry.find("table", OTHER) is None
    assert list(tmp_path.iterdir()) == []


DOUBTS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "no table": lambda c: c.execute("DROP TABLE registered_model_aliases"),
    "another column": lambda c: c.execute(
        "ALTER TABLE registered_model_aliases RENAME COLUMN workspace TO space"
    ),
    "a digest that is none": lambda c: c.execute(
        "UPDATE model_version_tags SET value = 'x' WHERE key = 'bundle_sha256'"
    ),
}


@pytest.mark.parametrize("doubt", DOUBTS.values(), ids=DOUBTS)
def test_in_doubt_the_probe_says_nothing(
    registry: MlflowRegistry,
    registration: Registration,
    database: Path,
    doubt: Callable[[sqlite3.Connection], object],
) -> None:
    registry.register(registration)
    assert peek(database, "table") is not None
    with closing(sqlite3.connect(database)) as connection:
        doubt(connection)
        connection.commit()
    assert peek(database, "table") is None


def test_a_damaged_file_gives_no_answer_to_the_probe(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    assert peek(tmp_path / "mlflow.db", "table") is None


def test_another_workspace_is_left_to_mlflow(
    registry: MlflowRegistry,
    registration: Registration,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.register(registration)
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team")
    assert peek(database, "table") is None


def test_a_file_that_is_no_database_is_a_wrong_request(
    tmp_path: Path, registration: Registration
) -> None:
    (tmp_path / "notes.db").write_bytes(b"not a database" * 100)
    with pytest.raises(RequestError, match="is it an MLflow database"):
        open_registry(f"sqlite:///{tmp_path / 'notes.db'}").register(registration)


def test_a_database_where_a_file_stands_is_refused_with_the_way_out(
    tmp_path: Path, registration: Registration
) -> None:
    (tmp_path / "file").write_bytes(b"")
    registry = open_registry(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")
    with pytest.raises(EnvironmentMissing, match="choose another folder"):
        registry.register(registration)


def test_a_server_that_does_not_answer_may_answer_later(
    registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = open_registry("http://127.0.0.1:9")  # the discard port, where nobody listens
    with pytest.raises(RegistryUnavailable, match="127"):
        registry.register(registration)


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (401, RequestError),  # wrong credentials
        (403, RequestError),
        (405, RequestError),  # a server that only reads
        (503, RegistryUnavailable),
    ],
)
def test_a_server_that_refuses_is_retried_only_where_that_can_help(
    registration: Registration,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    raised: type[SlipwayError],
) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(status)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Quietly."""

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(raised) as caught:
                open_registry(f"http://127.0.0.1:{server.server_port}").register(registration)
            assert type(caught.value) is raised
        finally:
            server.shutdown()


FULL = """
import resource, sys
from pathlib import Path
from slipway.errors import EnvironmentMissing
from slipway.registries import open_registry
from tests.contracts.registry_contract import registration_of
registry = open_registry(sys.argv[1])
registry._ask("nobody")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
registration = registration_of(Path(sys.argv[2]))
evidence = (*registration.evidence, Path(sys.argv[4]))
try:
    registry.register(registration.model_copy(update={"evidence": evidence}))
except EnvironmentMissing as error:
    print("ulimit" in str(error))
"""


def test_a_full_disk_is_not_retried_and_half_a_version_is_none(
    registry: MlflowRegistry, registration: Registration, tmp_path: Path
) -> None:
    # No file may grow beyond a limit: as a full disk does, it stops a writer in the middle.
    (tmp_path / "large.html").write_bytes(b"x" * (24 << 20))
    printed = run_python(FULL, registry.uri, registration.bundle, 16 << 20, tmp_path / "large.html")
    assert printed.split() == ["True"]
    assert registry.versions("table") == ()
    assert registry.register(registration).version == 1


def test_a_bad_metric_name_is_a_wrong_request_and_its_run_failed(
    registry: MlflowRegistry, registration: Registration
) -> None:
    with pytest.raises(RequestError, match="p50"):
        registry.register(
            registration.model_copy(update={"metrics": (Measurement(name="p50<ms>", value=1),)})
        )
    assert {run.info.status for run in runs_of(registry)} == {"FAILED"}


def test_without_mlflow_the_extra_is_named(
    registration: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(EnvironmentMissing, match=r"slipway\[mlflow\]"):
        open_registry(f"sqlite:///{tmp_path / 'mlflow.db'}").register(registration)


def test_a_moved_bundle_keeps_its_version(
    registry: MlflowRegistry, registration: Registration, tmp_path: Path
) -> None:
    first: RegisteredVersion = registry.register(registration)
    moved = Path(shutil.copytree(registration.bundle, tmp_path / "moved"))
    again = registry.register(registration.model_copy(update={"bundle": moved}))
    assert again.version == first.version
    assert not again.created
    assert digest_bytes((moved / "manifest.json").read_bytes()) == registration.bundle_digest


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server, as small as it gets: one worker, no jobs, its own SQLite and folder."""
    folder = tmp_path_factory.mktemp("server")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--host", "127.0.0.1", "--port", str(port)),
                *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with suppress(OSError), closing(urlopen(url, timeout=5)):  # noqa: S310 - our own server
            return
        time.sleep(0.2)
    pytest.fail(f"the server did not come up:\n{log.read_text()}")


@pytest.mark.slow
def test_a_server_takes_holds_and_serves_the_bundle(
    server: str, registration: Registration, tmp_path: Path
) -> None:
    import mlflow

    registry = open_registry(server)
    first = registry.register(registration)
    assert (first.version, first.created, first.alias) == (1, True, "challenger")
    assert first.url == f"{server}/#/models/table/versions/1"
    again = registry.register(registration)
    assert again == first.model_copy(update={"created": False})
    assert registry.resolve("table", "challenger").bundle_digest == registration.bundle_digest
    with pytest.raises(SourceNotFound):
        registry.set_alias("table", "champion", 7)

    (tmp_path / "download").mkdir()
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server)
    try:
        there = mlflow.artifacts.download_artifacts(
            "models:/table@challenger", dst_path=str(tmp_path / "download")
        )
        served = mlflow.pyfunc.load_model("models:/table@challenger/variants/int8-static")
    finally:
        mlflow.set_tracking_uri(before)
    assert verify_bundle(Path(there), digest=registration.bundle_digest).findings == ()
    answer = served.predict(table_rows(4))["score"]
    np.testing.assert_allclose(answer, table_scores(table_rows(4)), rtol=1e-6)
