"""Logs: one contract for all of them, and what a disk does to the one on disk."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwork.errors import CommitUnknown, FormatError, LogCorrupt, StateInUse, StorageError, StorageFull
from boxwork.keys import LOG_ROOT
from boxwork.state.batch import HEAD_BYTES, Entry, Record, encode_entry
from boxwork.state.log import Log
from boxwork.state.logs.disk import DiskLog
from boxwork.state.logs.files import RealFiles
from boxwork.state.logs.memory import MemoryLog
from boxwork.testing.logs import LogContract, chain


class TestMemoryLog(LogContract):
    @pytest.fixture
    def log(self) -> Log:
        return MemoryLog()


class TestDiskLog(LogContract):
    """With segments so small that every test needs some."""

    @pytest.fixture
    def log(self, tmp_path: Path) -> Iterator[Log]:
        with contextlib.closing(DiskLog(RealFiles(tmp_path / "log"), segment_bytes=600)) as log:
            yield log

    def reopened(self, log: Log) -> Log:
        assert isinstance(log, DiskLog)
        log.close()
        return DiskLog(RealFiles(log._files.directory), segment_bytes=600)  # type: ignore[attr-defined]


# --- on disk ------------------------------------------------------------------------------------------------


def open_log(directory: Path, after: int = 0, digest: bytes = LOG_ROOT, **options: int) -> tuple[DiskLog, list[Record]]:
    log = DiskLog(RealFiles(directory), **options)
    try:
        return log, list(log.recover(after, digest))
    except BaseException:
        log.close()
        raise


def written(directory: Path, records: list[Record], **options: int) -> Path:
    log, _ = open_log(directory, **options)
    for record in records:
        log.append([record])
    log.close()
    return next(directory.glob("*.log"))


def test_a_log_cut_at_any_byte_opens_and_goes_on(tmp_path: Path) -> None:
    records = chain(3)
    file = written(tmp_path, records)
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        log, found = open_log(tmp_path)
        assert records[: 3 * size // len(whole)] == found
        if size % 7:
            log.close()
            continue
        more = chain(1, start=len(found) + 1, previous=found[-1].digest if found else LOG_ROOT)
        log.append(more)
        log.close()
        log, again = open_log(tmp_path)
        assert [*found, *more] == again
        log.close()
        file.write_bytes(whole)


def test_every_flipped_bit_of_what_was_durable_is_found_and_named(tmp_path: Path) -> None:
    """Also in the last entry, after which nothing says that it was durable."""
    records = chain(3)
    file = written(tmp_path, records)
    whole = file.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        file.write_bytes(damaged)
        with pytest.raises(LogCorrupt, match=f"entry {at // (len(whole) // 3) + 1} is damaged: {file.name} at byte"):
            open_log(tmp_path)


def test_a_sector_that_was_never_written_is_a_torn_tail(tmp_path: Path) -> None:
    records = chain(1) + chain(1, size=3000, start=2, previous=chain(1)[0].digest)
    file = written(tmp_path, records)
    data = bytearray(file.read_bytes())
    data[1024:1536] = bytes(512)
    file.write_bytes(data)
    log, found = open_log(tmp_path)
    assert records[:1] == found
    assert log.cut_bytes > 3000
    log.close()


def test_a_hole_before_an_entry_that_says_it_was_durable_is_damage(tmp_path: Path) -> None:
    records = chain(3, size=3000)
    file = written(tmp_path, records)
    data = bytearray(file.read_bytes())
    data[1024:1536] = bytes(512)
    file.write_bytes(data)
    with pytest.raises(LogCorrupt, match="entry 1 is damaged"):
        open_log(tmp_path)


def test_a_hole_in_a_group_that_was_never_acknowledged_is_torn(tmp_path: Path) -> None:
    records = chain(3, size=3000, durable=0)
    file = written(tmp_path, records)
    data = bytearray(file.read_bytes())
    data[4096:4608] = bytes(512)
    file.write_bytes(data)
    log, found = open_log(tmp_path)
    assert records[:1] == found
    log.close()


def test_damage_in_an_older_segment_is_named_by_its_file(tmp_path: Path) -> None:
    written(tmp_path, chain(9), segment_bytes=300)
    files = sorted(tmp_path.glob("*.log"))
    assert len(files) > 2
    data = bytearray(files[1].read_bytes())
    data[HEAD_BYTES + 3] ^= 1
    files[1].write_bytes(data)
    with pytest.raises(LogCorrupt, match=files[1].name):
        open_log(tmp_path)


def test_recovery_begins_after_the_checkpoint(tmp_path: Path) -> None:
    records = chain(9)
    written(tmp_path, records, segment_bytes=300)
    log, found = open_log(tmp_path, 5, records[4].digest)
    assert records[5:] == found
    log.close()
    with pytest.raises(LogCorrupt, match="two histories"):
        open_log(tmp_path, 5, b"?" * 32)
    with pytest.raises(LogCorrupt, match="the end of the log is missing"):
        open_log(tmp_path, 12, b"?" * 32)
    for file in sorted(tmp_path.glob("*.log"))[:2]:
        file.unlink()
    with pytest.raises(LogCorrupt, match="checkpoint of this log is missing"):
        open_log(tmp_path)


def test_a_full_disk_refuses_and_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = chain(3)
    log, _ = open_log(tmp_path)
    log.append(records[:1])
    real = os.pwrite

    def full(descriptor: int, data: bytes, at: int) -> int:
        real(descriptor, bytes(data)[:50], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(StorageFull, match="reading goes on"):
            log.append(records[1:])
    log.append(records[1:])
    log.close()
    log, found = open_log(tmp_path)
    assert records == found
    log.close()


def room_of(file: Path) -> int:
    data = file.read_bytes()
    return len(data) - len(data.rstrip(b"\0"))


def killed(log: DiskLog) -> None:
    """Let go of the files as the kernel does for who was killed: nothing is tidied up."""
    files = log._files
    assert isinstance(files, RealFiles)
    for descriptor in (*files._descriptors.values(), files._lock):
        os.close(descriptor)
    files._descriptors.clear()
    files._lock = -1


def test_a_log_has_room_for_more_until_it_is_closed(tmp_path: Path) -> None:
    records = chain(9)
    log, _ = open_log(tmp_path)
    log.append(records[:2])
    file = next(tmp_path.glob("*.log"))
    size = file.stat().st_size
    assert room_of(file) > 50_000
    assert records[:2] == list(DiskLog(RealFiles(tmp_path, own=False)).read())
    log.append(records[2:4])
    assert size == file.stat().st_size
    assert records[:4] == list(log.read())
    killed(log)
    log, found = open_log(tmp_path)
    assert (records[:4], 0) == (found, log.cut_bytes)
    log.append(records[4:])
    assert size == file.stat().st_size
    log.close()
    assert 0 == room_of(file)
    log, found = open_log(tmp_path)
    assert records == found
    log.close()


def test_room_stays_within_its_segment_and_the_next_one_follows_it(tmp_path: Path) -> None:
    records = chain(30, size=100)
    log, _ = open_log(tmp_path, segment_bytes=2000)
    for record in records:
        log.append([record])
    files = sorted(tmp_path.glob("*.log"))
    assert len(files) > 3
    assert max(file.stat().st_size for file in files) < 2000 + 300
    assert records == list(DiskLog(RealFiles(tmp_path, own=False)).read())
    killed(log)
    log, found = open_log(tmp_path, segment_bytes=2000)
    assert (records, 0) == (found, log.cut_bytes)
    log.close()


def test_an_entry_torn_in_its_room_is_cut_and_every_flipped_bit_before_it_is_found(tmp_path: Path) -> None:
    """The last entry has sectors that were written and sectors that were not, in any combination."""
    records = chain(1) + chain(1, size=1500, start=2, previous=chain(1)[0].digest)
    log, _ = open_log(tmp_path)
    log.append(records[:1])
    file = next(tmp_path.glob("*.log"))
    before = file.read_bytes()
    log.append(records[1:])
    killed(log)
    after = file.read_bytes()
    for kept in range(16):
        torn = bytearray(before)
        for sector in range(4):
            if kept >> sector & 1:
                torn[sector * 512 : sector * 512 + 512] = after[sector * 512 : sector * 512 + 512]
        file.write_bytes(torn)
        log, found = open_log(tmp_path)
        assert records[: 2 if kept == 15 else 1] == found
        log.close()
    first, end = len(before.rstrip(b"\0")), len(after.rstrip(b"\0"))
    for at in range(end):
        damaged = bytearray(after)
        damaged[at] ^= 1 << (at % 8)
        file.write_bytes(damaged)
        with pytest.raises(LogCorrupt, match=f"entry {1 if at < first else 2} is damaged"):
            open_log(tmp_path)


def test_entries_whose_end_is_zeros_are_kept(tmp_path: Path) -> None:
    record = Record.seal(1, 1, 0, LOG_ROOT, b"\x01" + bytes(5000))
    log, _ = open_log(tmp_path)
    log.append([record])
    killed(log)
    log, found = open_log(tmp_path)
    assert [record] == found
    more = chain(1, start=2, previous=record.digest)
    log.append(more)
    killed(log)
    log, found = open_log(tmp_path)
    assert [record, *more] == found
    log.close()


def test_where_there_is_no_space_for_room_there_may_be_for_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = chain(2)
    log, _ = open_log(tmp_path)
    real = os.pwrite

    def nearly_full(descriptor: int, data: bytes, at: int) -> int:
        if at + len(data) > 10_000:
            real(descriptor, bytes(data)[:50], at)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", nearly_full)
        for record in records:
            log.append([record])
    assert 0 == room_of(next(tmp_path.glob("*.log")))
    log.close()
    log, found = open_log(tmp_path)
    assert records == found
    log.close()


def test_after_a_failed_sync_the_log_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    log, _ = open_log(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(CommitUnknown, match="open the node again"):
            log.append(chain(1))
    with pytest.raises(StorageError, match="takes no more"):
        log.append(chain(1))
    log.close()


def test_the_facts_have_one_owner(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    with pytest.raises(StateInUse, match=f"process {os.getpid()} owns"):
        RealFiles(tmp_path)
    assert [] == list(DiskLog(RealFiles(tmp_path, own=False)).read())
    log.close()
    open_log(tmp_path)[0].close()


def test_an_entry_of_another_format_is_refused() -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        Entry.decode(b"\x00garbage")


GOLDEN_HEAD = "42574531000000270000000000000001000000000000000100000000"
GOLDEN_PAYLOAD = "980107c41073737373737373737373737373737373c40a8192a1610192c40178c0c400c4009090"
GOLDEN_DIGEST = "078e5d7c1ca97629c3c9c7537f2ae2b93131471a1c59c669d3feba8bbd5301fb"


def test_the_form_on_disk_does_not_change() -> None:
    record = Record.seal(1, 1, 0, LOG_ROOT, encode_entry(7, b"s" * 16, {("a", 1): (b"x", None)}, b"", b""))
    assert GOLDEN_HEAD == record.head()[:28].hex()
    assert GOLDEN_PAYLOAD == record.payload.hex()
    assert GOLDEN_DIGEST == record.digest.hex()
