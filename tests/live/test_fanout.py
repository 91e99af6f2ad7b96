"""Every member sees every frame once and in order, whatever happens in between.

The checker plays a page: it follows the rule that docs/live.md gives to pages, and looks at every line it is sent.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from boxwork.live.fanout import Fanout, Member, Parcel
from boxwork.live.room import Room

MS = 1_000_000


class Reader:
    """An outlet that reads when it is told to, and a page behind it."""

    def __init__(self) -> None:
        self.closed = False
        self.waiting: list[bytes] = []
        self.bytes = 0
        self.most = 0
        self.offset = 0
        self.seen: list[int] = []
        self.notes: list[int] = []

    def unsent(self) -> int:
        return self.bytes

    def write(self, parcel: Parcel) -> None:
        if not self.closed:
            self.waiting.append(parcel.text)
            self.bytes += len(parcel.text)
            self.most = max(self.most, self.bytes)

    def close(self) -> None:
        self.closed = True

    def read(self, parcels: int = 1 << 30) -> None:
        taken, self.waiting = self.waiting[:parcels], self.waiting[parcels:]
        for text in taken:
            self.bytes -= len(text)
            for line in text.split(b"\n"):
                self.take(json.loads(line))

    def take(self, said: dict[str, Any]) -> None:
        if said["kind"] == "present":
            self.notes.append(said["count"])
            return
        assert said["after"] <= self.offset < said["offset"], f"at {self.offset}, told {said}"
        self.offset = said["offset"]
        self.seen.append(self.offset)


def commit(room: Room, offset: int, size: int = 1) -> None:
    room.commit(offset, [[["n"], "x" * size]])


def joined(fanout: Fanout, offset: int) -> tuple[Member, Reader]:
    reader = Reader()
    reader.offset = offset
    member = Member(reader, offset)
    assert fanout.join(member)
    return member, reader


def fresh(frames_max: int = 1000, unsent: int = 1000, tick_ns: int = 20 * MS) -> Fanout:
    return Fanout(Room("e", 0, frames_max, 1 << 30), unsent, tick_ns)


def test_one_parcel_is_shared_by_all() -> None:
    fanout = fresh()
    readers = [joined(fanout, 0)[1] for _ in range(3)]
    commit(fanout.room, 1)
    commit(fanout.room, 2)
    assert 3 == fanout.flush()
    assert 1 == len({id(reader.waiting[0]) for reader in readers})
    for reader in readers:
        reader.read()
        assert [1, 2] == reader.seen


def test_the_first_frame_after_a_quiet_time_goes_at_once_and_a_busy_room_ticks() -> None:
    fanout = fresh()
    commit(fanout.room, 1)
    assert 500 == fanout.due_ns(500)
    fanout.flush()
    fanout.flushed(600, 100)
    assert 600 + 20 * MS == fanout.due_ns(700)
    assert 900 * MS == fanout.due_ns(900 * MS)


def test_writing_takes_half_of_the_time_at_most() -> None:
    fanout = fresh()
    fanout.flushed(50 * MS, 50 * MS)
    assert 100 * MS == fanout.due_ns(50 * MS)


def test_a_slow_reader_is_behind_and_comes_back_without_a_gap() -> None:
    fanout = fresh(unsent=300)
    member, slow = joined(fanout, 0)
    _, quick = joined(fanout, 0)
    for offset in range(1, 50):
        commit(fanout.room, offset, size=100)
        fanout.flush()
        quick.read()
    assert list(fanout.behind) == [member]
    assert list(range(1, 50)) == quick.seen
    assert slow.most < 600, "its share of the memory is the limit and one parcel"
    while fanout.behind:
        slow.read()
        fanout.catch_up(member)
    slow.read()
    assert list(range(1, 50)) == slow.seen


def test_a_reader_that_the_tail_no_longer_reaches_is_lost_until_it_has_a_new_offset() -> None:
    fanout = fresh(frames_max=5, unsent=100)
    member, slow = joined(fanout, 0)
    for offset in range(1, 50):
        commit(fanout.room, offset, size=200)
        fanout.flush()
    assert [] == fanout.lost(), "it has not read yet"
    slow.read()
    fanout.catch_up(member)
    assert [member] == fanout.lost()
    fanout.leave(member)
    assert not fanout.join(member)
    member.offset = slow.offset = 47
    assert fanout.join(member)
    slow.read()
    assert [48, 49] == slow.seen[-2:]


def test_one_whose_snapshot_is_newer_gets_no_frame_twice() -> None:
    fanout = fresh()
    commit(fanout.room, 3)
    _, early = joined(fanout, 0)
    _, late = joined(fanout, 8)  # read from the facts, before the room heard of 5 and 8
    for offset in (5, 8, 9):
        commit(fanout.room, offset)
    fanout.flush()
    commit(fanout.room, 10)
    fanout.flush()
    early.read()
    late.read()
    assert [3, 5, 8, 9, 10] == early.seen
    assert [9, 10] == late.seen


def test_only_the_newest_note_is_told_and_who_comes_back_hears_it() -> None:
    fanout = fresh()
    _, reader = joined(fanout, 0)
    fanout.say(b'{"kind":"present","count":1}')
    fanout.say(b'{"kind":"present","count":2}')
    fanout.flush()
    fanout.say(b'{"kind":"present","count":2}')
    assert not fanout.has_news
    reader.read()
    assert [2] == reader.notes
    _, other = joined(fanout, 0)
    other.read()
    assert [2] == other.notes


def test_a_message_is_framed_as_the_rfc_says() -> None:
    for size in (0, 1, 125, 126, 65535, 65536):
        frame = Parcel([b"x" * size]).message
        head = {0: 2, 1: 2, 125: 2, 126: 4, 65535: 4, 65536: 10}[size]
        assert (head + size, 0x81) == (len(frame), frame[0])
        length = frame[1] if head == 2 else int.from_bytes(frame[2:head], "big")
        assert size == length


# --- any interleaving


class Play:
    """Commits, ticks, slow readers, cuts, resumes, missed news; `log` is what the node would read again."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.log: list[int] = []
        self.known = 0  # what the facts have, and the room perhaps does not
        self.fanout = fresh(frames_max=self.chance.choice([3, 10, 1000]), unsent=self.chance.choice([50, 400, 4000]))
        self.people: list[tuple[Member, Reader]] = []
        self.expected: dict[int, int] = {}  # a reader -> where it began
        self.unheard: list[int] = []

    def commit(self) -> None:
        self.known += self.chance.randint(1, 3)
        if self.chance.random() < 0.8:  # else an entry that is not about this room
            self.log.append(self.known)
            self.unheard.append(self.known)

    def hear(self) -> None:
        for offset in self.unheard:
            commit(self.fanout.room, offset, self.chance.choice([1, 1, 80]))
        self.unheard.clear()

    def lag(self) -> None:
        """The watch was too slow: what it did not hand over is gone."""
        self.unheard.clear()
        self.fanout.room.lose(self.known)

    def enter(self) -> None:
        member, reader = Member(Reader(), 0), Reader()
        member.outlet = reader
        self.people.append((member, reader))
        self.snapshot(member, reader)
        assert self.fanout.join(member)

    def snapshot(self, member: Member, reader: Reader) -> None:
        """Begin anew with the facts, which may be newer than the room; what was seen before is no matter."""
        member.offset = reader.offset = max(self.known, self.fanout.room.start)
        self.expected[id(reader)] = reader.offset
        reader.seen.clear()
        reader.waiting.clear()
        reader.bytes = 0

    def resume(self, member: Member, reader: Reader) -> None:
        member.offset = reader.offset
        if not self.fanout.room.covers(reader.offset) and not (
            self.chance.random() < 0.7 and self.fanout.room.prepend(reader.offset, [(one, []) for one in self.log])
        ):
            self.snapshot(member, reader)
        assert self.fanout.join(member)

    def cut(self) -> None:
        if self.people:
            place = self.chance.randrange(len(self.people))
            member, reader = self.people[place]
            reader.read(self.chance.randint(0, 3))
            self.fanout.leave(member)
            reader.waiting.clear()
            reader.bytes = 0
            if self.chance.random() < 0.8:
                fresh_member = Member(reader, reader.offset)
                self.people[place] = (fresh_member, reader)
                self.resume(fresh_member, reader)
            else:
                self.people.pop(place)

    def read(self) -> None:
        for member, reader in self.people:
            if self.chance.random() < 0.5:
                reader.read(self.chance.randint(0, 4))
            if member in self.fanout.behind:
                self.fanout.catch_up(member)
        for member in self.fanout.lost():
            reader = next(reader for one, reader in self.people if one is member)
            reader.read()
            self.fanout.leave(member)
            self.resume(member, reader)

    def run(self, steps: int) -> None:
        does = [self.commit, self.commit, self.commit, self.hear, self.tick, self.read, self.enter, self.cut]
        for _ in range(steps):
            self.chance.choice(does)()
            if self.chance.random() < 0.01:
                self.lag()
        self.settle()

    def tick(self) -> None:
        self.fanout.flush()

    def settle(self) -> None:
        self.hear()
        for _ in range(10_000):
            self.tick()
            self.read()
            for member, reader in self.people:
                reader.read()
                if member in self.fanout.behind:
                    self.fanout.catch_up(member)
            if not self.fanout.has_news and not self.fanout.behind:
                break
        for _, reader in self.people:
            reader.read()

    def check(self) -> int:
        assert not self.fanout.behind
        told = 0
        for _, reader in self.people:
            begin = self.expected[id(reader)]
            assert [one for one in self.log if one > begin] == reader.seen
            told += len(reader.seen)
        return told


