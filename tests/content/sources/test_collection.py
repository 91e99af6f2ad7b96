"""A collection of a real server as a source: documents are found, served, told apart, watched, and never written."""

from __future__ import annotations

import contextlib
import http.server
import threading

import pytest

from boxwork.clock import SystemClock
from boxwork.content.inventory import TABLES, Inventory
from boxwork.content.sources import collection as collection_source
from boxwork.content.sources.collection import CollectionAddress
from boxwork.content.sources.documents import identity_of, spelled
from boxwork.content.sources.source import address_of
from boxwork.database import Database
from boxwork.errors import BadInput, BlobMissing, StorageError
from boxwork.keys import ref_of
from boxwork.testing.mongodb import mongodb

PNG = b"\x89PNG\r\n\x1a\n and so on"
numbers = iter(range(10_000))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mongodb(tmp_path_factory.mktemp("mongodb")) as address:
        yield address


@pytest.fixture
def database(server):
    import pymongo

    with pymongo.MongoClient(server) as client:
        yield client[f"shop{next(numbers)}"]


@pytest.fixture
def inventory(tmp_path):
    with contextlib.closing(Database(tmp_path / "db", TABLES, durable=True)) as opened:
        place = Inventory(opened, SystemClock())
        yield place
        place.close()


@pytest.fixture
def source(server, database):
    return f"{server}/{database.name}.products?field=photo"


def states(inventory, source, **options):
    return {seen.path.rpartition("/")[2]: seen.state for seen in inventory.scan(source, **options)}


@pytest.mark.servers
def test_bytes_gridfs_files_and_paths_become_items(inventory, database, source, tmp_path):
    import gridfs

    (tmp_path / "media" / "sea").mkdir(parents=True)
    (tmp_path / "media" / "sea" / "wave.jpg").write_bytes(b"a wave")
    stored = gridfs.GridFSBucket(database).upload_from_stream("whatever", b"in GridFS" * 100_000)
    database.products.insert_many(
        [
            {"photo": PNG},
            {"photo": stored, "title": "stored.jpg"},
            {"photo": "sea/wave.jpg"},
            {"photo": [b"one", b"two"], "title": "several"},
            {"photo": None},
            {"no": "photo"},
        ]
    )
    found = list(inventory.scan(source + f"&name=title&folder={tmp_path / 'media'}", suffixes=(".jpg", ".png")))
    assert [6] == list(inventory.expected(source))
    assert {"new"} == {seen.state for seen in found}
    expected = {PNG, b"in GridFS" * 100_000, b"a wave", b"one", b"two"}
    assert {ref_of(data) for data in expected} == {seen.ref for seen in found}
    for data in expected:
        assert data == inventory.get(ref_of(data))
        assert len(data) == inventory.size(ref_of(data))
    names = [item.name for item in inventory.items().items]
    assert {"stored.jpg", "wave.jpg", "several.jpg"} <= {name.rpartition("/")[2] for name in names}
    assert any(name.endswith(".png") for name in names)
    assert {"known"} == {seen.state for seen in inventory.scan(source + f"&name=title&folder={tmp_path / 'media'}")}


@pytest.mark.servers
@pytest.mark.parametrize("options", ["", "&version=updated"])
def test_bytes_that_came_with_the_list_are_not_asked_for_again(inventory, database, source, monkeypatch, options):
    database.products.insert_many([{"photo": PNG + bytes([number]), "updated": 1} for number in range(100)])
    monkeypatch.setattr(collection_source.Collection, "_picture", lambda self, path: pytest.fail(f"asks for {path!r}"))
    assert {"new"} == set(states(inventory, source + options).values())
    database.products.update_one({}, {"$set": {"photo": PNG, "updated": 2}})
    again = list(states(inventory, source + options).values())
    assert {"known": 99, "changed": 1} == {state: again.count(state) for state in set(again)}
    assert PNG == inventory.get(ref_of(PNG))


