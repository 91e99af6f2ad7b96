"""Follow a log that another process writes: its changes, in order, without owning the facts.

What is read is synced before it is handed out, so nobody is told of a change that a power cut could take back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from boxwork.errors import LogCorrupt
from boxwork.state.batch import HEAD_BYTES, MAGIC, Entry, Head, Record
from boxwork.state.logs.disk import SUFFIX
from boxwork.state.order import Key
from boxwork.state.values import DELETED, thaw
from boxwork.state.watch import Change

# Between two looks at the end of the log.  Unit: s.  Reason: a person is not to notice it; a look costs about 50 us.
PAUSE_S = 0.05
# Of a segment read at a time.  Unit: bytes.  Reason: an entry is rarely larger, and then more is read.
READ_BYTES = 1 << 20


class Follower:
    """The place up to which a log was read; `records()` is what came since."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._segment = ""
        self._offset = 0
        self._last: Record | None = None

    def records(self) -> Iterator[Record]:
        """Entries that are whole and durable.  Raises `LogCorrupt` where one does not follow the one before."""
        while True:
            if self._segment:
                yield from self._more()
            following = next((name for name in self._segments() if name > self._segment), "")
            if not following:
                return
            # A segment is begun when the one before takes no more; what came last into that one was read just now, or
            # is read here.
            if self._segment:
                yield from self._more()
            self._segment, self._offset = following, 0

    def _segments(self) -> list[str]:
        try:
            return sorted(path.name for path in self._directory.iterdir() if path.name.endswith(SUFFIX))
        except FileNotFoundError:  # nothing was ever committed here
            return []

    def _more(self) -> Iterator[Record]:
        path = self._directory / self._segment
        with path.open("rb") as file:
            file.seek(self._offset)
            if not any(file.read(len(MAGIC))):  # the end, or room that the owner has made for more
                return
            os.fdatasync(file.fileno())
            file.seek(self._offset)
            data = b""
            while chunk := file.read(READ_BYTES):
                data += chunk
                read = self._offset + len(data)
                yield from self._whole(data)
                data = data[len(data) - (read - self._offset) :]
                if len(data) >= len(MAGIC) and not any(data[: len(MAGIC)]):
                    return

    def _whole(self, data: bytes) -> Iterator[Record]:
        at = 0
        while (head := Head.parse(memoryview(data)[at : at + HEAD_BYTES])) is not None:
            end = at + HEAD_BYTES + head.payload_bytes
            if end > len(data):
                break
            record = head.record(data[at + HEAD_BYTES : end])
            last = self._last
            is_sound = record.is_sound()
            if not is_sound and not data[end - 1] and data[end : end + len(MAGIC)] != MAGIC:
                break  # it is just being written, into its room: its end is not there yet
            if not is_sound or (last is not None and record.previous != last.digest):
                raise LogCorrupt(
                    f"entry {record.version} of {self._directory / self._segment} does not follow the one"
                    " before: the log was cut or damaged while it was followed, begin again",
                    version=record.version,
                    file=self._segment,
                )
            self._offset += end - at
            self._last, at = record, end
            yield record


def follow(
    directory: Path, prefix: Key = (), *, after: int | None = None, pause: Callable[[float], object] = time.sleep
) -> Iterator[Change]:
    """Every change under `prefix` after version `after` (default: from now on), for ever; close it to end.

    `by` names the transactions of the entry: which of them wrote a key only the owner knows.
    """
    follower, size = Follower(directory), len(prefix)
    if after is None:
        after = max((record.version for record in follower.records()), default=0)
    while True:
        for record in follower.records():
            if record.version <= after:
                continue
            entry = Entry.decode(record.payload)
            by = ", ".join(dict.fromkeys(name for name, _ in entry.groups or ()))
            for key, value in entry.writes.items():
                if key[:size] == prefix:
                    gone = value is DELETED
                    yield Change(record.version, key, None if gone else thaw(value), gone, by)
        pause(PAUSE_S)
