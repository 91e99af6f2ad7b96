"""The contract notices a store that breaks it."""

import pytest

from boxwork.content.places.memory import MemoryPlace
from boxwork.testing.faults import FaultyStore
from boxwork.testing.stores import StoreContract, content_settings, some_bytes


class Forgetful(MemoryPlace):
    def delete(self, ref):
        return super().delete(ref) or True


class Aliasing(MemoryPlace):
    def _keep(self, ref, data):
        self._blobs[ref] = data[:-1] if len(data) == 4096 else data


@pytest.mark.parametrize(
    ("broken", "test"),
    [(Forgetful, "test_a_missing_blob_is_missing_in_every_way"), (Aliasing, "test_what_was_put_is_got")],
)
def test_a_broken_store_does_not_pass(broken, test):
    with pytest.raises(AssertionError):
        getattr(StoreContract(), test)(broken())


def test_a_store_that_flips_a_bit_does_not_pass():
    store = FaultyStore(MemoryPlace())
    put = store.put

    def put_and_flip(data, *, durable=True):
        ref = put(data, durable=durable)
        store.flip.add(ref)
        return ref

    store.put = put_and_flip
    with pytest.raises(AssertionError):
        StoreContract().test_what_was_put_is_got(store)


def test_settings_of_a_test_do_not_see_the_environment(monkeypatch):
    monkeypatch.setenv("BOXWORK_CONTENT_GC_GRACE_S", "5")
    assert content_settings()["content.gc_grace_s"] == 14 * 24 * 3600
    assert content_settings(gc_grace_s=7)["content.gc_grace_s"] == 7


def test_some_bytes_are_never_the_same():
    assert len({some_bytes(20) for _ in range(100)}) == 100
