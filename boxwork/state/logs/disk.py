"""The log on disk: append-only segments of entries, one fdatasync for a group of them.

An entry is its head (boxwork/state/batch.py) and its payload.  Segments are named by the version they begin with.
Behind the last entry of a segment there may be zeros: room for the next ones, written beforehand, because a disk syncs
what lies in a file faster than what makes it grow.  Who closes the log takes them away.

What is found wrong at recovery is told apart by what a power cut can do.  It can leave a sector of 512 bytes
unwritten (zero, or past the end of the file), and only in entries that were never acknowledged:

- nothing but zeros up to the end of the file: its entries end there;
- an entry that does not fit its digest, has such a sector, and after which nothing says that it was durable:
  a *torn tail*, cut silently;
- everything else (all sectors are there, but a bit is not; or a later entry says this one was durable):
  *damage*, named by version, file and offset, and nothing is opened.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from boxwork.errors import CommitUnknown, InvariantBroken, LogCorrupt, StorageError
from boxwork.keys import LOG_ROOT
from boxwork.settings import KiB, MiB
from boxwork.state.batch import HEAD_BYTES, MAGIC, Head, Record
from boxwork.state.logs.files import Files

SUFFIX = ".log"
# A segment is closed above this.  Unit: bytes.  Reason: the grain in which old history is deleted; read at a time.
SEGMENT_BYTES = 64 * MiB
# Zeros that are written with an entry that makes a segment grow: as many as it is large, within these.  Unit: bytes.
# Reason: a sync of 2 kB takes 82 us in such room and 122 at the end of a file, of 6 kB 90 and 147 (medians of 600 in
# turns, ext4 on a virtual disk; allocated but never written blocks do not help); a small log shall stay small, and
# writing a MiB takes about a millisecond.
ROOM_MIN = 64 * KiB
ROOM_MAX = MiB
# The unit a disk writes whole.  Unit: bytes.  Source: every disk promises at least this much.
SECTOR = 512


class DiskLog:
    def __init__(self, files: Files, *, segment_bytes: int = SEGMENT_BYTES, sector: int = SECTOR) -> None:
        self._files = files
        self._sector = sector
        self._segment_bytes = segment_bytes
        self._segment = ""
        self._segment_size = 0
        self._last: tuple[int, bytes] = (0, LOG_ROOT)
        self._broken: CommitUnknown | None = None
        self.cut_bytes = 0  # what recovery cut off

    def _segments(self) -> list[str]:
        return [name for name in self._files.names() if name.endswith(SUFFIX)]

    # --- recovery

    def recover(self, after: int, digest: bytes) -> Iterator[Record]:
        segments = self._segments()
        while len(segments) > 1 and _first_of(segments[1]) <= after + 1:
            segments.pop(0)
        expected, previous = after + 1, digest
        if segments:
            first = _first_of(segments[0])
            if first > after + 1:
                raise LogCorrupt(
                    f"the log begins with entry {first}, but the facts are known up to {after} only: the"
                    " checkpoint of this log is missing, restore it from a backup",
                    version=after + 1,
                )
            # Of older entries in the same segment nobody knows what came before them: their chain begins there.
            expected, previous = first, digest if first == after + 1 else b""
        for number, name in enumerate(segments):
            data = self._files.read(name)
            at = 0
            size = _end_of(data)
            while at < size:
                head = Head.parse(memoryview(data)[at : at + HEAD_BYTES])
                end = at + HEAD_BYTES + (head.payload_bytes if head else 0)
                sound = False
                if head is not None and head.version == expected and previous in (b"", head.previous):
                    record = head.record(data[at + HEAD_BYTES : end])
                    sound = end <= len(data) and record.is_sound()
                if not sound:
                    self._judge(name, data, at, head, expected, after, segments[number + 1 :])
                    self._cut(name, at, size, segments[number + 1 :])
                    self._last = (expected - 1, previous or digest)
                    return
                if record.version == after and record.digest != digest:
                    raise LogCorrupt(
                        f"entry {after} in {name} is not the one the checkpoint was made from: they are of"
                        " two histories",
                        version=after,
                        file=name,
                        offset=at,
                    )
                previous, expected, at = record.digest, record.version + 1, end
                if record.version > after:
                    yield record
            self._segment, self._segment_size = name, at
        if expected <= after:
            raise LogCorrupt(
                f"the log ends with entry {expected - 1}, but the checkpoint is of {after}: the end of the"
                " log is missing",
                version=expected,
            )
        self._last = (expected - 1, previous)

    def _judge(
        self, name: str, data: bytes, at: int, head: Head | None, version: int, after: int, later: list[str]
    ) -> None:
        """Return if what is wrong at `at` is a torn tail; raise `LogCorrupt` if it is damage."""
        damage = LogCorrupt(
            f"entry {version} is damaged: {name} at byte {at}; it was durable, so this is not the work"
            " of a power cut: restore the file from a backup or another node",
            version=version,
            file=name,
            offset=at,
        )
        # A checkpoint, too, is only made of what was durable.
        says_so = _says_durable(data, at + 1, version) or any(
            _says_durable(self._files.read(other), 0, version) for other in later
        )
        if version <= after or says_so:
            raise damage
        end = at + HEAD_BYTES + (head.payload_bytes if head is not None else 0)
        if not _has_unwritten_sector(data, at, end, self._sector):
            raise damage

    def _cut(self, name: str, at: int, size: int, later: list[str]) -> None:
        for other in reversed(later):
            self._files.delete(other)
        self._files.cut(name, at)
        self._files.sync(name)
        self.cut_bytes = size - at
        self._segment, self._segment_size = name, at

    # --- appending

    def append(self, records: Sequence[Record]) -> None:
        if self._broken is not None:
            raise StorageError(f"the log takes no more since: {self._broken}") from self._broken
        if not records:
            return
        if records[0].previous != self._last[1]:  # who numbers the entries is at fault, and nothing is written of it
            raise InvariantBroken(f"entry {records[0].version} does not follow entry {self._last[0]} of the log")
        if not self._segment or self._segment_size >= self._segment_bytes:
            self._segment, self._segment_size = f"{records[0].version:020d}{SUFFIX}", 0
        parts = [part for record in records for part in (record.head(), record.payload)]
        at = self._segment_size
        end = at + sum(map(len, parts))
        room = max(min(max(end, ROOM_MIN), ROOM_MAX, self._segment_bytes - end), 0)
        try:
            self._files.append(self._segment, at, parts, room)
            self._files.sync(self._segment)
        except CommitUnknown as reason:
            self._broken = reason
            raise
        self._segment_size = end
        self._last = (records[-1].version, records[-1].digest)

    # --- reading and forgetting

    def read(self, after: int = 0) -> Iterator[Record]:
        segments = self._segments()
        while len(segments) > 1 and _first_of(segments[1]) <= after + 1:
            segments.pop(0)
        last = self._last[0]
        for name in segments:
            data = self._files.read(name)
            at, size = 0, _end_of(data)
            while at < size:
                head = Head.parse(memoryview(data)[at : at + HEAD_BYTES])
                if head is None:
                    if not last:
                        return
                    raise LogCorrupt(
                        f"{name} has no entry at byte {at}, but the log goes on to {last}",
                        version=last,
                        file=name,
                        offset=at,
                    )
                if last and head.version > last:
                    return
                end = at + HEAD_BYTES + head.payload_bytes
                if head.version > after:
                    yield head.record(data[at + HEAD_BYTES : end])
                if head.version == last:  # behind it somebody may be writing
                    return
                at = end

    def trim(self, upto: int) -> None:
        segments = self._segments()
        for name, following in itertools.pairwise(segments):
            if _first_of(following) > upto + 1:
                return
            self._files.delete(name)

    def first(self) -> int:
        return next(
            (
                head.version
                for name in self._segments()
                if (head := Head.parse(self._files.read(name)[:HEAD_BYTES])) is not None
            ),
            0,
        )

    def close(self) -> None:
        self._files.close()


def _first_of(segment: str) -> int:
    return int(segment.removesuffix(SUFFIX))


def _end_of(data: bytes) -> int:
    """No entry begins from here on: there is nothing but zeros."""
    end = len(data)
    while end:
        start = max(end - ROOM_MIN, 0)
        if written := len(data[start:end].rstrip(b"\0")):
            return start + written
        end = start
    return 0


def _says_durable(data: bytes, start: int, version: int) -> bool:
    """Is there an entry from `start` on that was written when `version` was durable?"""
    at = data.find(MAGIC, start)
    while at >= 0:
        head = Head.parse(memoryview(data)[at : at + HEAD_BYTES])
        if head is not None and head.durable >= version:
            return True
        at = data.find(MAGIC, at + 1)
    return False


def _has_unwritten_sector(data: bytes, start: int, end: int, sector: int) -> bool:
    if end > len(data):
        return True
    while start < end:
        stop = min((start // sector + 1) * sector, end)
        if not any(data[start:stop]):
            return True
        start = stop
    return False
