"""The threads that drive the state machine: one executes, one makes durable.

Whatever is handed in while they are busy becomes the next batch, so callers that come together share a sync without
knowing of each other.

    callers → queue → sequencer thread (cut) → log thread (seal, append + sync, settle) → callers

A thread of ours that comes with many calls at once (the desk's) may do both steps itself, if nobody else is at it: each
hand-over to another thread costs more than a small batch does.  The sequencer thread, too, writes a batch itself if
making it took much longer than writing it will.  Who cuts holds `_turn`, who writes `_pen`; a batch is written by
whoever comes to the log first, in the order of the cuts.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from boxwork.clock import Clock
from boxwork.errors import BoxworkError, Busy, InvariantBroken, StateError
from boxwork.settings import KiB
from boxwork.state.batch import Batch, Record
from boxwork.state.job import Job
from boxwork.state.log import Log
from boxwork.state.order import Key
from boxwork.state.purity import Audit
from boxwork.state.sequencer import Sequencer
from boxwork.state.watch import Audience
from boxwork.transactions import LANES

log = logging.getLogger("boxwork.state")

# Keys of a batch that are counted for the list of the hottest.  Unit: keys.  Reason: a sample is enough, and cheap.
HOT_SAMPLE = 8
# Counted keys before the counts are halved.  Unit: keys.  Reason: so that yesterday's heat fades.
HOT_MAX = 1024
# The newest entries that are kept at hand, and up to which size with their content.  Units: entries, bytes.  Reason: a
# page that shows them; together they take 6 MiB at most, and an entry of thousands of calls is nothing to look at.
RECENT_MAX = 100
RECENT_BYTES_MAX = 64 * KiB
# A sync is waited for by the thread that executes if it takes less than this.  Unit: ns.  Reason: handing a batch to
# the log thread and being woken costs 0.1 ms on two busy cores; on a slower disk the next batch is made meanwhile.
# Source: measured, bench/state_socket.py; the figure is rough.
QUICK_SYNC_NS = 400_000
# The sequencer thread writes a batch itself if making it took so long, and so many times as long as a sync.  Units: ns,
# syncs.  Reason: while a batch is under way the next one has to look past its changes, which costs 8 % of calls in
# thousands (docs/decisions/0092); what is gained by making it meanwhile is one sync.
LONG_CUT_NS = 1_000_000
LONG_CUT_SYNCS = 16
# What a sync is believed at once to take more than twice as long as those before.  Unit: ns.  Reason: a disk is known
# to be slow after some 15 batches, and one slow sync (of room for the log, of another's data) makes none.
SYNC_STEP_NS = 50_000
# Pause of a caller that waits for room in the queue.  Unit: s.  Reason: about one batch.
ROOM_PAUSE_S = 0.001
_CLOSED = "the node is closed: open it again"


class Series(Protocol):
    def record(self, ns: int) -> None: ...


class Timings(Protocol):
    """What is needed of `boxwork.pulse.Pulse`."""

    def series(self, name: str, **labels: str) -> Series: ...


class Recent(NamedTuple):
    """One of the newest entries; `record` only if it is small."""

    version: int
    at_ns: int
    payload_bytes: int
    writes: int
    record: Record | None


class Release:
    """In the queue among jobs: a reservation is given back."""

    __slots__ = ("reservation",)

    def __init__(self, reservation: int) -> None:
        self.reservation = reservation


class Pipeline:
    def __init__(
        self,
        machine: Sequencer,
        log: Log,
        clock: Clock,
        audience: Audience,
        audit: Audit,
        *,
        batch_rows: int,
        queue_max: int,
        depth: int,
        written: Callable[[int], None],
        timings: Timings | None = None,
    ) -> None:
        self._machine = machine
        self._log = log
        self._clock = clock
        self._audience = audience
        self._audit = audit
        self._batch_rows = batch_rows
        self._queue_max = queue_max
        self._written = written  # told the payload bytes of each group, by the log thread
        self._queue: queue.SimpleQueue[Job | Release | None] = queue.SimpleQueue()
        self._to_log: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._turn = threading.Lock()  # held by who cuts
        self._pen = threading.Lock()  # held by who writes
        self._sent = self._taken = 0  # batches for the log thread; changed under `_turn`, under `_pen`
        self._sync_ns = 0  # of the last appends by who has cut, about
        self._ended = False  # nothing is cut any more; changed under `_turn`
        self._hot: dict[Key, int] = {}
        self.recent: deque[Recent] = deque(maxlen=RECENT_MAX)
        self._closed = False
        self._gate = threading.Lock()  # nobody hands in behind the end
        self._durations: dict[str, Callable[[int], None]] | None = None
        self._append_durations: Callable[[int], None] | None = None
        if timings is not None:
            self._durations = {lane: timings.series("state.commit", lane=lane).record for lane in LANES[1:]}
            self._append_durations = timings.series("state.append").record
        self._threads = [
            threading.Thread(target=self._sequence, name="state-sequencer", daemon=True),
            threading.Thread(target=self._write, name="state-log", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        return self._queue.qsize()

    def hottest(self, count: int = 20) -> list[tuple[Key, int]]:
        """The keys that are written most, by a sample."""
        return sorted(self._hot.items(), key=lambda row: -row[1])[:count]

    def put(self, job: Job, *, patient: bool = False) -> None:
        """Queue a job.  If there is no room: `Busy`, or, `patient`, wait for it."""
        while self._queue.qsize() >= self._queue_max:
            if not patient:
                raise Busy(f"{self._queue_max} commits are waiting (state.queue_max): try again in a moment")
            time.sleep(ROOM_PAUSE_S)
        with self._gate:
            if self._closed:
                raise StateError(_CLOSED)
            self._queue.put(job)

    def release(self, reservation: int) -> None:
        self._queue.put(Release(reservation))

    def wait(self, job: Job, first: Callable[[], None] | None = None) -> Job:
        """Queue a job and wait until it is done.  `first` is called as soon as it is, by the thread that knows it."""
        # A bare lock is the cheapest thing to wait on: about 2 us less than a Future.
        latch = threading.Lock()
        latch.acquire()

        def done(_: Job) -> None:
            if first is not None:
                first()
            latch.release()

        job.done = done
        self.put(job)
        latch.acquire()
        return job

    def run(self, jobs: list[Job]) -> None:
        """Hand jobs in and, if nobody else is at it, execute them in this thread, and with a quick disk write them too.

        For a thread of ours that has nothing else to do meanwhile.  Whatever becomes of them is told to `done`.
        """
        if not self._room.acquire(blocking=False):
            self._put_all(jobs)
            return
        if not self._turn.acquire(blocking=False):
            self._room.release()
            self._put_all(jobs)
            return
        mine = False
        batch: Batch | None = None
        cut_ns = 0
        try:
            if self._closed or self._ended:
                self._refuse(jobs, StateError(_CLOSED))
            else:
                began = self._clock.monotonic_ns()
                batch = self._cut(self._waiting(jobs))
                cut_ns = self._clock.monotonic_ns() - began
            if batch is None:
                self._room.release()
            elif self._sync_ns < QUICK_SYNC_NS and self._sent == self._taken:
                # The log thread may be writing the batch before.  For a small batch it is waited for: handed another
                # one, it would still be writing that one when the next is ready, and so on, with a hand-over for each.
                mine = self._pen.acquire(blocking=cut_ns < QUICK_SYNC_NS)
            if batch is not None and not mine:
                self._send(batch)
        finally:
            self._turn.release()
        if mine and batch is not None:
            self._write_mine(batch)

    def _write_mine(self, batch: Batch) -> None:
        """Make durable what this thread has cut; it holds the pen."""
        try:
            self._tell(self._write_group([batch], mine=True))
        finally:
            self._pen.release()
            self._room.release()

    def _put_all(self, jobs: list[Job]) -> None:
        for job in jobs:
            try:
                self.put(job)
            except BoxworkError as error:
                self._refuse([job], error)

    def _refuse(self, jobs: list[Job], error: BaseException) -> None:
        for job in jobs:
            job.error = error
            job.done(job)

    def _send(self, batch: Batch) -> None:
        self._sent += 1
        self._to_log.put(batch)

    def _waiting(self, jobs: list[Job]) -> list[Job]:
        """What waits in the queue, as far as it fits into a batch, and then `jobs`."""
        if self._queue.empty():
            return jobs
        earlier: list[Job] = []
        rows = sum(len(job.rows) for job in jobs)
        while rows < self._batch_rows:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:  # the end is for the sequencer thread
                self._queue.put(None)
                break
            if isinstance(item, Release):
                self._machine.release(item.reservation)
            else:
                earlier.append(item)
                rows += len(item.rows)
        return earlier + jobs

    # --- the sequencer thread

    def _sequence(self) -> None:
        last = False
        while not last:
            item = self._queue.get()
            self._room.acquire()  # before the queue is emptied: what comes while it is full belongs to this batch
            with self._turn:
                jobs: list[Job] = []
                rows = 0
                while True:
                    if item is None:
                        last = True
                        break
                    if isinstance(item, Release):
                        self._machine.release(item.reservation)
                    else:
                        jobs.append(item)
                        rows += len(item.rows)
                    if rows >= self._batch_rows:
                        break
                    try:
                        item = self._queue.get_nowait()
                    except queue.Empty:
                        break
                started = self._clock.monotonic_ns()
                batch = self._cut(jobs)
                took = self._clock.monotonic_ns() - started
                mine = False
                if batch is None:
                    self._room.release()
                elif (
                    took > max(LONG_CUT_NS, LONG_CUT_SYNCS * self._sync_ns)
                    and self._sent == self._taken
                    and self._pen.acquire(blocking=False)
                ):
                    mine = True
                else:
                    self._send(batch)
                self._ended = last
            if mine and batch is not None:
                self._write_mine(batch)
        self._to_log.put(None)

    def _cut(self, jobs: list[Job]) -> Batch | None:
        try:
            batch = self._machine.cut(jobs)
            if self._machine.has_work:
                self._queue.put(Release(0))
            return batch
        except BaseException as error:  # our bug: nobody shall wait for ever because of it
            broken = InvariantBroken(f"a batch could not be made: {type(error).__name__}: {error}")
            broken.__cause__ = error
            self._refuse(jobs, broken)
            return None

    # --- the log thread

    def _write(self) -> None:
        last = False
        while not last:
            batches: list[Batch] = []
            item = self._to_log.get()
            with self._pen:
                while True:
                    if item is None:
                        last = True
                        break
                    batches.append(item)
                    try:
                        item = self._to_log.get_nowait()
                    except queue.Empty:
                        break
                self._taken += len(batches)
                if batches:
                    self._tell(self._write_group(batches))
                    self._room.release(len(batches))

    def _write_group(self, batches: list[Batch], *, mine: bool = False) -> list[Job]:
        """`mine`: by the thread that has cut them."""
        machine = self._machine
        done: list[Job] = []
        current = [batch for batch in batches if machine.is_current(batch)]
        if len(current) < len(batches):
            done += machine.fail([batch for batch in batches if batch not in current])
        try:
            records = machine.seal(current)
            if records:
                started = self._clock.monotonic_ns()
                self._log.append(records)
                took = self._clock.monotonic_ns() - started
                # What the log thread measures is also its wait for the interpreter, which says nothing of the disk: its
                # batches only bring the next try nearer, one in some dozens on a slow disk.
                if mine:  # some in a row make a disk slow, not one
                    known = self._sync_ns
                    self._sync_ns = known + ((min(took, 2 * known + SYNC_STEP_NS) - known) >> 3)
                else:
                    self._sync_ns -= self._sync_ns >> 7
                if self._append_durations is not None:
                    self._append_durations(took)
        except BaseException as error:
            return done + machine.fail(current, error)
        for batch in current:
            if batch.record is not None and self._audit.is_due():
                self._audit.run_again(machine.facts, batch)
            finished = machine.settle(batch)
            if batch.record is not None:
                kept = batch.record if len(batch.payload) <= RECENT_BYTES_MAX else None
                self.recent.append(Recent(batch.version, batch.now_ns, len(batch.payload), len(batch.writes), kept))
            if batch.writes:
                self._count_hot(batch)
                if self._audience:
                    self._audience.publish(batch.version, batch.writes, batch.authors)
            done += finished
        self._written(sum(len(batch.payload) for batch in current))
        return done

    def _tell(self, done: list[Job]) -> None:
        durations = self._durations
        if durations is not None:
            now = self._clock.monotonic_ns()
            for job in done:
                record, took = durations[job.lane], now - job.submitted_ns
                for _ in range(job.callers):
                    record(took)
        for job in done:
            try:
                job.done(job)
            except Exception:  # one listener's bug must not be everybody's: this thread is the only one of its kind
                log.exception("who waited for %s could not be told", job.label)

    def _count_hot(self, batch: Batch) -> None:
        hot = self._hot
        for key in itertools.islice(batch.writes, HOT_SAMPLE):
            hot[key] = hot.get(key, 0) + 1
        if len(hot) > HOT_MAX:
            self._hot = {key: count // 2 for key, count in hot.items() if count > 1}

    def close_in_child(self) -> None:
        """After a fork, in the child: the threads are not here, so nothing is taken any more."""
        self._gate = threading.Lock()  # a thread of the parent may have held the other one
        self._closed = True

    def close(self) -> None:
        """Finish what was handed in, then stop."""
        with self._gate:
            self._closed = True
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        for job in self._machine.abandon():
            job.error = StateError("the node was closed while this waited for a reservation")
            job.done(job)
