"""What containers start with: passwords from files, and never a server without its own."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

START = Path(__file__).parents[2] / "docker/start.sh"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder with every password; each is its own name and a letter."""
    folder = tmp_path / "secrets"
    made = ["sh", str(START.parents[1] / "infra/secrets.sh"), str(folder)]
    subprocess.run(made, check=True, capture_output=True)
    for path in folder.iterdir():
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        path.write_text(f"{path.name}-x\n")
    return folder


def start(
    secrets: Path, tmp_path: Path, *command: str, doctor: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the script before stand-ins of the image's programs, which print their environment."""
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("prefect", "mlflow"):
        (programs / name).write_text("#!/bin/sh\nenv\n")
    (programs / "slipway").write_text(f"#!/bin/sh\nexit {doctor}\n")
    for path in programs.iterdir():
        path.chmod(0o755)
    return subprocess.run(
        ["sh", str(START), *command],
        env={"PATH": f"{programs}:{os.environ['PATH']}", "SECRETS": str(secrets), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_prefect_server_is_given_its_passwords(secrets: Path, tmp_path: Path) -> None:
    ran = start(
        secrets,
        tmp_path,
        *("prefect", "server", "start"),
        DATABASE="postgresql+asyncpg://prefect@db:5432/prefect",
        REDIS="redis:6379",
    )
    assert ran.returncode == 0, ran.stderr
    said = ran.stdout.splitlines()
    assert "PREFECT_SERVER_API_AUTH_STRING=admin:prefect-password-x" in said
    address = "postgresql+asyncpg://prefect:postgres-prefect-x@db:5432/prefect"
    assert f"PREFECT_SERVER_DATABASE_CONNECTION_URL={address}" in said
    assert "PREFECT_SERVER_DOCKET_URL=redis://:redis-password-x@redis:6379/1" in said


@pytest.mark.parametrize("gone", ["prefect-password", "postgres-prefect", "redis-password"])
def test_a_prefect_server_without_one_of_its_passwords_does_not_start(
    secrets: Path, tmp_path: Path, gone: str
) -> None:
    (secrets / gone).write_text("")
    ran = start(
        secrets, tmp_path, "prefect", "server", "start", DATABASE="postgresql://p@db/p", REDIS="r:1"
    )
    assert ran.returncode == 3
    assert f"the secret {gone} is not in {secrets}" in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize("gone", ["postgres-mlflow", "mlflow-admin", "mlflow-sessions"])
def test_an_mlflow_server_without_one_of_its_passwords_does_not_start(
    secrets: Path, tmp_path: Path, gone: str
) -> None:
    (secrets / gone).unlink()
    ran = start(secrets, tmp_path, "mlflow", "server", DATABASE="postgresql://m@db/m")
    assert ran.returncode == 3
    assert gone in ran.stderr


def test_a_worker_is_given_what_it_uses(secrets: Path, tmp_path: Path) -> None:
    ran = start(secrets, tmp_path, "prefect", "worker", "start")
    assert ran.returncode == 0, ran.stderr
    said = ran.stdout.splitlines()
    assert "PREFECT_API_AUTH_STRING=admin:prefect-password-x" in said
    assert "MLFLOW_TRACKING_PASSWORD=mlflow-worker-x" in said
    assert "AWS_SECRET_ACCESS_KEY=s3-secret-key-x" in said


def test_a_worker_does_not_start_where_the_examination_fails(secrets: Path, tmp_path: Path) -> None:
    assert start(secrets, tmp_path, "prefect", "worker", "start", doctor=3).returncode == 3


def test_a_job_of_a_pool_starts_without_the_examination(secrets: Path, tmp_path: Path) -> None:
    assert start(secrets, tmp_path, "prefect", "flow-run", "execute", doctor=3).returncode == 0
