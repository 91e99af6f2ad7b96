"""A room: what the log committed under a prefix, as frames, and the newest of them kept for those who come back.

Every frame carries (epoch, offset, after): the offset is the version of the entry of the log it was made of, `after`
that of the frame before it.  Whoever is at offset x takes a frame with after <= x < offset, has seen one with
offset <= x, and has missed something when after > x.  So a replay is the log, and a cut leaves no gap and no double.
This file knows no sockets, no clocks and no threads.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

# (the key behind the prefix, value), or the key alone: deleted
Row = Sequence[Any]

_encode = msgspec.json.Encoder(enc_hook=str).encode


@dataclass(frozen=True, slots=True)
class Frame:
    """One entry of the log, as one room sees it; `text` is a line of JSON."""

    offset: int
    after: int
    text: bytes
    changes_bytes: int

    @property
    def changes(self) -> bytes:
        return self.text[-1 - self.changes_bytes : -1]


def frame(epoch: str, offset: int, after: int, changes: bytes) -> Frame:
    head = _encode({"kind": "frame", "epoch": epoch, "offset": offset, "after": after})
    return Frame(offset, after, b'%b,"changes":%b}' % (head[:-1], changes), len(changes))


# Invariants:
#   start <= offset; every frame of this room with start < its offset <= offset is in the tail, in order
#   tail[0].after <= start, tail[n].after == tail[n - 1].offset, and the next frame follows the last
class Room:
    """The tail of one room: all frames after `start`.

    frames_max, bytes_max   of the tail; the oldest frames go first, and `start` moves on
    """

    def __init__(self, epoch: str, start: int, frames_max: int, bytes_max: int) -> None:
        self.epoch = epoch
        self.start = start
        self.offset = start
        self.frames_max = frames_max
        self.bytes_max = bytes_max
        self.bytes = 0
        self._last = start  # the frame before the next one; between it and `offset` there is none
        self._tail: list[Frame] = []

    def __len__(self) -> int:
        return len(self._tail)

    def commit(self, offset: int, rows: Sequence[Row]) -> Frame | None:
        """An entry of the log, in the order of the log.  None: it is in the room already."""
        if offset <= self.offset:
            return None
        made = frame(self.epoch, offset, self._last, _encode(rows))
        self._tail.append(made)
        self.bytes += len(made.text)
        self.offset = self._last = offset
        self._trim()
        return made

    def _trim(self) -> None:
        gone = 0
        while len(self._tail) - gone > self.frames_max or (self.bytes > self.bytes_max and gone < len(self._tail)):
            self.bytes -= len(self._tail[gone].text)
            self.start = self._tail[gone].offset
            gone += 1
        del self._tail[:gone]

    def covers(self, offset: int) -> bool:
        """Can one who is at this offset go on from the tail?"""
        return offset >= self.start

    def since(self, offset: int, bytes_max: int) -> list[Frame]:
        """The frames after an offset that is covered, up to `bytes_max`, at least one if there is one."""
        first = bisect.bisect_right(self._tail, offset, key=lambda one: one.offset)
        found: list[Frame] = []
        size = 0
        for one in self._tail[first:]:
            size += len(one.text)
            if found and size > bytes_max:
                break
            found.append(one)
        return found

    def count_since(self, offset: int) -> int:
        return len(self._tail) - bisect.bisect_right(self._tail, offset, key=lambda one: one.offset)

    def prepend(self, start: int, entries: Iterable[tuple[int, Sequence[Row]]]) -> bool:
        """What the log has between `start` and the tail.  False: it is too much to be kept, nothing was changed."""
        earlier: list[Frame] = []
        after = start
        for offset, rows in entries:
            if start < offset <= self.start:
                earlier.append(frame(self.epoch, offset, after, _encode(rows)))
                after = offset
        size = sum(len(one.text) for one in earlier)
        if len(earlier) + len(self._tail) > self.frames_max or size + self.bytes > self.bytes_max:
            return False
        if start < self.start:
            if self._tail:  # until now it followed the begin of the tail
                first = self._tail[0]
                self._tail[0] = frame(self.epoch, first.offset, after, first.changes)
                self.bytes += len(self._tail[0].text) - len(first.text)
            else:
                self._last = after
            self._tail[:0] = earlier
            self.bytes += size
            self.start = start
        return True

    def lose(self, offset: int) -> None:
        """Entries up to `offset` were missed: the tail begins anew behind them."""
        if offset > self.offset:
            self.start = self.offset = self._last = offset
            self.bytes = 0
            self._tail.clear()