@pytest.mark.servers
def test_what_cannot_be_used_is_listed_with_its_reason(inventory, database, source, tmp_path):
    from bson import ObjectId

    (tmp_path / "media").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    values = [
        17,
        "../secret.jpg",
        "missing.jpg",
        "https://elsewhere.example/x.jpg",
        ObjectId(),
        "ftp://x/y.jpg",
        b"good",
    ]
    database.products.insert_many([{"_id": f"n{number}", "photo": value} for number, value in enumerate(values)])
    found = {seen.path.partition("/")[0]: seen for seen in inventory.scan(source + f"&folder={tmp_path / 'media'}")}
    assert found["n6"].ref == ref_of(b"good")
    reasons = {name: seen.reason for name, seen in found.items() if seen.ref is None}
    for name, part in {
        "n0": "is a int",
        "n1": "leads out of the folder",
        "n2": "No such file",
        "n3": "not among the hosts",
        "n4": "has no file",
        "n5": "no address that can be fetched",
    }.items():
        assert part in reasons[name]
    assert {item.name.partition("/")[0] for item in inventory.items(faulty=True).items} == set(reasons)


@pytest.mark.servers
def test_changed_renamed_and_removed_documents_are_told(inventory, database, source):
    database.products.insert_many([{"_id": name, "photo": name.encode(), "title": name} for name in "abc"])
    source += "&name=title"
    assert {"a.jpg": "new", "b.jpg": "new", "c.jpg": "new"} == states(inventory, source)
    database.products.update_one({"_id": "a"}, {"$set": {"photo": b"A"}})
    database.products.update_one({"_id": "b"}, {"$set": {"title": "bee"}})
    database.products.delete_one({"_id": "c"})
    assert {"a.jpg": "changed", "bee.jpg": "new", "b.jpg": "gone", "c.jpg": "gone"} == states(inventory, source)
    assert b"A" == inventory.get(ref_of(b"A"))
    assert not inventory.has(ref_of(b"a"))


@pytest.mark.servers
def test_bytes_are_verified_when_they_are_read(inventory, database, source):
    database.products.insert_one({"_id": "x", "photo": b"before"})
    list(inventory.scan(source))
    database.products.update_one({"_id": "x"}, {"$set": {"photo": b"after!"}})
    inventory._recent.__init__()  # what was read just now is still in memory, and is what its name says
    with pytest.raises(BlobMissing, match="other bytes now"):
        inventory.get(ref_of(b"before"))
    database.products.delete_one({"_id": "x"})
    with pytest.raises(BlobMissing, match="its document has changed"):
        inventory.open(ref_of(b"before"))


@pytest.mark.servers
def test_with_a_version_field_known_bytes_are_not_asked_for_again(inventory, database, source, monkeypatch):
    database.products.insert_many([{"_id": name, "photo": name.encode(), "revision": 1} for name in "ab"])
    source += "&version=revision"
    list(inventory.scan(source))
    asked = []
    real = collection_source.Collection._find
    monkeypatch.setattr(
        collection_source.Collection, "_find", lambda self, wanted: asked.append(wanted) or real(self, wanted)
    )
    assert {"a.jpg": "known", "b.jpg": "known"} == states(inventory, source)
    assert asked == []
    database.products.update_one({"_id": "a"}, {"$set": {"photo": b"A", "revision": 2}})
    assert {"a.jpg": "changed", "b.jpg": "known"} == states(inventory, source)
    assert {"_id": {"$in": ["a"]}} == asked[0]


@pytest.mark.servers
def test_a_change_stream_names_the_documents_to_scan(inventory, database, source):
    database.products.insert_many([{"_id": name, "photo": name.encode()} for name in "abc"])
    look = inventory.look(source)
    assert look.within is None  # what came before the stream, only a scan can tell
    assert inventory.looks_are_cheap(source)
    list(inventory.scan(source))
    assert () == inventory.look(source, look.mark).within
    database.products.insert_one({"_id": "d", "photo": b"d"})
    database.products.delete_one({"_id": "b"})
    found = inventory.look(source, look.mark)
    assert {b"d/", b"b/"} == set(found.within)
    assert {"d.jpg": "new", "b.jpg": "gone"} == states(inventory, source, within=found.within)
    assert 3 == inventory.count()
    assert () == inventory.look(source, found.mark).within


@pytest.mark.servers
def test_without_change_streams_a_look_goes_through_the_collection(inventory, database, source, monkeypatch):
    from pymongo.errors import OperationFailure

    def refuse(self, **options):
        raise OperationFailure("The $changeStream stage is only supported on replica sets", 40573)

    monkeypatch.setattr("pymongo.collection.Collection.watch", refuse)
    database.products.insert_one({"_id": "a", "photo": b"a"})
    first = inventory.look(source)
    assert not inventory.looks_are_cheap(source)
    assert () == inventory.look(source, first.mark).within
    database.products.update_one({"_id": "a"}, {"$set": {"photo": b"A"}})
    assert inventory.look(source, first.mark).within is None


