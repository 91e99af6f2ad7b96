"""The owner's side: whoever owns the facts takes in the commits of other processes, and answers with receipts.

The socket lies in the data directory, for its user alone.  Only transactions that this process has loaded are run,
and only if their code is the same: no code is loaded because somebody asks for it.

One thread has all connections.  What has come on any of them is read, sorted by transaction (the order of a connection
is kept), and handed in together; its answers go out together.  This thread also executes what it hands in, and with a
quick disk makes it durable (`Pipeline.run`), because waking another thread for it costs more than doing it.  What may
wait (slow and awaiting functions, locks, `commit_many`) has a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from boxwork.clock import SECOND_NS, monotonic_ns
from boxwork.errors import BadInput, BoxworkError, Busy, FormatError, NotFound, StateInUse
from boxwork.state.engine import Engine
from boxwork.state.face import AsyncEngine
from boxwork.state.job import Job
from boxwork.state.remote import wire
from boxwork.state.remote.catalogue import Catalogue, Fingerprint, Used
from boxwork.state.remote.crew import Crew
from boxwork.state.remote.door import listen
from boxwork.state.remote.guest import NOWHERE, USED_MAX, Guest, Place
from boxwork.state.remote.stretch import Stretch, Waiting
from boxwork.state.values import SMALL, freeze
from boxwork.transactions import Transaction

log = logging.getLogger("boxwork.state")

# Connections at once.  Unit: connections.  Reason: other processes of one machine, each with a few; who comes later is
# told to come again.
CONNECTIONS_MAX = 128
# Calls that may wait (for a lock, for their own thoughts), each in a thread of its own; the others wait for one of
# these.  Unit: threads.  Reason: one a connection.
THREADS_MAX = 128
# How long the end waits for an answer that is under way.  Unit: s.  Reason: a batch takes milliseconds, a slow
# transaction may think; whoever is cut off then does not know, and asks again with its id.
STOP_S_MAX = 5.0
# So often the desk looks what has come before it executes it, as long as more has come meanwhile and not everybody was
# heard.  Unit: looks.  Reason: reading ten calls takes 60 us, in which those who were answered last ask on; a look
# costs 2 us, a batch of its own 300.  A limit, because one who never stops sending shall not hold up the others.
LOOKS_MAX = 4
# When no connection can be taken (no descriptor is free), so long until the next try.  Unit: s.  Reason: who waits,
# waits in the kernel, and those who are in shall not notice.
TAKE_IN_PAUSE_S = 0.1

_OUT = int(select.EPOLLOUT)

Heard: TypeAlias = list[tuple[Guest, dict[wire.Call, None]]]


class Desk:
    """Listens from the start until `close`."""

    def __init__(
        self, path: Path, engine: Engine, named: Mapping[str, Transaction[..., Any]], fingerprint: Fingerprint
    ) -> None:
        self._path = path
        self._engine = engine
        self._known = Catalogue(named, fingerprint, engine.box_of, self._mixes)
        self._reader = wire.CallReader()
        self._round = 0  # of what came together
        self._hello = _hello()
        self._closing = False
        self._guests: dict[int, Guest] = {}  # by descriptor; of the desk's thread alone, as everything but what follows
        self._dirty: dict[Guest, None] = {}  # with answers to be sent
        self._finished: deque[tuple[Job, list[Place]]] = deque()  # filled by any thread
        self._told: deque[tuple[Guest, dict[str, Any]]] = deque()  # filled by any thread
        self._is_rung = False
        self._pauses_until_ns = 0  # nobody is taken in before; 0: somebody may be
        self._crew = Crew(THREADS_MAX)
        self._listener = listen(path)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._poll.register(self._bell, select.EPOLLIN)
        self._thread = threading.Thread(target=self._serve, name="state-desk", daemon=True)
        self._thread.start()

    # --- the desk's thread

    def _serve(self) -> None:
        end_ns: int | None = None
        while True:
            if self._closing and end_ns is None:
                end_ns = monotonic_ns() + int(STOP_S_MAX * SECOND_NS)
                self._stop()
            if end_ns is not None and (not self._guests or monotonic_ns() > end_ns):
                break
            try:
                self._turn(end_ns)
            except Exception:  # our bug: the others shall be served all the same
                log.exception("the desk has stumbled")
        for guest in list(self._guests.values()):
            self._part(guest)

    def _turn(self, end_ns: int | None) -> None:
        """One round: everything that has come, and everything that is ready."""
        if self._pauses_until_ns and monotonic_ns() >= self._pauses_until_ns:
            self._pauses_until_ns = 0
            self._poll.modify(self._listener, select.EPOLLIN)
        until_ns = min(filter(None, (end_ns, self._pauses_until_ns)), default=None)
        left_s = None if until_ns is None else max((until_ns - monotonic_ns()) / SECOND_NS, 0)
        heard: Heard = []
        self._reader.is_plain = True
        ready = self._poll.poll(left_s)
        for looks in range(1, LOOKS_MAX + 1):
            for number, what in ready:
                guest = self._guests.get(number)
                if guest is not None:
                    self._attend(guest, what, heard)
                elif number == self._bell:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(self._bell)
                    self._is_rung = False  # only now: else a ring could be read away, and none would follow it
                else:
                    self._welcome()
            if not 0 < len(heard) < len(self._guests) or looks == LOOKS_MAX:
                break
            ready = self._poll.poll(0)
            if not ready:
                break
        self._hand_out()
        for jobs in self._sorted(heard) if heard else ():
            self._engine.run(jobs)
            self._hand_out()

    def _welcome(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    guest = Guest(self._listener.accept()[0])
                except BlockingIOError:
                    raise
                except OSError as reason:  # else the poll would come back at once, again and again
                    log.warning("no connection of another process can be taken: %s", reason)
                    self._pauses_until_ns = monotonic_ns() + int(TAKE_IN_PAUSE_S * SECOND_NS)
                    self._poll.modify(self._listener, 0)
                    return
                if len(self._guests) >= CONNECTIONS_MAX:
                    busy = Busy(f"{CONNECTIONS_MAX} connections are being served")
                    with contextlib.suppress(wire.Left):
                        guest.send(wire.question({"error": wire.error_out(busy)}))
                    guest.close()
                    continue
                self._guests[guest.number] = guest
                self._poll.register(guest.number, select.EPOLLIN)
                with contextlib.suppress(wire.Left):  # it is told of that when it is read from
                    guest.send(self._hello)
                if self._closing:
                    guest.stop_reading()

    def _attend(self, guest: Guest, what: int, heard: Heard) -> None:
        try:
            if what & _OUT:
                guest.go_on()
            if what & ~_OUT:
                for body in guest.receive():
                    if body[0] == wire.CALLS:
                        calls = self._reader.calls_in(body)
                        guest.under_way += len(calls)
                        heard.append((guest, calls))
                    else:
                        guest.under_way += 1
                        self._question(guest, wire.as_map(body))
                if guest.is_through and what & (select.EPOLLHUP | select.EPOLLERR):
                    self._part(guest)  # it has left: what is under way stands, but has no reader
        except Exception as reason:  # whatever a stranger says: it is his connection alone
            self._break_off(guest, reason)
        else:
            if guest.wanted != guest.polled:
                self._look(guest)

    def _look(self, guest: Guest) -> None:
        """Wait for what this guest may do next, or part."""
        if guest.is_gone:
            return
        if guest.is_finished:
            self._part(guest)
            return
        guest.polled = guest.wanted
        self._poll.modify(guest.number, guest.polled)

    def _break_off(self, guest: Guest, reason: Exception) -> None:
        if not isinstance(reason, wire.Left):
            log.warning("a connection of another process broke off: %s: %s", type(reason).__name__, reason)
        self._part(guest)

    def _part(self, guest: Guest) -> None:
        if not guest.is_gone:
            self._poll.unregister(guest.number)
            del self._guests[guest.number]
            guest.close()

    # --- calls

    def _mixes(self, box: Transaction[..., Any]) -> bool:
        job = self._engine.job(box, [], many=True)
        return job.lane == "serial" and not self._engine.runs_elsewhere(job)

    def _sorted(self, heard: Heard) -> list[list[Job]]:
        """Calls as jobs, in the order in which they came; each list is for one batch."""
        self._round += 1
        stretches: list[Stretch] = []
        first: Used | None = None  # of the last stretch, if it takes more calls
        add: Callable[[Waiting], None] = _nowhere
        for guest, calls in heard:
            if self._closing:  # a call that is not begun may be asked of the next owner, and is told so
                self._told.append((guest, {"gone": [number for number, *_ in calls]}))
                continue
            known = guest.used
            for number, name, row, options in calls:
                used = known.get(name)
                if used is None:
                    self._fail(guest, number, BadInput(f"nothing was said to be transaction {name} on this connection"))
                    continue
                if used.round != self._round:  # asked once for all that came together
                    try:
                        self._known.box(used)
                    except BaseException as error:
                        self._fail(guest, number, error)
                        continue
                    used.round = self._round
                if len(row) != used.size:
                    short = f"{used.name} takes {used.size} inputs, {len(row)} came over the socket"
                    self._fail(guest, number, NotFound(short))
                    continue
                if first is None or options is not None or not (used is first or (used.mixes and first.mixes)):
                    stretch = Stretch(options)
                    stretches.append(stretch)
                    first, add = used if options is None else None, stretch.calls.append
                add((used, row, (guest, number)))
        batches = self._jobs(stretches)
        if self._dirty or self._told:
            self._hand_out()
        return batches

    def _jobs(self, stretches: list[Stretch]) -> list[list[Job]]:
        engine, rows_max = self._engine, self._engine.batch_rows
        batches: list[list[Job]] = [[]]
        size = 0
        for stretch in stretches:
            for job, places in stretch.jobs(engine, rows_max, self._fail, is_plain=self._reader.is_plain):
                if engine.runs_elsewhere(job):
                    for row, place in zip(job.rows, places, strict=True):
                        self._elsewhere(engine.job(job.box, row, job.lane, once=job.once, who=job.who), place)
                    continue
                job.callers = len(places)
                job.done = _Teller(self, places)
                size += len(places)
                if size > rows_max:
                    batches.append([])
                    size = len(places)
                batches[-1].append(job)
        return batches if batches[0] else batches[1:]

    def _fail(self, guest: Guest, number: int, error: BaseException) -> None:
        guest.failed.append((number, wire.error_out(error)))
        self._dirty[guest] = None

    def job_done(self, job: Job, places: list[Place]) -> None:
        """Called by whoever knows it, the desk's thread or another."""
        self._finished.append((job, places))
        self._ring()

    def _ring(self) -> None:
        if not self._is_rung and threading.get_ident() != self._thread.ident:
            self._is_rung = True
            with contextlib.suppress(OSError):  # closed meanwhile: nobody is left to be told
                os.eventfd_write(self._bell, 1)

    def _hand_out(self) -> None:
        """Send what is ready."""
        while self._finished:
            job, places = self._finished.popleft()
            self._write_down(job, places[job.offset : job.offset + len(job.rows)])
        while self._told:
            guest, message = self._told.popleft()
            if not guest.is_gone:
                self._tell(guest, message)
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
            for guest in dirty:
                if guest.is_gone:
                    continue
                try:
                    guest.answer()
                except wire.Left as reason:
                    self._break_off(guest, reason)
                else:
                    if guest.wanted != guest.polled:
                        self._look(guest)

    def _write_down(self, job: Job, places: list[Place]) -> None:
        """Note the answers of a job with those who wait for them."""
        if job.error is not None:
            for guest, number in places:
                self._fail(guest, number, job.error)
            return
        at = job.receipt_at or NOWHERE
        dirty, index, errors, answers = self._dirty, job.first, job.errors, job.answers
        indexes = job.indexes
        for row, (guest, number) in enumerate(places):
            if errors and row in errors:
                self._fail(guest, number, errors[row])
                continue
            dirty[guest] = None
            if indexes is not None:
                index = indexes.get(row, -1)
            if guest.at is not at:
                guest.turn_over(at)
            answer = answers[row]
            if answer.__class__ in SMALL:
                guest.answered.append((number, index, answer))
            else:
                try:
                    guest.answered.append((number, index, freeze(answer)))
                except BoxworkError:  # the commit stands all the same
                    _log_mute(job.label, answer)
                    guest.mute.append((number, index))
            if index >= 0:
                index += 1

    # --- calls that may wait

    def _elsewhere(self, job: Job, place: Place) -> None:
        """Run a call in a thread of its own, beside the others of its connection."""

        def work() -> None:
            done = job
            try:
                if job.box.awaits:
                    asyncio.run(self._awaited(job))
                else:
                    done = self._engine.run_alone(job, ages=place[0])
            except BaseException as error:
                done.error = error
            self.job_done(done, [place])

        self._crew.start(work)

    async def _awaited(self, job: Job) -> None:
        face, row = AsyncEngine(self._engine), job.arguments(0)
        lane: Any = job.lane
        committed: Any = await face.commit(job.box, *row, receipt=True, once=job.once, lane=lane, who=job.who)
        answer, at = committed
        job.answers, job.first, job.receipt_at = [answer], at.index, (at.epoch, at.version, at.digest)

    # --- questions

    def _question(self, guest: Guest, question: dict[str, Any]) -> None:
        if question.get("ask") == "use" and question.get("protocol") == wire.PROTOCOL:
            guest.under_way -= 1  # nobody waits for an answer
            if len(guest.used) >= USED_MAX:
                raise FormatError(f"a connection may use {USED_MAX:,} transactions, not more")
            guest.used[question.get("as", 0)] = self._known.used(question)
            return
        number = question.get("number", 0)
        if self._closing:
            self._tell(guest, {"gone": [number]})
            return

        def work() -> None:
            try:
                told = self._answer(question)
            except BaseException as error:
                told = {"error": wire.error_out(error)}
            self._told.append((guest, {"number": number, **told}))
            self._ring()

        self._crew.start(work)

    def _tell(self, guest: Guest, message: dict[str, Any]) -> None:
        guest.under_way -= len(message.get("gone", "1"))
        try:
            guest.send(wire.question(message))
        except BoxworkError as reason:  # too large: the error is not
            guest.send(wire.question({"number": message["number"], "error": wire.error_out(reason)}))
        self._dirty[guest] = None

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        if question.get("protocol") != wire.PROTOCOL:
            raise _other_version(question.get("protocol"))
        ask = {"commit_many": self._commit_many, "numbers": self._numbers}
        kind = question.get("ask")
        if kind not in ask:
            raise BadInput(f"the owner of the facts cannot be asked for {kind!r}")
        return ask[kind](question)

    def _commit_many(self, question: dict[str, Any]) -> dict[str, Any]:
        box = self._known.box(self._known.used(question))
        rows = [tuple(row) for row in wire.unpacked(question["rows"])]
        answers = self._engine.commit_many(box, rows, lane=question.get("lane", ""), who=str(question.get("who", "")))
        return {
            "answers": [
                {"error": wire.error_out(one)} if isinstance(one, BaseException) else {"answer": _answer_out(one)}
                for one in answers
            ]
        }

    def _numbers(self, question: dict[str, Any]) -> dict[str, Any]:
        told = {"numbers": self._engine.numbers(), "recent": self._engine.recent()}
        return {"owner": os.getpid(), "told": wire.packed(told)}

    # --- the end

    def _stop(self) -> None:
        """What is in the kernel's queue by now is told that the owner goes."""
        self._welcome()
        for guest in self._guests.values():
            guest.stop_reading()

    def close(self) -> None:
        """Take nothing in any more, finish what is under way, and go; twice is once."""
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(OSError):
            self._path.unlink()  # ours: who owns the facts alone may make one
        os.eventfd_write(self._bell, 1)
        self._thread.join(STOP_S_MAX + 1)
        self._poll.close()
        self._listener.close()
        bell, self._bell = self._bell, -1
        os.close(bell)

    def close_in_child(self) -> None:
        """After a fork, in the child: its copies of the sockets go, or nobody would notice that the owner died."""
        self._closing = True
        for one in (self._listener, *(guest.link for guest in self._guests.values())):
            with contextlib.suppress(OSError):
                socket.close(one.detach())
        with contextlib.suppress(OSError):
            self._poll.close()
        bell, self._bell = self._bell, -1
        with contextlib.suppress(OSError):
            os.close(bell)


