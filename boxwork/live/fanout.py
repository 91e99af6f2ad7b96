"""Frames to members: one byte string shared by all of them, at a pace, and never more than a slow reader can take.

A quiet room is told at once.  A busy one is told every tick, all frames since the last one in one write, because a
write costs a member 3 µs whatever is in it (research/edge.md 2d); and as writing to thousands takes longer than a
tick, at most half of the time is spent on it.

A member whose connection holds more than `unsent_bytes_max` is *behind*: nothing is written to it until it has read,
and then it goes on from the tail of the room.  So what a member costs is bounded.  This file knows no sockets and no
clocks: times are given, an `Outlet` takes the bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Protocol

from boxwork.live.limits import PARCEL_BYTES_MAX
from boxwork.live.room import Room


class Parcel:
    """Lines of JSON for many members, encoded once for each way to send them."""

    def __init__(self, texts: Iterable[bytes]) -> None:
        self.text = b"\n".join(texts)

    @functools.cached_property
    def message(self) -> bytes:
        """As one WebSocket message of text, from a server: RFC 6455, section 5.2."""
        size = len(self.text)
        if size < 126:
            return b"\x81%c%b" % (size, self.text)
        if size < 1 << 16:
            return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), self.text)
        return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), self.text)


class Outlet(Protocol):
    """A connection, towards its member.  What is written after its end is dropped."""

    closed: bool

    def unsent(self) -> int:
        """Bytes that were written and have not left this process."""

    def write(self, parcel: Parcel) -> None:
        """Does not wait, raises nothing."""

    def close(self) -> None:
        """End the connection; twice is once."""


class Member:
    """One connection in a room: it has been sent everything up to `offset`."""

    __slots__ = ("offset", "outlet")

    def __init__(self, outlet: Outlet, offset: int) -> None:
        self.outlet = outlet
        self.offset = offset


# Invariants, between any two calls:
#   a member is in one of `live` and `behind`
#   a member of `live` has been sent every frame up to `told`, in order, each once; its offset is that of the last line
#   it was sent, so it may be smaller than `told` where nothing lies between them
class Fanout:
    """The members of one room."""

    def __init__(self, room: Room, unsent_bytes_max: int, tick_ns: int) -> None:
        self.room = room
        self.unsent_bytes_max = unsent_bytes_max
        self.tick_ns = tick_ns
        self.told = room.offset
        self.live: dict[Member, None] = {}
        self.behind: dict[Member, None] = {}
        self.note: bytes | None = None  # the newest of what is no frame: it is not repeated for who comes back
        self._note_is_new = False
        self._rest_until_ns = 0

    def __len__(self) -> int:
        return len(self.live) + len(self.behind)

    def join(self, member: Member) -> bool:
        """From now on; what came after its offset goes to it first.  False: the tail does not go back so far."""
        if not self.room.covers(member.offset):
            return False
        self.behind[member] = None
        self.catch_up(member)
        return True

    def leave(self, member: Member) -> None:
        self.live.pop(member, None)
        self.behind.pop(member, None)

    def say(self, note: bytes) -> None:
        """Something that is true only now, such as how many are here; the next one takes its place."""
        if note != self.note:
            self.note, self._note_is_new = note, True

    @property
    def has_news(self) -> bool:
        return self.room.offset > self.told or self._note_is_new

    def due_ns(self, now_ns: int) -> int:
        """When to `flush` what there is: now, in a quiet room."""
        return max(now_ns, self._rest_until_ns)

    def flush(self) -> int:
        """Tell everybody; the answer is how many were."""
        if not self.has_news:
            return 0
        room, limit = self.room, self.unsent_bytes_max
        before = self.told
        is_whole = room.covers(before)  # else more came in one tick than the tail holds: everybody reads anew
        frames = room.since(before, PARCEL_BYTES_MAX) if is_whole else []
        self.told = frames[-1].offset if frames else room.offset
        texts = [one.text for one in frames]
        if self._note_is_new and self.note is not None:
            texts.append(self.note)
        self._note_is_new = False
        if is_whole and not texts:
            return 0
        parcel = Parcel(texts)
        # A member whose snapshot is newer than the last frame gets the same parcel, unless a frame is in both.
        first = frames[0].offset if frames else room.offset + 1
        others: list[Member] = []
        for member in self.live:
            outlet = member.outlet
            if is_whole and (before <= member.offset < first or not frames) and outlet.unsent() <= limit:
                outlet.write(parcel)
                if frames:  # the offset is what the other side knows: never one that it was not told
                    member.offset = self.told
            else:
                others.append(member)
        told = len(self.live) - len(others)
        for member in others:
            del self.live[member]
            self.behind[member] = None
            self.catch_up(member)
        return told

    def flushed(self, ended_ns: int, cost_ns: int) -> None:
        """What `flush` cost, in CPU time, decides when the next one is due: a machine that is busy with something else
        is no reason to wait longer."""
        self._rest_until_ns = ended_ns + max(self.tick_ns, cost_ns)

    def catch_up(self, member: Member) -> None:
        """Send a member of `behind` what it missed, as much as it takes now; with all of it it is live again."""
        while member.outlet.unsent() <= self.unsent_bytes_max and self.room.covers(member.offset):
            frames = self.room.since(member.offset, PARCEL_BYTES_MAX)
            if frames:
                member.offset = frames[-1].offset
                member.outlet.write(Parcel([one.text for one in frames]))
                continue
            del self.behind[member]
            self.live[member] = None
            if self.note is not None:
                member.outlet.write(Parcel([self.note]))
            return

    def lost(self) -> list[Member]:
        """Members that the tail no longer reaches and that have read what they were sent: give them a new offset."""
        return [
            member
            for member in self.behind
            if not self.room.covers(member.offset) and member.outlet.unsent() <= self.unsent_bytes_max
        ]
