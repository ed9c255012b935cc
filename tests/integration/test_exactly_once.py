"""One version of a bundle, whole, whatever is killed on the way and whoever else registers it.

Real processes that kill themselves, on a folder with SQLite, and on S3 with an MLflow server over
Postgres. `killed_releases.py` says what a process is killed before.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.packaging.bundle import build_bundle
from slipway.packaging.manifest import read_manifest
from slipway.settings import Settings
from slipway.stores.s3_client import open_client
from tests.ceph_server import Ceph, ceph, use
from tests.mlflow_server import serving_mlflow
from tests.postgres_server import missing, serving_postgres
from tests.sample_bundles import make_content, table_rows, table_scores

__all__ = ["ceph"]
pytest.importorskip("mlflow", reason="MLflow is not installed")
pytestmark = [
    pytest.mark.timeout(600),
    # MLflow 3.17 warns of its own classes when mlflow.pyfunc is first imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

PROGRAM = Path(__file__).parents[1] / "killed_releases.py"
PROMOTIONS = PROGRAM.with_name("killed_promotions.py")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two different bundles."""
    folder = tmp_path_factory.mktemp("bundles")
    content = make_content(folder / "content")
    build_bundle(folder / "one", content=content)
    build_bundle(
        folder / "two", content=replace(content, evidence={"evidence/report.html": b"<p>2</p>"})
    )
    return folder / "one", folder / "two"


