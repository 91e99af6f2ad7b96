"""The open rooms of a node: the log's news comes in from its thread, and goes out to the members in the event loop.

One watch for each kind of rooms.  A room is opened by its first member, and closed when it was empty for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from boxwork.clock import MILLISECOND_NS, SECOND_NS, monotonic_ns, thread_cpu_ns
from boxwork.errors import BoxworkError, Busy, Lagged, NotFound, TooLarge
from boxwork.live.fanout import Fanout, Member, Parcel
from boxwork.live.limits import SNAPSHOT_FACTS_MAX, SNAPSHOT_FRAMES_MAX
from boxwork.live.offer import Fields, Rooms
from boxwork.live.presence import Presence
from boxwork.live.room import Room, Row
from boxwork.serve.readable import readable, readable_key
from boxwork.state.batch import Entry
from boxwork.state.values import DELETED, thaw

log = logging.getLogger("boxwork.serve.rooms")

# Between two looks at members that are behind.  Unit: s.  Reason: a phone that was slow sees nothing of it.
BEHIND_STEP_S = 0.05
# Between two counts of who is here.  Unit: ns.  Reason: it is told to everybody, and 5,000 who come are 5,000 counts.
COUNT_STEP_NS = SECOND_NS // 2
# Between two looks for empty rooms.  Unit: s.
SWEEP_STEP_S = 1.0
# Tries to reach the tail of a room that moves on meanwhile, before a new snapshot is sent.  Unit: tries.
REACH_TRIES = 3

_encode = msgspec.json.Encoder(enc_hook=str).encode


class OpenRoom:
    """One room, its members, and what a new one begins with."""

    def __init__(self, hub: Hub, offer: Rooms, path: str, fields: Fields, version: int) -> None:
        settings = hub.work.settings
        self.hub = hub
        self.offer = offer
        self.path = path
        self.fields = fields
        self.prefix = offer.prefix_of(fields)
        self.room = Room(hub.epoch, version, settings.integer("live.tail_frames"), settings.integer("live.tail_bytes"))
        tick_ns = int(settings.number("live.tick_ms") * MILLISECOND_NS)
        self.fanout = Fanout(self.room, settings.integer("live.unsent_bytes_max"), tick_ns)
        self.presence = Presence(int(settings.number("live.presence_s") * SECOND_NS))
        self.lock = asyncio.Lock()  # one at a time reads the log or makes a snapshot; the others use what it made
        self.record = hub.work.pulse.series("live.fanout", rooms=offer.pattern).record
        self.snapshot: tuple[int, bytes] = (-1, b"")
        self.news_ns = 0  # when the oldest of what is not told yet was heard
        self.timer: asyncio.TimerHandle | None = None
        self.chaser: asyncio.TimerHandle | None = None
        self.counted_ns = -COUNT_STEP_NS
        self.counter: asyncio.TimerHandle | None = None
        self.empty_since_ns = monotonic_ns()

    # --- what happened

    def hear(self, offset: int, rows: Sequence[Row], heard_ns: int) -> None:
        if self.room.commit(offset, rows) is not None:
            self.news_ns = self.news_ns or heard_ns

    def schedule(self) -> None:
        """Tell the members, now or at the next tick."""
        if self.timer is not None or not self.fanout.has_news:
            return
        now = monotonic_ns()
        due = self.fanout.due_ns(now)
        if due <= now:
            self.flush()
        else:
            self.timer = self.hub.loop.call_later((due - now) / SECOND_NS, self.flush)

    def flush(self) -> None:
        self.timer = None
        began = thread_cpu_ns()
        told = self.fanout.flush()
        ended = monotonic_ns()
        self.fanout.flushed(ended, thread_cpu_ns() - began)
        if told and self.news_ns:
            self.record(ended - self.news_ns)
        self.news_ns = 0
        self.schedule()  # a parcel has a limit: there may be more
        self.chase()

    # --- members

    def chase(self) -> None:
        """Look after those who are behind until nobody is."""
        if self.chaser is None and self.fanout.behind:
            self.chaser = self.hub.loop.call_later(BEHIND_STEP_S, self._chase)

    def _chase(self) -> None:
        self.chaser = None
        for member in list(self.fanout.behind):
            self.fanout.catch_up(member)
        for member in self.fanout.lost():
            self.fanout.leave(member)
            self.hub.spawn(self._find(member))
        self.chase()

    async def _find(self, member: Member) -> None:
        """A slow reader that the tail no longer reaches goes on from the log, or begins anew."""
        try:
            offset, text = await self.first_text(self.room.epoch, member.offset)
            if not member.outlet.closed:
                await self.hub.begin(self, member, offset, text)
        except BoxworkError as reason:
            log.warning("a slow reader was let go: %s", reason.message, extra={"room": self.path})
            member.outlet.close()

    async def first_text(self, epoch: str, offset: int) -> tuple[int, bytes]:
        """What a connection begins with: (the offset it is at then, a line of JSON).

        One who was here before (`epoch`, `offset`) resumes there, if the tail or the log reach back so far.
        """
        if not epoch:
            return await self._snapshot_text("joined")
        if epoch != self.room.epoch or offset > max(self.room.offset, self.hub.version()):
            return await self.reset_text("this node has another log than the one that was seen before")
        if not self.room.covers(offset) and not await self._reach(offset):
            return await self.reset_text("too much happened meanwhile")
        told = {"kind": "resumed", "epoch": epoch, "offset": offset, "frames": self.room.count_since(offset)}
        return offset, _encode(told)

    async def reset_text(self, why: str) -> tuple[int, bytes]:
        return await self._snapshot_text("reset", why)

    async def _snapshot_text(self, kind: str, why: str = "") -> tuple[int, bytes]:
        offset, facts = await self._facts()
        head = _encode({"kind": kind, "epoch": self.room.epoch, "offset": offset, **({"why": why} if why else {})})
        return offset, head[:-1] + b',"facts":' + facts + b"}"

    async def _facts(self) -> tuple[int, bytes]:
        """The facts that a member begins with, made for many: the tail has what came since."""
        async with self.lock:
            offset = self.snapshot[0]
            room = self.room
            if offset < 0 or not room.covers(offset) or room.count_since(offset) > SNAPSHOT_FRAMES_MAX:
                self.snapshot = await anyio.to_thread.run_sync(self._read_facts)
            return self.snapshot

    def _read_facts(self) -> tuple[int, bytes]:
        with self.hub.engine.read() as facts:
            if self.offer.shows is not None:
                found = list(self.offer.shows(facts, self.fields))
            else:
                found = facts.scan(self.prefix, limit=SNAPSHOT_FACTS_MAX + 1)
                if len(found) > SNAPSHOT_FACTS_MAX:
                    raise TooLarge(
                        f"the room {self.path} has more than {SNAPSHOT_FACTS_MAX:,} facts: give Rooms(shows=…), which"
                        " chooses what a new member begins with"
                    )
            size = len(self.prefix)
            rows = [[readable_key(key[size:]), readable(value)] for key, value in found if key[:size] == self.prefix]
            return facts.version, _encode(rows)

    async def _reach(self, offset: int) -> bool:
        """Bring the tail back to `offset`, from the log."""
        async with self.lock:
            for _ in range(REACH_TRIES):
                if self.room.covers(offset):
                    return True
                until = self.room.start
                entries = await anyio.to_thread.run_sync(self._read_log, offset, until)
                if entries is None or (self.room.start == until and not self.room.prepend(offset, entries)):
                    return False
            return self.room.covers(offset)

    def _read_log(self, after: int, until: int) -> list[tuple[int, list[Row]]] | None:
        """The entries of this room with after < version <= until; None: too many, or the log begins later."""
        entries: list[tuple[int, list[Row]]] = []
        if until - after > self.hub.log_entries_max:
            return None
        expected = after + 1
        for record in self.hub.engine.records(after):
            if record.version != expected:
                return None  # trimmed
            if record.version > until:
                break
            rows = self._rows(Entry.decode(record.payload, inputs=False).writes)
            if rows:
                entries.append((record.version, rows))
            if record.version == until:
                return entries
            expected += 1
        return entries if expected > until else None

    def _rows(self, writes: dict[Any, Any]) -> list[Row]:
        size = len(self.prefix)
        return [
            row(key[size:], None if value is DELETED else thaw(value), value is DELETED)
            for key, value in writes.items()
            if key[:size] == self.prefix
        ]

    # --- who is here

    def count(self) -> None:
        """Tell how many are here, but not at every coming and going."""
        self.counter = None
        now = monotonic_ns()
        wait = self.counted_ns + COUNT_STEP_NS - now
        if wait > 0:
            self.counter = self.hub.loop.call_later(wait / SECOND_NS, self.count)
            return
        self.counted_ns = now
        self.fanout.say(_encode({"kind": "present", "count": self.presence.count(now)}))
        self.schedule()
        falls = self.presence.next_ns()
        if falls is not None:
            wait = max(falls - now, COUNT_STEP_NS)
            self.counter = self.hub.loop.call_later(wait / SECOND_NS, self.count)

    def recount(self) -> None:
        if self.counter is not None:
            self.counter.cancel()
        self.count()

    def arrive(self, person: str) -> None:
        self.presence.arrive(person)
        self.recount()

    def depart(self, person: str, member: Member) -> None:
        self.fanout.leave(member)
        now = monotonic_ns()
        self.presence.leave(person, now)
        if not self.presence.connected:
            self.empty_since_ns = now
        self.recount()

    def close(self) -> None:
        for timer in (self.timer, self.chaser, self.counter):
            if timer is not None:
                timer.cancel()


def row(suffix: tuple[Any, ...], value: Any, deleted: bool) -> Row:
    return [readable_key(suffix)] if deleted else [readable_key(suffix), readable(value)]


class Hub:
    """All rooms of a node, in one event loop."""

    def __init__(self, work: Any, offers: Sequence[Rooms]) -> None:
        self.work = work
        self.offers = tuple(offers)
        self.loop = asyncio.get_running_loop()
        self.members_max = work.settings.integer("live.members_max")
        self.rooms_max = work.settings.integer("live.rooms_max")
        self.log_entries_max = work.settings.integer("live.log_entries_max")
        self.idle_ns = int(work.settings.number("live.room_idle_s") * SECOND_NS)
        self.members = 0
        self.epoch = ""
        self.engine: Any = None
        self.rooms: dict[tuple[Rooms, tuple[Any, ...]], OpenRoom] = {}
        self._watches: dict[Rooms, Any] = {}
        self._heard_ns: dict[Rooms, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening = asyncio.Lock()
        self._sweeper: asyncio.TimerHandle | None = None

    def find(self, path: str) -> tuple[Rooms, Fields]:
        """The kind of rooms that an address is of.  Raises `NotFound`."""
        for offer in self.offers:
            fields = offer.fields(path)
            if fields is not None:
                return offer, fields
        known = ", ".join(offer.pattern for offer in self.offers) or "none: a pack offers them"
        raise NotFound(f"there is no room {path[:80]!r}; there are: {known}")

    async def room(self, offer: Rooms, path: str, fields: Fields) -> OpenRoom:
        """The room, opened if it is not.  Raises `StateInUse` while another process has the facts."""
        async with self._opening:
            if self.engine is None:
                self.engine, self.epoch = await anyio.to_thread.run_sync(self._open_engine)
            if offer not in self._watches:
                self._watches[offer] = self._watch(offer)
        name = (offer, offer.prefix_of(fields))
        found = self.rooms.get(name)
        if found is None:
            if len(self.rooms) >= self.rooms_max:
                raise Busy(f"{self.rooms_max} rooms are open (setting live.rooms_max)")
            # The watch was there before this look, and what it heard is taken in this loop, later: nothing is missed.
            found = self.rooms[name] = OpenRoom(self, offer, path, fields, self.version())
            if self._sweeper is None:
                self._sweeper = self.loop.call_later(SWEEP_STEP_S, self._sweep)
        return found

    def version(self) -> int:
        version: int = self.engine.facts.version
        return version

    def _open_engine(self) -> tuple[Any, str]:
        engine = self.work.node.engine
        first = next(iter(engine.records(0)), None)
        return engine, f"{engine.machine.epoch}.{first.digest.hex()[:12] if first else 'new'}"

    def _watch(self, offer: Rooms) -> Any:
        watch = self.engine.watch(offer.fixed)

        def heard() -> None:  # called by the log's thread
            if offer not in self._heard_ns:
                self._heard_ns[offer] = monotonic_ns()
                with contextlib.suppress(RuntimeError):  # the loop has ended, and with it every connection
                    self.loop.call_soon_threadsafe(self._take, offer)

        watch.heard = heard
        return watch

    def _take(self, offer: Rooms) -> None:
        heard_ns = self._heard_ns.pop(offer, 0)
        watch = self._watches.get(offer)
        if watch is None:
            return
        size = len(offer.prefix)
        try:
            changes = watch.take()
        except Lagged:
            # The rooms begin anew behind everything that was missed; who is behind finds it in the log.
            for room in self.rooms.values():
                if room.offer is offer:
                    room.room.lose(self.version())
                    room.schedule()
            return
        touched: dict[OpenRoom, None] = {}
        at = -1
        rows: dict[OpenRoom, list[Row]] = {}
        for change in [*changes, None]:
            if change is None or change.version != at:
                for room, found in rows.items():
                    room.hear(at, found, heard_ns)
                    touched[room] = None
                if change is None:
                    break
                at, rows = change.version, {}
            open_room = self.rooms.get((offer, change.key[:size]))
            if open_room is not None:
                rows.setdefault(open_room, []).append(row(change.key[size:], change.value, change.deleted))
        for room in touched:
            room.schedule()

    async def begin(self, room: OpenRoom, member: Member, offset: int, text: bytes) -> None:
        """Hand over the first line, then all that came since, then what comes."""
        for _ in range(REACH_TRIES):
            member.offset = offset
            if room.room.covers(offset):
                member.outlet.write(Parcel([text]))
                room.fanout.join(member)
                room.chase()
                return
            offset, text = await room.reset_text("too much happened meanwhile")
        raise Busy(f"the room {room.path} moves on faster than it can be read: come back later")

    def spawn(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sweep(self) -> None:
        now = monotonic_ns()
        for name, room in list(self.rooms.items()):
            if not len(room.fanout) and not room.presence.connected and now - room.empty_since_ns > self.idle_ns:
                room.close()
                del self.rooms[name]
        self._sweeper = self.loop.call_later(SWEEP_STEP_S, self._sweep) if self.rooms else None

    def leave(self) -> None:
        """No more news; the connections are closed by who serves them.  Safe from any thread."""
        for watch in list(self._watches.values()):
            watch.close()