def watched(seeds: range) -> int:
    """The frames that were seen, each of them once."""
    told = 0
    for seed in seeds:
        play = Play(seed)
        play.run(200)
        told += play.check()
    return told


@pytest.mark.parametrize("tens", range(10))
def test_any_interleaving_shows_each_member_every_frame_once_and_in_order(tens: int) -> None:
    assert watched(range(tens * 60, tens * 60 + 60)) > 1000, "the play has an audience"


@pytest.mark.parametrize("bug", ["no watermark", "shared with the wrong ones", "behind and forgotten", "twice"])
def test_the_checker_finds_bugs_that_are_planted(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bug == "no watermark":
        monkeypatch.setattr(Room, "covers", lambda self, offset: True)
    elif bug == "behind and forgotten":
        real = Fanout.catch_up

        def forget(self: Fanout, member: Member) -> None:
            member.offset = max(member.offset, self.told)
            real(self, member)

        monkeypatch.setattr(Fanout, "catch_up", forget)
    elif bug == "twice":
        real_since = Room.since
        monkeypatch.setattr(Room, "since", lambda self, offset, most: real_since(self, max(0, offset - 1), most)[:20])
    else:

        def flush(self: Fanout) -> int:
            frames = self.room.since(self.told, 1 << 20)
            self._note_is_new = False
            if frames:
                parcel = Parcel([one.text for one in frames])
                self.told = frames[-1].offset
                for member in self.live:
                    member.outlet.write(parcel)
                    member.offset = self.told
            return 0

        monkeypatch.setattr(Fanout, "flush", flush)
    with pytest.raises(AssertionError):
        watched(range(200))
