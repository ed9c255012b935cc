import pytest

from slipway.errors import RequestError
from slipway.protocols import Registration, Registry
from slipway.registries import open_registry
from slipway.registries.memory import MemoryRegistry
from tests.contracts.registry_contract import RegistryContract


class TestMemoryRegistry(RegistryContract):
    @pytest.fixture
    def registry(self) -> Registry:
        return MemoryRegistry()

    def test_registries_of_one_name_are_the_same(self, registration: Registration) -> None:
        open_registry("memory://shared").register(registration)
        assert open_registry("memory://shared").versions("table")
        assert open_registry("memory://other").versions("table") == ()
        assert open_registry("memory://").versions("table") == ()


@pytest.mark.parametrize("uri", ["", "mlruns", "postgresql://host/db", "ftp://host"])
def test_an_unknown_address_is_refused_naming_those_there(uri: str) -> None:
    with pytest.raises(RequestError, match="memory://, sqlite://, http://, https://"):
        open_registry(uri)


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_sqlite_without_a_file_is_refused(uri: str) -> None:
    with pytest.raises(RequestError, match="names no file"):
        open_registry(uri)
