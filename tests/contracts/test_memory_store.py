from pathlib import Path

from slipway.protocols import Store
from slipway.stores import open_store
from slipway.stores.memory import MemoryStore
from tests.contracts.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    def make(self, folder: Path) -> Store:  # noqa: ARG002 - it needs none
        return MemoryStore()

    def damage(self, store: Store, digest: str) -> None:
        assert isinstance(store, MemoryStore)
        data = store._bytes[digest]
        store._bytes[digest] = bytes([data[0] ^ 1]) + data[1:]


def test_stores_of_one_name_share_their_bytes() -> None:
    ref = open_store("memory://shared").put_bytes(b"data", media_type="x")
    assert open_store("memory://shared").read_bytes(ref.digest) == b"data"
    assert not open_store("memory://other").contains(ref.digest)


def test_stores_without_a_name_share_nothing() -> None:
    ref = open_store("memory://").put_bytes(b"data", media_type="x")
    assert not open_store("memory://").contains(ref.digest)
