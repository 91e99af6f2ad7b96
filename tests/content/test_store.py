"""The one contract, over every place and wrapper that needs no server."""

import contextlib
import os

import pytest

from boxwork.clock import SystemClock
from boxwork.content.content import Content
from boxwork.content.places.disk import DiskPlace
from boxwork.content.places.memory import MemoryPlace
from boxwork.content.store import Store
from boxwork.content.wrappers.cached import Cached
from boxwork.content.wrappers.verified import Verified
from boxwork.database import Database
from boxwork.testing.faults import FaultyStore, failing
from boxwork.testing.stores import StoreContract, content_settings


@contextlib.contextmanager
def disk(root, *, durable=True, inline_bytes_max=32 * 1024, clock=None):
    database = Database(root / "db", ("blobs", "bytes"), durable=durable)
    place = DiskPlace(
        root / "blobs",
        root / "tmp",
        database,
        clock or SystemClock(),
        name="disk",
        durable=durable,
        inline_bytes_max=inline_bytes_max,
    )
    try:
        yield place
    finally:
        database.close()
    assert os.listdir(root / "tmp") == []


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryPlace()


class TestDurableDisk(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with disk(tmp_path) as place:
            yield place


class TestCacheDisk(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with disk(tmp_path, durable=False) as place:
            yield place


class TestDiskWithEverythingInFiles(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with disk(tmp_path, durable=False, inline_bytes_max=-1) as place:
            yield place


class TestDiskWithEverythingInline(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with disk(tmp_path, durable=False, inline_bytes_max=1 << 30) as place:
            yield place


class TestVerifiedDisk(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with disk(tmp_path, durable=False) as place:
            yield Verified(place)


class TestVerifiedThroughTheSpool(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return Verified(MemoryPlace(), spool=tmp_path, memory_bytes_max=500)


class TestCached(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with disk(tmp_path, durable=False) as far:
            yield Cached(MemoryPlace(), far)


class TestCachedWithFullNear(StoreContract):
    @pytest.fixture
    def store(self):
        return Cached(MemoryPlace(bytes_max=2000), MemoryPlace())


class TestCachedWithBrokenNear(StoreContract):
    @pytest.fixture
    def store(self):
        broken = FaultyStore(MemoryPlace(), fail=failing("put", "put_stream", "get", "open", "size", "has"))
        return Cached(broken, MemoryPlace())


class TestContentAsAStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with contextlib.closing(Content(tmp_path, content_settings(), SystemClock())) as content:
            yield content


def test_every_store_here_satisfies_the_protocol(tmp_path):
    stores: list[Store] = [MemoryPlace(), Verified(MemoryPlace()), Cached(MemoryPlace(), MemoryPlace())]
    whole = Content(tmp_path / "c", content_settings(), SystemClock())
    with disk(tmp_path / "disk") as place, contextlib.closing(whole) as content:
        stores += [place, content, FaultyStore(place)]
        for store in stores:
            for verb in ("put", "put_stream", "get", "open", "size", "has", "delete", "refs", "close"):
                assert callable(getattr(store, verb))
