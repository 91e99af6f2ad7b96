"""The disk place: what is special about it beyond the contract, and what happens when the disk says no."""

import errno
import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from boxwork.clock import SECOND_NS
from boxwork.content.places.disk import TOGETHER_MIN, TOUCH_NS, DiskPlace
from boxwork.content.syncing import FileSystem
from boxwork.database import Database
from boxwork.errors import BadRef, BlobCorrupt, BlobMissing, StorageError, StorageFull, StorageReadOnly
from boxwork.keys import Ref, ref_of
from boxwork.testing.clock import FakeClock
from boxwork.testing.faults import in_child

INLINE_MAX = 1000
SMALL, LARGE = b"s" * 100, b"L" * 50_000


class Disk:
    """A place with its environment, opened as often as a test wants."""

    def __init__(self, root: Path, durable: bool = True) -> None:
        self.root, self.durable, self.clock = root, durable, FakeClock()
        self.open()

    def open(self) -> DiskPlace:
        self.database = Database(self.root / "db", ("blobs", "bytes"), durable=self.durable)
        self.place = DiskPlace(
            self.root / "files",
            self.root / "tmp",
            self.database,
            self.clock,
            name="disk",
            durable=self.durable,
            inline_bytes_max=INLINE_MAX,
        )
        return self.place

    def reopen(self) -> DiskPlace:
        self.database.close()
        return self.open()

    def path(self, ref: Ref) -> Path:
        return Path(self.place.path(ref.digest))

    def files(self) -> list[str]:
        return sorted(str(path) for path in self.root.glob("files/*/*"))

    def leftovers(self) -> list[str]:
        return os.listdir(self.root / "tmp")


@pytest.fixture(params=[True, False], ids=["durable", "cache"])
def disk(request, tmp_path):
    one = Disk(tmp_path, request.param)
    yield one
    one.database.close()