class _Teller:
    """`done` of a job: passes on who waits for it."""

    __slots__ = ("_desk", "_places")

    def __init__(self, desk: Desk, places: list[Place]) -> None:
        self._desk = desk
        self._places = places

    def __call__(self, job: Job) -> None:
        self._desk.job_done(job, self._places)


def _nowhere(call: Waiting) -> None:
    """A call comes after a stretch was begun for it."""


def _hello() -> bytes:
    """The first thing a guest hears: who never heard it was never taken in, so nothing of it was begun.

    To one of version 1, which waits for an answer to its question, it is a refusal.
    """
    refusal = wire.error_out(_other_version(1))
    return wire.question({"hello": wire.PROTOCOL, "owner": os.getpid(), "error": refusal})


def _other_version(version: Any) -> StateInUse:
    return StateInUse(
        f"process {os.getpid()} owns the facts and speaks version {wire.PROTOCOL} of the socket's messages, not"
        f" {version!r}: run the same Boxwork in both"
    )


def _answer_out(answer: Any) -> bytes | None:
    """The answer in its stored form; None if it has none: the commit stands all the same."""
    try:
        return wire.packed(answer)
    except BoxworkError:
        _log_mute("a commit", answer)
        return None


def _log_mute(whose: str, answer: Any) -> None:
    log.warning("the answer of %s is of type %s, which cannot be sent", whose, type(answer).__name__)
