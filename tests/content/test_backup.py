"""A backup can be made while the node runs, is checked byte by byte, and brings back everything but the erased."""

import contextlib
import os
import shutil
import stat
import threading

import pytest

from boxwork.content import backup as module
from boxwork.content.backup import MANIFEST, backup, restore, scrub, verify
from boxwork.content.content import Content
from boxwork.content.format import prepare
from boxwork.content.observations import TABLES as OBSERVATION_TABLES
from boxwork.content.observations import Observations
from boxwork.content.spaces import TABLES as SPACE_TABLES
from boxwork.content.spaces import Spaces
from boxwork.database import Database
from boxwork.errors import BadInput, BlobCorrupt, FormatError, NotFound
from boxwork.testing.clock import FakeClock
from boxwork.testing.stores import content_settings

BIG = b"0123456789" * 20_000


@contextlib.contextmanager
def opened(root):
    clock = FakeClock()
    prepare(root, clock)
    with contextlib.closing(
        Content(root, content_settings(), clock, durable_tables=[*OBSERVATION_TABLES, *SPACE_TABLES])
    ) as content:
        yield content


@pytest.fixture
def content(tmp_path):
    with opened(tmp_path / "data") as content:
        content.put(b"small", pin="one")
        content.put(BIG, pin="two")
        content.put(b"derived" * 10_000, durable=False)
        Observations(content, content.clock).observe("k", [1, 2], source="s", at=1)
        (content.root / "boxwork.toml").write_text("[content]\n")
        (content.root / "log").mkdir()
        (content.root / "log" / "0001").write_bytes(b"entries")
        yield content


def test_what_was_durable_is_there_again(content, tmp_path):
    made = backup(content, tmp_path / "copies" / "monday", clock=content.clock)
    assert verify(made.path) == []
    done = restore(made.path, tmp_path / "again")
    assert (done.files, done.bytes) == (made.files, made.bytes)
    assert (tmp_path / "again" / "boxwork.toml").read_text() == "[content]\n"
    assert (tmp_path / "again" / "log" / "0001").read_bytes() == b"entries"
    with opened(tmp_path / "again") as again:
        assert {name: again.get(ref) for name, ref in again.pins()} == {"one": b"small", "two": BIG}
        assert Observations(again, again.clock).latest("k", "s").at_ns == 1
        assert list(again.cache.refs()) == []
    for directory, _, names in os.walk(tmp_path / "again"):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
        for name in names:
            assert stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) in (0o600, 0o400)


def test_blob_files_are_linked_where_possible_and_copied_when_asked(content, tmp_path):
    assert backup(content, tmp_path / "linked").linked == 1
    copied = backup(content, tmp_path / "copied", link=False)
    assert copied.linked == 0
    assert verify(copied.path) == []
    restore(tmp_path / "linked", tmp_path / "again")
    inodes = {
        os.stat(path).st_ino
        for root in ("data", "linked", "copied", "again")
        for path in (tmp_path / root / "blobs" / "durable").rglob("?" * 64)
    }
    assert len(inodes) == 3


def test_a_directory_that_nobody_has_open_is_backed_up_by_its_path(content, tmp_path):
    content.close()
    made = backup(tmp_path / "data", tmp_path / "copy")
    assert verify(made.path) == []
    restore(made.path, tmp_path / "again")
    with opened(tmp_path / "again") as again:
        assert again.get(again.pinned("two")) == BIG


