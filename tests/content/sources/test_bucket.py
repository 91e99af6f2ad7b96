"""A bucket of a real SeaweedFS as a source: objects are found, served verified, told apart and watched."""

from __future__ import annotations

import contextlib
import threading

import pytest

from boxwork.clock import SystemClock
from boxwork.content.inventory import TABLES, Inventory
from boxwork.content.sources import bucket as bucket_source
from boxwork.content.sources.bucket import BucketAddress, store_of
from boxwork.content.sources.source import address_of
from boxwork.content.sources.spool import MEMORY_BYTES_MAX
from boxwork.database import Database
from boxwork.errors import BadInput, BlobMissing, StorageError
from boxwork.keys import ref_of
from boxwork.settings import MiB
from boxwork.testing.stores import seaweedfs

prefixes = iter(f"shop {number}/photos" for number in range(10_000))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as arguments:
        yield arguments


@pytest.fixture
def source(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server["secret_access_key"])
    return address_of(f"s3://{server['bucket']}/{next(prefixes)}?endpoint={server['endpoint']}")


@pytest.fixture
def put(source):
    import obstore

    store = store_of(BucketAddress.parse(source))
    return lambda path, data: obstore.put(store, path, data)


@pytest.fixture
def inventory(tmp_path):
    with contextlib.closing(Database(tmp_path / "db", TABLES, durable=True)) as opened:
        place = Inventory(opened, SystemClock())
        yield place
        place.close()


def states(inventory, source, **options):
    return {seen.path: seen.state for seen in inventory.scan(source, **options)}


