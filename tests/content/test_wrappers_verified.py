"""A flipped bit is never served."""

import os

import pytest

from boxwork.content.places.memory import MemoryPlace
from boxwork.content.wrappers.verified import Verified
from boxwork.errors import BlobCorrupt, BlobMissing, StorageFull
from boxwork.keys import ref_of
from boxwork.testing.faults import FaultyStore, in_child


@pytest.fixture
def faulty():
    return FaultyStore(MemoryPlace())


@pytest.mark.parametrize("size", [1, 100, 5000])
@pytest.mark.parametrize("fault", ["flip", "cut"])
def test_wrong_bytes_are_refused_before_the_first_one(faulty, size, fault):
    store = Verified(faulty, name="the faulty one", memory_bytes_max=1000)
    ref = store.put(os.urandom(size))
    getattr(faulty, fault).add(ref)
    for read in (store.get, store.open):
        with pytest.raises(BlobCorrupt, match="the faulty one") as caught:
            read(ref)
        assert caught.value.details["ref"] == ref
    getattr(faulty, fault).clear()
    assert ref_of(store.get(ref)) == ref
    with store.open(ref) as file:
        assert ref_of(file.read()) == ref


def test_every_single_bit_matters(faulty):
    store = Verified(faulty)
    data = b"every bit"
    ref = store.put(data)
    for position in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        faulty.inner._blobs[ref] = bytes(flipped)
        with pytest.raises(BlobCorrupt):
            store.get(ref)


def test_what_is_served_is_what_was_hashed_even_if_the_place_changes(faulty):
    store = Verified(faulty, memory_bytes_max=1000)
    for data in (b"small", b"large" * 1000):
        ref = store.put(data)
        with store.open(ref) as file:
            faulty.inner._blobs[ref] = b"x" * len(data)
            assert file.read() == data


def test_a_spool_that_is_full_is_said(faulty, tmp_path):
    store = Verified(faulty, spool=tmp_path, memory_bytes_max=1000)
    ref = store.put(bytes(3_000_000))
    with pytest.raises(StorageFull):
        in_child(lambda: store.open(ref), file_bytes_max=100_000)
    assert os.listdir(tmp_path) == []


def test_missing_stays_missing(faulty):
    with pytest.raises(BlobMissing):
        Verified(faulty).get(ref_of(b"no"))
