"""The S3 place against a real SeaweedFS, and what it says when the server, the bucket or the keys are wrong."""

import threading
import time

import pytest

from boxwork.content.places.s3 import CONNECT_S, RETRIES_S, S3Place
from boxwork.errors import BadInput, BlobCorrupt, StorageError, StorageReadOnly
from boxwork.keys import ref_of
from boxwork.settings import MiB
from boxwork.testing.stores import StoreContract, seaweedfs


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as arguments:
        yield arguments


prefixes = iter(f"test/{number}" for number in range(10_000))


@pytest.mark.servers
class TestS3(StoreContract):
    @pytest.fixture
    def store(self, server):
        return S3Place(**server, prefix=next(prefixes))


@pytest.mark.servers
def test_prefixes_keep_stores_apart(server):
    one, two = S3Place(**server, prefix="apart/one"), S3Place(**server, prefix="apart/two")
    ref = one.put(b"x")
    assert not two.has(ref)
    assert list(two.refs()) == []
    assert list(one.refs()) == [ref]


@pytest.mark.servers
def test_objects_of_others_under_the_prefix_are_no_blobs(server):
    import obstore

    place = S3Place(**server, prefix="others")
    ref = place.put(b"x")
    obstore.put(place._store, "ab/readme.txt", b"hello")
    assert list(place.refs()) == [ref]


@pytest.mark.servers
def test_a_put_never_overwrites(server):
    import obstore

    place = S3Place(**server, prefix="once")
    ref = place.put(b"x")
    before = obstore.head(place._store, f"{ref.hex[:2]}/{ref.hex}")["last_modified"]
    time.sleep(1.1)  # the resolution of last_modified
    assert place.put(b"x") == ref
    assert before == obstore.head(place._store, f"{ref.hex[:2]}/{ref.hex}")["last_modified"]


@pytest.mark.servers
def test_two_writers_of_one_blob_do_no_harm(server):
    place, failures = S3Place(**server, prefix="race"), []

    def work():
        try:
            place.put(b"the same bytes")
        except Exception as reason:
            failures.append(reason)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert place.get(ref_of(b"the same bytes")) == b"the same bytes"


@pytest.mark.servers
def test_a_blob_too_large_for_one_request_goes_in_parts(server, tmp_path):
    place = S3Place(**server, prefix="large", spool=tmp_path)
    chunks = [bytes([number]) * (8 * MiB) for number in range(10)]
    ref = place.put_stream(iter(chunks))
    assert place.size(ref) == 80 * MiB
    with place.open(ref) as file:
        file.seek(72 * MiB - 1)
        assert file.read(2) == b"\x08\x09"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BlobCorrupt):
        place.put_stream([b"other"], expect=ref)


@pytest.mark.servers
def test_wrong_keys_are_named(server):
    right = S3Place(**server)
    ref = right.put(b"x")
    for wrong in ({"secret_access_key": "wrong"}, {"access_key_id": "nobody"}):
        place = S3Place(**{**server, **wrong})
        for attempt in (
            lambda place=place: place.put(b"y"),
            lambda place=place: place.get(ref),
            lambda place=place: place.size(ref),
            lambda place=place: list(place.refs()),
        ):
            with pytest.raises(StorageReadOnly, match="access_key_id"):
                attempt()


def test_a_server_that_is_not_there_is_said_within_the_limits():
    place = S3Place("b", endpoint="http://127.0.0.1:1", access_key_id="k", secret_access_key="s")
    start = time.monotonic()
    with pytest.raises(StorageError, match="check the endpoint"):
        place.get(ref_of(b"x"))
    assert time.monotonic() - start < CONNECT_S + RETRIES_S


def test_an_endpoint_that_is_no_url_is_refused():
    for endpoint in ("not a url", "127.0.0.1:8333", "ftp://host", "http://"):
        with pytest.raises(BadInput, match="is not an endpoint"):
            S3Place("b", endpoint=endpoint, access_key_id="k", secret_access_key="s")
