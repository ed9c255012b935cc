"""Settings come from SLIPWAY_ variables, and a wrong one is named."""

from pathlib import Path

import pytest

from slipway.errors import RequestError
from slipway.settings import Settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "STORE", "REGISTRY", "TIMEOUT_S", "MEMORY_LIMIT_BYTES"):
        monkeypatch.delenv(f"SLIPWAY_{name}", raising=False)


def test_everything_lies_under_home_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    settings = Settings()
    assert settings.root == Path("/home/ada/.slipway")
    assert settings.store_uri == "/home/ada/.slipway/store"
    assert settings.registry_uri == "sqlite:////home/ada/.slipway/mlflow.db"
    assert settings.results == Path("/home/ada/.slipway/results")
    assert settings.bundles == Path("/home/ada/.slipway/bundles")
    assert settings.timeout_s == 1800
    assert settings.memory_limit_bytes is None


def test_variables_win_and_are_read_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Settings().timeout_s == 1800
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    monkeypatch.setenv("SLIPWAY_STORE", "memory://a")
    monkeypatch.setenv("SLIPWAY_REGISTRY", "http://registry:5000")
    monkeypatch.setenv("SLIPWAY_TIMEOUT_S", "2.5")
    settings = Settings()
    assert settings.root == tmp_path
    assert settings.store_uri == "memory://a"
    assert settings.registry_uri == "http://registry:5000"
    assert settings.timeout_s == 2.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIMEOUT_S", "soon"),
        ("TIMEOUT_S", "0"),
        ("TIMEOUT_S", "-3"),
        ("MEMORY_LIMIT_BYTES", "1GB"),
        ("MEMORY_LIMIT_BYTES", "0"),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"SLIPWAY_{name}", value)
    with pytest.raises(RequestError, match=rf"SLIPWAY_{name}: .*got '{value}'"):
        Settings()
