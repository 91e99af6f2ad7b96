"""A near store in front of a far one."""

import pytest

from boxwork.content.places.memory import MemoryPlace
from boxwork.content.wrappers.cached import Cached
from boxwork.content.wrappers.verified import Verified
from boxwork.errors import StorageError
from boxwork.testing.faults import FaultyStore, failing


@pytest.fixture
def near():
    return FaultyStore(MemoryPlace())


@pytest.fixture
def far():
    return FaultyStore(MemoryPlace())


def test_a_read_fills_the_near_store_and_the_next_one_stays_near(near, far):
    store = Cached(near, far)
    one, two = far.inner.put(b"one"), far.inner.put(b"two")
    assert store.get(one) == b"one"
    with store.open(two) as file:
        assert file.read() == b"two"
    far.calls.clear()
    assert store.get(one) == b"one"
    with store.open(two) as file:
        assert file.read() == b"two"
    assert store.has(one)
    assert store.size(two) == 3
    assert far.calls == []


def test_what_was_put_is_near_and_far(near, far):
    ref = Cached(near, far).put(b"x")
    assert near.inner.has(ref)
    assert far.inner.has(ref)


def test_a_near_store_that_is_full_costs_trips_and_nothing_else(far):
    store = Cached(MemoryPlace(bytes_max=5), far)
    refs = [store.put(b"%d" % number * 4) for number in range(5)]
    assert [store.get(ref) for ref in refs] == [b"%d" % number * 4 for number in range(5)]
    for ref in refs:
        with store.open(ref) as file:
            assert len(file.read()) == 4


def test_damaged_bytes_near_are_dropped_and_fetched_again(near, far):
    store = Cached(Verified(near), far)
    ref = store.put(b"precious")
    near.inner._blobs[ref] = b"precioux"
    assert store.get(ref) == b"precious"
    assert near.inner.get(ref) == b"precious"
    near.inner._blobs[ref] = b"precioux"
    with store.open(ref) as file:
        assert file.read() == b"precious"


def test_damaged_bytes_far_never_come_near(near, far):
    store = Cached(near, Verified(far))
    ref = far.inner.put(b"precious")
    far.flip.add(ref)
    for read in (store.get, store.open):
        with pytest.raises(Exception, match="other bytes"):
            read(ref)
    assert not near.inner.has(ref)


def test_a_far_store_that_fails_is_an_error_and_nothing_is_near_only(near, far):
    store = Cached(near, far)
    far.fail = failing("put")
    with pytest.raises(StorageError):
        store.put(b"x")
    assert list(near.inner.refs()) == []


def test_what_far_has_lost_is_still_served_and_named(near, far):
    store = Cached(near, far)
    ref = store.put(b"x")
    far.inner.delete(ref)
    assert store.get(ref) == b"x"
    assert list(store.refs()) == [ref]


def test_large_blobs_are_opened_far(near, far):
    store = Cached(near, far, fill_bytes_max=10)
    ref = far.inner.put(b"x" * 11)
    with store.open(ref) as file:
        assert len(file.read()) == 11
    assert not near.inner.has(ref)