@pytest.mark.servers
def test_a_bucket_is_taken_in_and_served(inventory, source, put):
    large = b"large" * (MEMORY_BYTES_MAX // 4)
    for path, data in {
        "a.jpg": b"a",
        "2024/b ü.PNG": b"b",
        "large.jpg": large,
        "notes.txt": b"-",
        ".x.jpg": b"-",
    }.items():
        put(path, data)
    assert {"a.jpg": "new", "2024/b ü.PNG": "new", "large.jpg": "new"} == states(
        inventory, source, suffixes=(".jpg", ".png")
    )
    assert [3] == list(inventory.expected(source, suffixes=(".jpg", ".png")))
    for data in (b"a", b"b", large):
        assert data == inventory.get(ref_of(data))
        assert len(data) == inventory.size(ref_of(data))
        assert inventory.has(ref_of(data))
    with inventory.open(ref_of(large)) as file:
        file.seek(-5, 2)
        assert b"large" == file.read()
        assert not file.writable()
    assert set(states(inventory, source, suffixes=(".jpg", ".png")).values()) == {"known"}
    assert [] == inventory.folders()
    assert [source] == inventory.sources()
    assert [] == inventory.paths(ref_of(b"a"))


@pytest.mark.servers
def test_what_changed_came_or_went_is_told(inventory, source, put):
    import obstore

    for name in "abc":
        put(f"{name}.jpg", name.encode())
    states(inventory, source)
    mark = inventory.look(source).mark
    assert () == inventory.look(source, mark).within
    put("a.jpg", b"A")
    obstore.rename(store_of(BucketAddress.parse(source)), "b.jpg", "bee.jpg")
    obstore.delete(store_of(BucketAddress.parse(source)), "c.jpg")
    assert inventory.look(source, mark).within is None
    assert {"a.jpg": "changed", "b.jpg": "gone", "bee.jpg": "new", "c.jpg": "gone"} == states(inventory, source)
    assert b"b" == inventory.get(ref_of(b"b"))
    assert not inventory.has(ref_of(b"a"))


@pytest.mark.servers
def test_an_object_that_has_other_bytes_is_not_served_under_the_old_name(inventory, source, put):
    put("a.jpg", b"before")
    states(inventory, source)
    put("a.jpg", b"after!")
    assert b"before" == inventory.get(ref_of(b"before"))  # it is in memory, and is what its name says
    inventory._recent.__init__()
    with pytest.raises(BlobMissing, match="other bytes now"):
        inventory.get(ref_of(b"before"))


@pytest.mark.servers
def test_one_object_is_taken_in_by_its_path(inventory, source, put):
    put("a.jpg", b"a")
    put("b.jpg", b"b")
    seen = inventory.take(source, "b.jpg")
    assert (ref_of(b"b"), "new") == (seen.ref, seen.state)
    assert "it is gone" == inventory.take(source, "c.jpg").reason
    inventory.hide(seen.id)
    assert {"a.jpg": "new", "c.jpg": "gone"} == states(inventory, source)


@pytest.mark.servers
def test_what_was_read_for_its_digest_is_not_fetched_again_for_its_thumbnail(inventory, source, put, monkeypatch):
    import obstore

    put("a.jpg", b"a" * 1000)
    asked = []
    real = obstore.get
    monkeypatch.setattr(obstore, "get", lambda *arguments, **options: asked.append(1) or real(*arguments, **options))
    states(inventory, source)
    inventory.get(ref_of(b"a" * 1000))
    inventory.get(ref_of(b"a" * 1000))
    assert [1] == asked


@pytest.mark.servers
def test_large_photos_are_told_while_they_are_still_in_memory(inventory, source, put, monkeypatch):
    import obstore

    photos = {f"{number:02}.jpg": bytes([number]) * (3 * MiB) for number in range(40)}
    for path, data in photos.items():
        put(path, data)
    asked = []
    real = obstore.get
    monkeypatch.setattr(obstore, "get", lambda *arguments, **options: asked.append(1) or real(*arguments, **options))
    for seen in inventory.scan(source):  # who prepares a photo reads it when it is told
        assert photos[seen.path] == inventory.get(seen.ref)
    assert len(photos) == len(asked)


@pytest.mark.servers
@pytest.mark.parametrize(("size", "at_once"), [(10, 24), (5 * MiB, 4)])
def test_many_small_objects_are_on_their_way_at_once_and_few_large_ones(
    inventory, source, put, monkeypatch, size, at_once
):
    import obstore

    for number in range(2 * at_once):
        put(f"{number:03}.jpg", bytes([number]) * size)
    real = obstore.get
    lock = threading.Lock()
    meeting = threading.Barrier(at_once)
    here, most = 0, 0

    def get(store, path, **options):
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
        meeting.wait(20)  # nobody gets an answer before so many have asked
        with lock:
            here -= 1
        return real(store, path, **options)

    monkeypatch.setattr(obstore, "get", get)
    assert {"new"} == set(states(inventory, source).values())
    assert most * size <= bucket_source.AHEAD_BYTES_MAX


@pytest.mark.servers
def test_one_object_that_the_server_fails_to_give_does_not_end_the_scan(inventory, source, put, monkeypatch):
    import obstore
    from obstore.exceptions import GenericError

    for name in "abc":
        put(f"{name}.jpg", name.encode())
    real = obstore.get

    def get(store, path, **options):
        if path == "b.jpg":
            raise GenericError("503, a disk of it is broken")
        return real(store, path, **options)

    monkeypatch.setattr(obstore, "get", get)
    told = {seen.path: (seen.state, seen.reason) for seen in inventory.scan(source)}
    assert [("new", "")] * 2 == [told["a.jpg"], told["c.jpg"]]
    assert "unreadable" == told["b.jpg"][0]
    assert "a disk of it is broken" in told["b.jpg"][1]
    assert ["b.jpg"] == [item.name for item in inventory.items(faulty=True).items]
    monkeypatch.setattr(obstore, "get", real)
    assert {"a.jpg": "known", "b.jpg": "new", "c.jpg": "known"} == states(inventory, source)


@pytest.mark.servers
def test_a_server_that_goes_away_in_the_middle_ends_the_scan_and_the_next_one_reads_the_rest(
    inventory, source, put, monkeypatch
):
    import obstore
    from obstore.exceptions import GenericError

    for number in range(200):
        put(f"{number:03}.jpg", b"%d" % number)
    asked = []
    real, real_list = obstore.get, obstore.list

    def gone(*arguments, **options):
        raise GenericError("connection refused")

    def get(store, path, **options):
        asked.append(path)
        if len(asked) > 150:
            monkeypatch.setattr(obstore, "list", gone)
            gone()
        return real(store, path, **options)

    monkeypatch.setattr(obstore, "get", get)
    with pytest.raises(StorageError, match="whether the server runs"):
        states(inventory, source)
    taken = inventory.count()
    assert 64 <= taken <= 150
    assert [] == inventory.items(faulty=True).items
    monkeypatch.setattr(obstore, "list", real_list)
    del asked[:]
    monkeypatch.setattr(obstore, "get", lambda *arguments, **options: asked.append(1) or real(*arguments, **options))
    again = list(states(inventory, source).values())
    assert [taken, 200 - taken] == [again.count("known"), again.count("new")]
    assert 200 - taken == len(asked)


@pytest.mark.servers
def test_wrong_keys_and_buckets_say_what_to_do(inventory, source, monkeypatch):
    nowhere = source.replace("s3://blobs", "s3://no-such-bucket")
    with pytest.raises(BadInput, match="no such bucket"):
        inventory.scan(nowhere)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(BadInput, match="AWS_SECRET_ACCESS_KEY") as refused:
        Inventory.scan(inventory, source + "&region=eu-west-1")
    assert "wrong" not in refused.value.message
    assert [] == inventory.sources()


@pytest.mark.servers
def test_a_server_that_is_away_forgets_nothing(inventory, tmp_path, source, monkeypatch):
    import obstore

    monkeypatch.setattr(bucket_source, "RETRIES", 0)
    with seaweedfs(tmp_path / "away") as server:
        here = address_of(f"s3://{server['bucket']}?endpoint={server['endpoint']}")
        obstore.put(store_of(BucketAddress.parse(here)), "a.jpg", b"a")
        states(inventory, here)
    with pytest.raises(StorageError, match="whether the server runs"):
        inventory.scan(here)
    assert 1 == inventory.count()
    inventory._recent.__init__()
    with pytest.raises(StorageError, match="whether the server runs"):
        inventory.get(ref_of(b"a"))


def test_an_address_has_one_spelling_and_no_credentials():
    text = "s3://bucket/a%20b?endpoint=http://127.0.0.1:8333"
    assert text == address_of("s3://bucket/a b/?endpoint=http://127.0.0.1:8333/") == address_of(text)
    assert "s3://bucket" == address_of("S3://bucket/")
    for wrong in (
        "s3://key:hunter2@bucket",
        "s3://",
        "s3://Bucket",
        "s3://bucket?colour=red",
        "s3://bucket?endpoint=no",
    ):
        with pytest.raises(BadInput) as refused:
            address_of(wrong)
        assert "hunter2" not in refused.value.message