@pytest.fixture
def open_directory():
    """A directory that every user may write to: pytest's own is closed to others than its owner."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


def test_small_blobs_lie_in_the_database_and_large_ones_in_read_only_files(disk):
    small, large = disk.place.put(SMALL), disk.place.put(LARGE)
    assert disk.files() == [str(disk.path(large))]
    assert disk.path(large).read_bytes() == LARGE
    assert stat.S_IMODE(disk.path(large).stat().st_mode) == 0o400
    assert stat.S_IMODE(disk.path(large).parent.stat().st_mode) == 0o700
    assert disk.path(large).name == large.hex
    assert disk.place.file_path(large) == disk.path(large)
    assert disk.place.file_path(small) is None
    assert disk.leftovers() == []


def test_the_limit_itself_is_inline(disk):
    disk.place.put(b"x" * INLINE_MAX)
    assert disk.files() == []
    disk.place.put(b"x" * (INLINE_MAX + 1))
    assert len(disk.files()) == 1
    disk.place.put_stream([b"y" * INLINE_MAX])
    assert len(disk.files()) == 1


def test_blobs_survive_closing(disk):
    small, large = disk.place.put(SMALL), disk.place.put(LARGE)
    place = disk.reopen()
    assert place.get(small) == SMALL
    assert place.get(large) == LARGE


def test_a_large_blob_opens_as_a_real_file(disk):
    with disk.place.open(disk.place.put(LARGE)) as file:
        assert os.fstat(file.fileno()).st_size == len(LARGE)


def test_many_are_put_with_one_commit(disk):
    blobs = [b"%d" % number * 300 for number in range(20)] + [SMALL, SMALL, LARGE, b""]
    before = disk.database._environment.info()["last_txnid"]
    refs = disk.place.put_many(blobs)
    assert list(map(ref_of, blobs)) == refs
    assert blobs == [disk.place.get(ref) for ref in refs]
    assert disk.database._environment.info()["last_txnid"] == before + 1
    assert disk.leftovers() == []
    assert refs == disk.place.put_many(blobs)
    assert disk.place.put_many([]) == []


def test_putting_again_writes_nothing_until_the_row_is_old(disk):
    refs = [disk.place.put(SMALL), disk.place.put(LARGE)]
    first = [disk.place.row(ref.digest).touched_ns for ref in refs]
    disk.clock.advance(TOUCH_NS - 1)
    before = disk.database._environment.info()["last_txnid"]
    disk.place.put(SMALL)
    disk.place.put_stream([LARGE])
    assert disk.database._environment.info()["last_txnid"] == before
    assert first == [disk.place.row(ref.digest).touched_ns for ref in refs]
    disk.clock.advance(2)
    disk.place.put(SMALL)
    disk.place.put_many([LARGE])
    assert [disk.clock.now_ns()] * 2 == [disk.place.row(ref.digest).touched_ns for ref in refs]


def test_touching_names_what_is_missing_and_renews_the_rest(disk):
    here, gone = disk.place.put(SMALL), ref_of(b"gone")
    disk.clock.advance(TOUCH_NS * 2)
    assert disk.place.touch([here.digest, gone.digest]) == [gone.digest]
    assert disk.place.row(here.digest).touched_ns == disk.clock.now_ns()


def test_what_goes_along_with_a_put_is_in_the_same_transaction(disk):
    def note(edit, digests):
        edit.put("bytes", b"note", digests[0])

    def refuse(edit, digests):
        raise ValueError("no")

    for data in (SMALL, LARGE, SMALL, LARGE):  # new, then known
        ref = disk.place.put(data, also=note)
        assert disk.database.get("bytes", b"note") == ref.digest
    for data in (b"new", b"N" * 5000):
        with pytest.raises(ValueError, match="no"):
            disk.place.put(data, also=refuse)
        assert not disk.place.has(ref_of(data))
        assert disk.leftovers() == []


def test_a_row_whose_file_is_gone_is_missing_and_a_put_writes_it_again(disk):
    ref = disk.place.put(LARGE)
    disk.path(ref).unlink()
    assert not disk.place.has(ref)
    with pytest.raises(BlobMissing):
        disk.place.get(ref)
    with pytest.raises(BlobMissing):
        disk.place.open(ref)
    with pytest.raises(BlobMissing):
        disk.place.size(ref)
    assert disk.place.put(LARGE) == ref
    assert disk.place.get(ref) == LARGE


def test_a_file_without_its_shard_directory_is_written_again(disk):
    ref = disk.place.put(LARGE)
    disk.path(ref).unlink()
    disk.path(ref).parent.rmdir()
    with pytest.raises(StorageError):  # the place remembered the directory
        disk.place.put(LARGE)
    assert disk.place.put(LARGE) == ref
    assert disk.place.get(ref) == LARGE


def test_a_file_that_was_cut_short_is_never_served_and_a_put_replaces_it(disk):
    ref = disk.place.put(LARGE)
    os.chmod(disk.path(ref), 0o600)
    os.truncate(disk.path(ref), 100)
    with pytest.raises(BlobCorrupt, match="100 bytes where 50000 were put"):
        disk.place.get(ref)
    with pytest.raises(BlobCorrupt):
        disk.place.open(ref)
    assert not disk.place.has(ref)
    assert disk.place.put(LARGE) == ref
    assert disk.place.get(ref) == LARGE
    assert disk.leftovers() == []


def test_an_orphan_file_is_not_a_blob_and_a_put_adopts_it(disk):
    ref = ref_of(LARGE)
    disk.path(ref).parent.mkdir()
    disk.path(ref).write_bytes(LARGE)
    assert not disk.place.has(ref)
    with pytest.raises(BlobMissing):
        disk.place.get(ref)
    disk.place.put(LARGE)
    assert disk.place.get(ref) == LARGE


def test_a_durable_put_is_on_the_disk_before_its_name_and_its_name_before_its_row(disk, monkeypatch):
    """A power cut cannot be tried here, so the order of the calls that guard against it is."""
    disk.path(ref_of(LARGE)).parent.mkdir(exist_ok=True)
    calls = []

    def spy(owner, name, label):
        real = getattr(owner, name)

        def called(*arguments, **options):
            calls.append(label)
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, called)

    disk.place._shards.add(str(disk.path(ref_of(LARGE)).parent))
    spy(os, "fdatasync", "sync the bytes")
    spy(os, "link", "link")
    spy(os, "fsync", "sync the directory")
    spy(disk.database, "update", "commit")
    disk.place.put(LARGE)
    if disk.durable:
        assert calls == ["sync the bytes", "link", "sync the directory", "commit"]
    else:
        assert calls == ["link", "commit"]


def some(count, size=INLINE_MAX + 1):
    return [bytes([number]) * size for number in range(count)]


def test_many_files_go_to_the_disk_together_before_their_names_and_their_names_before_their_rows(disk, monkeypatch):
    calls = []

    def spy(owner, name, label):
        real = getattr(owner, name)

        def called(*arguments, **options):
            if not calls or calls[-1] != label:
                calls.append(label)
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, called)

    few, many = some(TOGETHER_MIN - 1), some(TOGETHER_MIN, INLINE_MAX + 2)
    for data in (*few, *many):
        disk.path(ref_of(data)).parent.mkdir(exist_ok=True)
        disk.place._shards.add(str(disk.path(ref_of(data)).parent))
    for owner, name, label in (
        (os, "fdatasync", "a file"),
        (FileSystem, "sync", "all"),
        (os, "write", "write"),
        (os, "link", "link"),
        (os, "fsync", "a directory"),
        (disk.database, "update", "commit"),
    ):
        spy(owner, name, label)
    disk.place.put_many([SMALL, *few])
    if disk.durable:
        each = ["write", "a file"] * len(few)
        assert calls == [*each, "link", "a directory", "commit"]
    else:
        assert calls == ["write", "link", "commit"]
    calls.clear()
    disk.place.put_many([b"another small one", *many])
    assert calls == (["write", "all", "link", "all", "commit"] if disk.durable else ["write", "link", "commit"])
    assert disk.leftovers() == []
    for data in (*few, *many):
        assert disk.place.get(ref_of(data)) == data


@pytest.mark.parametrize("which", [1, 2], ids=["of the bytes", "of the names"])
def test_what_did_not_reach_the_disk_together_is_not_there(tmp_path, monkeypatch, which):
    disk, real, count = Disk(tmp_path), FileSystem.sync, 0

    def sync(self):
        nonlocal count
        count += 1
        if count == which:
            raise OSError(errno.EIO, "the disk is broken")
        real(self)

    monkeypatch.setattr(FileSystem, "sync", sync)
    blobs = [SMALL, *some(TOGETHER_MIN)]
    with pytest.raises(StorageError, match="the disk is broken"):
        disk.place.put_many(blobs)
    assert [] == [data for data in blobs if disk.place.has(ref_of(data))]
    assert disk.leftovers() == []
    monkeypatch.undo()
    disk.place.put_many(blobs)
    assert blobs == [disk.place.get(ref_of(data)) for data in blobs]
    disk.database.close()


def test_a_delete_between_link_and_commit_loses_nothing(disk, monkeypatch):
    """The race that a sweep could win: the name is taken away after it was linked, before the row is written."""
    ref = ref_of(LARGE)
    update = disk.database.update

    def late(operation):
        disk.path(ref).unlink()
        return update(operation)

    monkeypatch.setattr(disk.database, "update", late)
    disk.place.put(LARGE)
    monkeypatch.undo()
    assert disk.place.get(ref) == LARGE
    assert disk.leftovers() == []


def test_putting_and_deleting_one_blob_from_threads_never_leaves_a_row_without_file(disk):
    failures = []

    def work():
        for _ in range(25):
            disk.place.put(LARGE)
            try:
                if disk.place.get(ref_of(LARGE)) != LARGE:
                    failures.append("wrong bytes")
            except BlobMissing:
                pass
            disk.place.delete(ref_of(LARGE))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [row for row in disk.place.rows() if not disk.place.has(row.ref)] == []
    assert disk.files() == []
    assert disk.leftovers() == []


def test_concurrent_puts_of_the_same_large_blob_are_one_file(disk):
    threads = [threading.Thread(target=disk.place.put, args=(LARGE,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert disk.files() == [str(disk.path(ref_of(LARGE)))]
    assert disk.place.get(ref_of(LARGE)) == LARGE
    assert disk.leftovers() == []


def test_spaces_and_dots_in_a_ref_reach_no_file(disk):
    disk.place.put(LARGE)
    for text in ("sha256:../" + "a" * 61, "sha256: " + "a" * 64, "sha256:" + "A" * 64 + "/"):
        with pytest.raises(BadRef):
            disk.place.get(Ref(text))


# --- the disk says no


def fill_with(place, kept, data_of):
    """Put until the place refuses."""
    for number in range(10_000):
        kept.append(place.put(b"%08d" % number + data_of(number)))


@pytest.mark.parametrize("data", [SMALL * 8, LARGE * 4], ids=["inline", "file"])
def test_a_full_disk_is_storage_full_and_what_was_acknowledged_stays(tmp_path, data):
    def fill_up():
        disk, kept = Disk(tmp_path, durable=False), []  # hundreds of syncs would say nothing more
        with pytest.raises(StorageFull, match="boxwork gc"):
            fill_with(disk.place, kept, lambda number: data + bytes(number % 20 * 10_000))
        assert disk.leftovers() == []
        disk.database.close()
        return kept

    kept = in_child(fill_up, file_bytes_max=300_000)
    assert kept
    disk = Disk(tmp_path)
    assert all(ref == ref_of(disk.place.get(ref)) for ref in kept)
    assert sorted(kept) == sorted(disk.place.refs())
    disk.place.put(LARGE)
    disk.database.close()


def test_a_stream_that_fills_the_disk_leaves_nothing(tmp_path):
    def fill_up():
        disk = Disk(tmp_path)
        try:
            disk.place.put_stream(bytes(100_000) for _ in range(100))
        finally:
            assert not disk.leftovers()
            assert not disk.files()
            disk.database.close()

    with pytest.raises(StorageFull):
        in_child(fill_up, file_bytes_max=300_000)


def test_a_directory_that_may_not_be_written_says_so_and_still_serves(open_directory):
    def first():
        disk = Disk(open_directory)
        disk.place.put_many([SMALL, LARGE])
        os.chmod(open_directory / "tmp", 0o500)
        os.chmod(open_directory / "files", 0o500)
        try:
            with pytest.raises(StorageReadOnly, match="check its owner and mode"):
                disk.place.put(b"x" * 5000)
            assert disk.place.get(ref_of(LARGE)) == LARGE
            assert disk.place.get(ref_of(SMALL)) == SMALL
            os.chmod(open_directory / "tmp", 0o700)
            with pytest.raises(StorageReadOnly):
                disk.place.put(b"y" * 5000)
            assert not disk.place.has(ref_of(b"y" * 5000))
            assert not disk.leftovers()
        finally:
            os.chmod(open_directory / "tmp", 0o700)
            os.chmod(open_directory / "files", 0o700)
        disk.place.put(b"x" * 5000)
        disk.database.close()
        return "survived"

    assert in_child(first, as_nobody=True) == "survived"


def test_a_directory_that_cannot_be_made_says_so(open_directory):
    os.chmod(open_directory, 0o555)
    with pytest.raises(StorageReadOnly):
        in_child(lambda: Disk(open_directory), as_nobody=True)
    os.chmod(open_directory, 0o755)


def test_an_unreadable_file_is_an_error_with_its_path(open_directory):
    def first():
        disk = Disk(open_directory)
        ref = disk.place.put(LARGE)
        os.chmod(disk.path(ref), 0o000)
        for read in (disk.place.get, disk.place.open):
            with pytest.raises(StorageError, match=r"cannot be read \(Permission denied\)") as caught:
                read(ref)
            assert str(disk.path(ref)) == caught.value.details["path"]
        disk.database.close()
        return "told"

    assert in_child(first, as_nobody=True) == "told"


@pytest.mark.servers
def test_a_really_full_file_system_is_storage_full_and_recovers(small_file_system):
    """A tmpfs of 4 MiB, filled to the last byte."""
    disk = Disk(small_file_system)
    kept, small = [], []
    with pytest.raises(StorageFull):
        fill_with(disk.place, kept, lambda number: LARGE)
    with pytest.raises(StorageFull):
        fill_with(disk.place, small, lambda number: SMALL)
    assert all(ref_of(disk.place.get(ref)) == ref for ref in kept + small)
    assert disk.leftovers() == []
    while kept and not disk.place.has(ref_of(b"room again")):
        try:
            disk.place.delete(kept.pop())
            disk.place.put(b"room again")
        except StorageFull:
            # LMDB copies pages before it frees any: the very last bytes allow not even a delete.
            disk.path(kept.pop()).unlink()
    place = disk.reopen()
    assert place.get(ref_of(b"room again")) == b"room again"
    assert all(ref_of(place.get(ref)) == ref for ref in small)
    disk.database.close()


@pytest.mark.servers
def test_a_read_only_file_system_says_so(small_file_system):
    import subprocess

    disk = Disk(small_file_system)
    disk.place.put_many([SMALL, LARGE])
    disk.database.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_file_system)], check=True)
    with pytest.raises(StorageError, match=r"(?i)read-only"):
        disk.open()


@pytest.fixture
def small_file_system(tmp_path):
    import subprocess

    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_clock_set_back_makes_rows_young_not_old(disk):
    ref = disk.place.put(SMALL)
    disk.clock.step(-3600 * SECOND_NS)
    disk.place.put(SMALL)
    assert disk.place.row(ref.digest).touched_ns > disk.clock.now_ns()