@pytest.mark.servers
def test_pictures_of_the_web_come_from_the_named_hosts_only(inventory, database, source):
    class Shop(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302 if self.path == "/elsewhere.jpg" else 200)
            self.send_header("location", "http://127.0.0.1:1/secret")
            self.send_header("content-length", "4")
            self.end_headers()
            self.wfile.write(b"shop")

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop) as web:
        threading.Thread(target=web.serve_forever).start()
        host = f"127.0.0.1:{web.server_port}"
        database.products.insert_one({"_id": "good", "photo": f"http://{host}/a%20b.jpg"})
        database.products.insert_one({"_id": "led away", "photo": f"http://{host}/elsewhere.jpg"})
        found = {seen.path.partition("/")[0]: seen for seen in inventory.scan(f"{source}&hosts={host}")}
        assert b"shop" == inventory.get(ref_of(b"shop"))
        web.shutdown()
    assert "302" in found["led away"].reason
    assert found["good"].path == "good/a b.jpg"


@pytest.mark.servers
def test_objects_come_from_the_bucket_of_the_address_only(inventory, database, source, monkeypatch):
    import obstore

    from boxwork.content.sources import fetching

    store = obstore.store.MemoryStore()
    obstore.put(store, "sea.jpg", b"sea")
    monkeypatch.setattr(fetching, "store_of", lambda place: store)
    for name, value in {"key": "sea.jpg", "full": "s3://media/shop/sea.jpg", "other": "s3://secret/sea.jpg",
                        "near": "s3://media/shopping/sea.jpg", "gone": "gone.jpg"}.items():  # fmt: skip
        database.products.insert_one({"_id": name, "photo": value})
    found = {seen.path.partition("/")[0]: seen for seen in inventory.scan(source + "&bucket=s3://media/shop")}
    assert found["key"].ref == found["full"].ref == ref_of(b"sea")
    assert "no object" in found["gone"].reason
    for name in ("other", "near"):
        assert "not in the bucket of the address" in found[name].reason


@pytest.mark.servers
def test_a_server_that_is_away_forgets_nothing(tmp_path, inventory, monkeypatch):
    import pymongo

    monkeypatch.setattr(collection_source, "SELECTION_MS", 300)
    with mongodb(tmp_path / "away") as address:
        with pymongo.MongoClient(address) as client:
            client.shop.products.insert_one({"photo": b"x"})
        source = f"{address}/shop.products?field=photo"
        list(inventory.scan(source))
    with pytest.raises(StorageError, match="does not answer"):
        inventory.scan(source)
    with pytest.raises(StorageError, match="does not answer"):
        inventory.look(source)
    assert 1 == inventory.count()
    assert b"x" == inventory.get(ref_of(b"x"))  # it is in memory still
    inventory._recent.__init__()
    with pytest.raises(StorageError, match="does not answer"):
        inventory.get(ref_of(b"x"))


def test_an_address_has_one_spelling_and_no_credentials():
    given = "mongodb://db.example:27017/shop.a.b?field=images.main&folder=/srv/../srv/media&tls=true"
    place = CollectionAddress.parse(given)
    assert ("shop", "a.b") == (place.database, place.collection)
    assert "mongodb://db.example:27017/?tls=true" == place.uri
    assert str(place) == address_of(str(place)) == address_of(given)
    with pytest.raises(BadInput, match="MONGODB_USERNAME") as refused:
        address_of("mongodb://ada:hunter2@db/shop.products?field=photo")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "mongodb://host/shop?field=photo",
        "mongodb://host/shop.products",
        "mongodb://host/shop.products?field=photo&colour=red",
        "mongodb://host/shop.products?field=photo&bucket=/no/bucket",
        "redis://host/1",
    ],
)
def test_an_address_that_says_too_little_is_refused(text):
    with pytest.raises(BadInput):
        address_of(text)


def test_every_kind_of_id_is_a_part_of_a_path_and_comes_back():
    import datetime
    import uuid

    from bson import Binary, ObjectId

    for identity in [
        ObjectId(), "sku-1/ä b", "~x", "0" * 24, "..", 17, 2.5, datetime.datetime(2024, 1, 2), {"sku": "a/b"},
        Binary.from_uuid(uuid.UUID(int=5)),
    ]:  # fmt: skip
        text = spelled(identity)
        assert "/" not in text
        assert not text.startswith(".")
        back = identity_of(text)
        assert back == identity or back.replace(tzinfo=None) == identity