def test_everything_acknowledged_before_the_backup_began_is_in_it(content, tmp_path):
    """Writers go on meanwhile: the copy has what they had put before, and never a row without its file."""
    stop, acknowledged = threading.Event(), []

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            acknowledged.append(content.put(b"%d " % number * 20_000, pin=f"n{number}"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(3):
            while len(acknowledged) < 5 * (turn + 1) and writer.is_alive():
                stop.wait(0.001)
            before = list(acknowledged)
            made = backup(content, tmp_path / f"copy{turn}")
            assert verify(made.path) == []
            restore(made.path, tmp_path / f"again{turn}")
            with opened(tmp_path / f"again{turn}") as again:
                kept = {ref for _, ref in again.pins()}
                assert set(before) <= kept
                assert all(again.has(ref) for ref in kept)
                assert all(again.size(ref) == len(again.get(ref)) for ref in kept)
    finally:
        stop.set()
        writer.join()


def test_a_blob_that_is_swept_while_the_database_is_copied_is_in_the_backup(content, tmp_path, monkeypatch):
    """The snapshot knows it, so its file must be there."""
    real = Database.copy

    def copy(self, target):
        real(self, target)
        content.delete(content.pinned("two"))

    monkeypatch.setattr(Database, "copy", copy)
    made = backup(content, tmp_path / "copy")
    restore(made.path, tmp_path / "again")
    with opened(tmp_path / "again") as again:
        assert again.get(again.pinned("two")) == BIG


def test_nothing_is_overwritten(content, tmp_path):
    made = backup(content, tmp_path / "copy")
    for target in (made.path, content.root, tmp_path):
        with pytest.raises(BadInput, match="there already"):
            backup(content, target)
        with pytest.raises(BadInput, match="there already"):
            restore(made.path, target)
    with pytest.raises(BadInput, match="lies in the directory"):
        backup(content, content.root / "backups" / "one")
    (tmp_path / "empty").mkdir()
    restore(made.path, tmp_path / "empty")


def test_damage_is_found_and_nothing_is_restored_from_it(content, tmp_path):
    made = backup(content, tmp_path / "copy", link=False)
    blob = next((made.path / "blobs").rglob("?" * 64))
    victims = {blob: b"X" + BIG[1:], made.path / "durable" / "data.mdb": b"", made.path / "log" / "0001": None}
    for path, damage in victims.items():
        good = path.read_bytes()
        path.chmod(0o600)
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
        assert [str(path.relative_to(made.path))] == [problem.split(":")[0] for problem in verify(made.path)]
        with pytest.raises(BlobCorrupt, match="damaged in 1 place"):
            restore(made.path, tmp_path / "again")
        path.write_bytes(good)
    assert verify(made.path) == []
    assert not (tmp_path / "again").exists()


def test_a_damaged_or_absent_manifest_is_no_backup(content, tmp_path):
    made = backup(content, tmp_path / "copy")
    manifest = made.path / MANIFEST
    good = manifest.read_bytes()
    lines = good.splitlines(keepends=True)
    bad = [b"", good[:-5], good.replace(b"0001", b"0002"), b"".join(lines[:-1]), b"".join([*lines[:2], *lines[3:]])]
    for text in bad:
        manifest.write_bytes(text)
        with pytest.raises(FormatError):
            verify(made.path)
    manifest.unlink()
    with pytest.raises(FormatError, match="no backup"):
        restore(made.path, tmp_path / "again")


def test_a_failure_leaves_no_half_backup(content, tmp_path, monkeypatch):
    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Database, "copy", fail)
    with pytest.raises(Exception, match="space"):
        backup(content, tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == ["data"]


def test_a_manifest_cannot_lead_out_of_the_backup(content, tmp_path):
    made = backup(content, tmp_path / "copy")
    lines = {"../evil": module._Line("../evil", 0, "0" * 64)}
    (made.path / MANIFEST).unlink()
    module._write_manifest(made.path / MANIFEST, 0, lines)
    with pytest.raises(FormatError):
        restore(made.path, tmp_path / "again")


# --- erasures


@pytest.fixture
def erased(content, tmp_path):
    """A subject that was put, backed up, and erased; the backup still has the key."""
    spaces = Spaces(content, content.root / "keys", content.clock)
    clinic = spaces.create("clinic", owner="dr")
    gone, kept = (clinic.put(subject.encode(), principal="dr", subject=subject) for subject in ("gone", "kept"))
    backup(content, tmp_path / "copies" / "before")
    assert clinic.erase("gone", by="dr", reason="asked to be forgotten")
    return gone, kept


def read(root, ref):
    with opened(root) as content:
        return Spaces(content, root / "keys", content.clock).space("clinic").get(ref, principal="dr")


def test_an_erasure_survives_the_restore_of_an_older_backup(content, tmp_path, erased):
    gone, kept = erased
    assert restore(tmp_path / "copies" / "before", tmp_path / "again", erasures=[content.root]).erasures == 1
    with pytest.raises(NotFound, match="erased"):
        read(tmp_path / "again", gone)
    assert read(tmp_path / "again", kept) == b"kept"


def test_a_newer_backup_beside_it_is_enough(content, tmp_path, erased):
    gone, kept = erased
    backup(content, tmp_path / "copies" / "after")
    content.close()
    shutil.rmtree(content.root)
    assert restore(tmp_path / "copies" / "before", tmp_path / "again").erasures == 1
    with pytest.raises(NotFound, match="erased"):
        read(tmp_path / "again", gone)
    assert read(tmp_path / "again", kept) == b"kept"


def test_a_backup_can_be_scrubbed(content, tmp_path, erased):
    gone, _ = erased
    copy = tmp_path / "copies" / "before"
    assert scrub(copy, erasures=[content.root]) == 1
    assert scrub(copy, erasures=[content.root]) == 0
    assert verify(copy) == []
    restore(copy, tmp_path / "again")
    with pytest.raises(NotFound, match="erased"):
        read(tmp_path / "again", gone)


def test_a_key_that_is_missing_without_an_erasure_is_damage(content, tmp_path, erased):
    copy = tmp_path / "copies" / "before"
    next(path for path in (copy / "keys").iterdir() if path.name != "ERASED").unlink()
    assert len(verify(copy)) == 1
