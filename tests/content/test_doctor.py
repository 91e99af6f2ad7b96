"""The doctor finds every kind of damage, repairs what it can, and never throws bytes away."""

import contextlib
import os

import pytest

from boxwork.content.content import Content
from boxwork.content.doctor import LEFTOVER_NS, Doctor
from boxwork.content.places.memory import MemoryPlace
from boxwork.errors import BlobMissing
from boxwork.keys import ref_of
from boxwork.testing.clock import FakeClock
from boxwork.testing.stores import content_settings

SMALL, LARGE = b"s" * 100, b"L" * 500_000


@pytest.fixture
def content(tmp_path):
    with contextlib.closing(Content(tmp_path, content_settings(), FakeClock())) as one:
        yield one


def damage(content, ref):
    """Turn one bit, without changing the size."""
    path = content.durable.file_path(ref)
    if path is None:
        data = bytearray(content.get(ref))
        data[0] ^= 1
        content.durable_db.update(lambda edit: edit.put("bytes", ref.digest, bytes(data)))
        return
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(1000)
        file.write(b"\0")


def findings(content, **options):
    return [(one.trouble, one.place, one.what, one.action) for one in Doctor(content, **options).run()]


def quarantine(content):
    return sorted((content.root / "quarantine").glob("*"))


def test_a_healthy_store_has_no_findings(content):
    content.put_many([SMALL, LARGE, b""])
    content.put(LARGE, durable=False)
    seen = []
    assert findings(content, progress=lambda one: seen.append((one.place, one.blobs, one.bytes))) == []
    assert seen == [("durable", 3, 500_100), ("cache", 1, 500_000)]


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["inline", "file"])
def test_a_flipped_bit_that_nobody_can_repair_is_taken_out_of_service(content, data):
    ref = content.put(data, pin="a")
    damage(content, ref)
    assert content.get(ref) != data
    assert findings(content) == [("corrupt", "durable", ref, "quarantined")]
    with pytest.raises(BlobMissing):
        content.get(ref)
    (kept,) = quarantine(content)
    assert kept.stat().st_size == len(data)
    assert findings(content) == []
    assert content.put(data) == ref
    assert content.get(ref) == data


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["inline", "file"])
@pytest.mark.parametrize("where", ["cache", "place", "other"])
def test_a_flipped_bit_is_repaired_from_whoever_has_the_bytes(content, data, where):
    ref = content.put(data)
    second = MemoryPlace()
    if where == "cache":
        content.put(data, durable=False)
    else:
        second.put(data)
    if where == "place":
        content.add_place(second)
    damage(content, ref)
    assert findings(content, others=[second]) == [("corrupt", "durable", ref, "repaired")]
    assert content.durable.get(ref) == data
    assert len(quarantine(content)) == 1
    assert findings(content) == []


def test_a_second_place_that_is_damaged_too_is_no_help(content):
    ref = content.put(LARGE)
    damage(content, ref)
    liar = MemoryPlace()
    liar._blobs[ref] = b"lies"
    assert findings(content, others=[liar]) == [("corrupt", "durable", ref, "quarantined")]


def test_a_file_that_is_gone_or_cut_short_is_found(content):
    gone, cut = content.put(LARGE), content.put(LARGE[1:])
    second = MemoryPlace()
    second.put(LARGE[1:])
    content.durable.file_path(gone).unlink()
    path = content.durable.file_path(cut)
    os.chmod(path, 0o600)
    os.truncate(path, 10)
    assert sorted(findings(content, others=[second])) == sorted(
        [("missing", "durable", gone, "forgotten"), ("corrupt", "durable", cut, "repaired")]
    )
    assert content.get(cut) == LARGE[1:]
    assert list(content.refs()) == [cut]


def test_looking_only_changes_nothing(content):
    ref = content.put(LARGE)
    damage(content, ref)
    for _ in range(2):
        assert findings(content, repair=False) == [("corrupt", "durable", ref, "kept")]
    assert content.has(ref)
    assert quarantine(content) == []


def test_files_without_rows_and_leftovers_are_told(content):
    now = content.clock.now_ns()

    def old(path, data):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        os.utime(path, ns=(now - LEFTOVER_NS, now - LEFTOVER_NS))
        return str(path)

    whole = old(content.durable.path(ref_of(b"whole").digest), b"whole")
    wrong = old(content.durable.path(ref_of(b"wrong").digest), b"other bytes")
    leftover = old(content.root / "tmp" / "put-1-2-3", b"half")
    (content.root / "tmp" / "put-new").write_bytes(b"being written")
    assert sorted(findings(content)) == sorted(
        [
            ("orphan", "durable", whole, "kept"),
            ("orphan", "durable", wrong, "quarantined"),
            ("leftover", "tmp", leftover, "removed"),
        ]
    )
    assert os.path.exists(whole)
    assert os.listdir(content.root / "tmp") == ["put-new"]


def test_a_check_that_was_broken_off_goes_on_where_it_was(content, monkeypatch):
    monkeypatch.setattr("boxwork.content.doctor.SAVE_BLOBS", 1)
    refs = sorted(content.put_many([b"%d" % number for number in range(10)]))
    damage(content, refs[2])
    damage(content, refs[7])
    first = Doctor(content).run()
    assert next(first).what == refs[2]
    first.close()
    damage(content, refs[0])  # before the point it had reached
    assert [what for _, _, what, _ in findings(content)] == [refs[7]]
    assert [what for _, _, what, _ in findings(content)] == [refs[0]]


def test_a_blob_that_is_deleted_while_it_is_looked_at_is_no_trouble(content):
    ref = content.put(LARGE)
    doctor, row = Doctor(content), content.durable.row(ref.digest)
    content.delete(ref)
    assert doctor._examine(content.durable, row) is None


def test_a_file_that_cannot_be_read_is_told_and_left(content, monkeypatch):
    from boxwork.errors import StorageError

    ref = content.put(LARGE)

    def refuse(ref):
        raise StorageError("cannot be read (Permission denied)")

    monkeypatch.setattr(content.durable, "open", refuse)
    assert findings(content) == [("unreadable", "durable", ref, "kept")]
    assert content.durable.file_path(ref).exists()