def run(home: Path, bundle: Path, *arguments: object, program: Path = PROGRAM) -> list[Any]:
    """What the program prints, line by line."""
    home.mkdir(exist_ok=True)
    ended = subprocess.run(
        [sys.executable, str(program), str(bundle), str(home), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "SLIPWAY_HOME": str(home),
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "PYTHONPATH": os.pathsep.join(
                (str(PROGRAM.parents[1]), os.environ.get("PYTHONPATH", ""))
            ),
        },
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def must_be_once(ends: list[Any]) -> None:
    """Whatever a version's reader sees is whole, and there is one in the end."""
    assert ends
    for end in ends:
        assert end["status"] in {-9, 0}, end
        assert len(end["killed"]["versions"]) <= 1, end
        assert end["killed"]["wrong"] == [], end
        assert end["again"] == 0, end
        assert len(end["ended"]["versions"]) == 1, end
        assert end["ended"]["alias"] == end["ended"]["versions"], end
        assert end["ended"]["wrong"] == [], end


def test_a_release_killed_anywhere_is_one_whole_version_after_the_next_run(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    [[_, effects]] = run(tmp_path / "count", bundles[0], "count", "table")
    assert effects > 200
    ends = run(tmp_path / "home", bundles[0], "kill", 5, 61)
    # Between the version and its alias: these are the last.
    ends += run(tmp_path / "home", bundles[0], "kill", effects - 20, 7)
    must_be_once(ends)
    seen = {(len(end["killed"]["versions"]), len(end["killed"]["alias"])) for end in ends}
    assert seen == {(0, 0), (1, 0), (1, 1)}


def test_releases_of_one_bundle_at_once_make_one_version_and_another_bundle_makes_another(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = bundles
    [end] = run(tmp_path / "home", one, "meet", one, two, two)
    assert end["ends"] == [0, 0, 0, 0]
    assert len(end["state"]["versions"]) == 2  # a loser's number is not given again
    assert len(set(end["state"]["digests"])) == 2
    assert end["state"]["wrong"] == []


def promotions(tmp_path: Path, *arguments: object) -> list[Any]:
    """What the program of killed promotions prints, on two releases."""
    home = tmp_path / "home"
    if not (tmp_path / "template").exists():
        run(home, tmp_path / "template", "prepare", program=PROMOTIONS)
    return run(home, tmp_path / "template", *arguments, program=PROMOTIONS)


def test_a_promotion_killed_between_the_log_and_the_alias_has_one_end(tmp_path: Path) -> None:
    # Before the log's record; between it and the alias, which is found as drift; after the alias.
    ends = promotions(tmp_path, "again", "table", 14, 10, 6)
    assert [end["status"] for end in ends] == [-9, -9, -9]
    assert [end["killed"]["log"] for end in ends] == [[1], [1, 2], [1, 2]]
    assert [end["killed"]["alias"] for end in ends] == [1, 1, 2]
    assert [end["killed"]["drift"] for end in ends] == [[False], [True], [False]]
    ends += promotions(tmp_path, "repair", "table", 10)
    assert ends[-1]["killed"] == ends[1]["killed"]
    for end in ends:
        assert end["ended"] == {
            "log": [1, 2],
            "alias": 2,
            "versions": [1, 2],
            "tags": ["#2", "#2"],
            "drift": [False],
        }


def test_a_promotion_to_another_environment_killed_on_the_way_makes_one_copy(
    tmp_path: Path,
) -> None:
    ends = promotions(tmp_path, "again", "prod.table", 150, 20, 8)
    assert [end["status"] for end in ends] == [-9, -9, -9]
    assert [end["killed"]["versions"] for end in ends] == [[], [1], [1]]
    for end in ends:
        assert (end["ended"]["log"], end["ended"]["versions"]) == ([1], [1])
        assert (end["ended"]["alias"], end["ended"]["drift"]) == (1, [False])


@pytest.fixture(scope="module")
def registry(ceph: Ceph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow on Postgres with its artifacts in S3, and this process a user of all of them."""
    if reason := missing():
        pytest.skip(reason)
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    pytest.importorskip("boto3", reason="boto3 is not installed")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        use(ceph, patch)
        for bucket in ("releases", "mlflow"):
            open_client(Settings()).create_bucket(Bucket=bucket)
        address = stack.enter_context(
            serving_mlflow(
                tmp_path_factory.mktemp("mlflow"),
                backend=stack.enter_context(serving_postgres()),
                artifacts="s3://mlflow/artifacts",
            )
        )
        yield address


@pytest.fixture
def store(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of this test's own, beside that registry."""
    uri = f"s3://releases/{tmp_path.name}"
    monkeypatch.setenv("SLIPWAY_STORE", uri)
    monkeypatch.setenv("SLIPWAY_REGISTRY", registry)
    return uri


@pytest.mark.usefixtures("store")
def test_on_servers_too_a_killed_release_is_one_whole_version_after_the_next_run(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    [[_, effects]] = run(tmp_path / "count", bundles[0], "count", "counted")
    ends = run(tmp_path / "home", bundles[0], "kill", effects // 4, effects // 3)
    ends += run(tmp_path / "home", bundles[0], "kill", effects - 2, 6)
    must_be_once(ends)
    assert {-9, 0} == {end["status"] for end in ends}


@pytest.mark.usefixtures("store")
def test_on_servers_too_releases_at_once_make_one_version_of_each_bundle(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = bundles
    [end] = run(tmp_path / "home", one, "meet", one, two)
    assert end["ends"] == [0, 0, 0]
    assert len(end["state"]["versions"]) == 2
    assert end["state"]["wrong"] == []


@pytest.fixture
def tracking(registry: str) -> Iterator[None]:
    """MLflow looks at the server, said in code: what other tests said so outdoes a variable."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(registry)
    yield
    mlflow.set_tracking_uri(before)


def test_a_server_on_postgres_serves_every_variant_from_the_store_and_was_sent_no_model(
    registry: str,
    store: str,
    bundles: tuple[Path, Path],
    tmp_path: Path,
    tracking: None,  # noqa: ARG001 - where MLflow looks
) -> None:
    import mlflow

    run(tmp_path / "home", bundles[0], "count", "served")
    digest = read_manifest(bundles[0]).digest.removeprefix("sha256:")
    client = mlflow.MlflowClient(registry, registry)
    version = client.get_model_version_by_alias("served", "challenger")
    assert version.source == f"{store}/bundles/{digest}"
    for variant in ("fp32", "int8-static"):
        address = f"models:/served@challenger/variants/{variant}"
        out = mlflow.artifacts.download_artifacts(address, dst_path=str(tmp_path / variant))
        sealed = bundles[0] / "variants" / variant / "model.onnx"
        assert (Path(out) / "model.onnx").read_bytes() == sealed.read_bytes()
        served = mlflow.pyfunc.load_model(address).predict(table_rows(4))
        np.testing.assert_allclose(served["score"], table_scores(table_rows(4)), rtol=1e-6)
    sent = open_client(Settings()).list_objects_v2(Bucket="mlflow").get("Contents", ())
    assert {Path(entry["Key"]).suffix for entry in sent} == {".html", ".svg"}
