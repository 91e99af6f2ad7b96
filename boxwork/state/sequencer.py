"""The state machine: jobs in, entries out, and what is durable becomes visible.

It has no threads, clocks or files of its own: the engine drives it with a thread that cuts and a thread that
settles, the simulator with virtual time.  `cut` makes a batch of jobs on top of everything executed so far,
`seal` gives it its place in the chain, `settle` makes it visible once the log has it, `fail` forgets it.

Order within a batch, which is the order of its serial run: placed attempts by their positions, attempts that
found no place and run again, then the serial jobs as they came.

Invariants:  facts.version <= sealed version <= executed version;  nothing executed is visible before it is durable.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from boxwork.clock import Clock
from boxwork.errors import StorageError
from boxwork.state.answers import Answers
from boxwork.state.batch import Batch, Record
from boxwork.state.build import Builder
from boxwork.state.counters import Counters
from boxwork.state.job import Job
from boxwork.state.order import Key
from boxwork.state.positions import Rule
from boxwork.state.reservations import Reservations
from boxwork.state.snapshot import Facts

SEED_BYTES = 16
# Names of who changed what, kept while snapshots are open.  Unit: keys.  Reason: they only make messages better.
AUTHORS_MAX = 100_000


class Sequencer:
    """`cut` is called by one thread, `seal`, `settle` and `fail` by one thread; the two may overlap."""

    def __init__(
        self,
        facts: Facts,
        clock: Clock,
        *,
        epoch: int = 1,
        answers: Answers | None = None,
        rule: Rule = "interval",
        keep_inputs: bool = True,
        counters: Counters | None = None,
    ) -> None:
        self.facts = facts
        self.clock = clock
        self.epoch = epoch
        self.answers = answers or Answers()
        self.rule = rule
        self.keep_inputs = keep_inputs
        self.counters = counters or Counters()
        self.reservations = Reservations()
        self.executed = facts.version
        self.generation = 0  # grows with every failure: what was executed before it never was
        self._lock = threading.Lock()  # over: executed, generation, _in_flight, _first, _followers
        self._in_flight: list[Batch] = []
        self._first: dict[str, Job] = {}  # idempotency id -> who is on the way with it
        self._followers: dict[str, list[Job]] = {}
        self._deferred: list[Job] = []
        self._released = False
        self.unsure: dict[str, int] = {}  # see SerialRun
        self.tracks = False  # keep the names of who changed what, for those who watch
        self._asking: dict[int, Job] = {}
        self._repeats: list[Job] = []  # answered from memory, in this cut
        self._authors: dict[Key, str] = {}
        self._failure: BaseException = StorageError("the log could not be written")

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def deferred(self) -> int:
        return len(self._deferred)

    @property
    def has_work(self) -> bool:
        """May jobs that waited be run now, with a `cut` of nothing new?"""
        return self._released and bool(self._deferred)

    def new_seed(self) -> bytes:
        return bytes.fromhex(self.clock.token(SEED_BYTES))

    def author(self, key: Key) -> str:
        """Who changed `key` last, as far as it is remembered."""
        return self._authors.get(key, "somebody")

    # --- making a batch

    def cut(self, jobs: Sequence[Job]) -> Batch | None:
        """Execute jobs, and those that waited, as one batch; None if nothing came of it yet.

        The batch must be given to `settle` or `fail`, in the order of the cuts.
        """
        with self._lock:
            seen: dict[Key, Any] = {}
            for earlier in self._in_flight:
                seen.update(earlier.writes)
            generation = self.generation
            version = self.executed + 1
        if self._released:  # before a release they would only run against the same reservation
            jobs, self._deferred, self._released = [*self._deferred, *jobs], [], False
        tracked = self.tracks or self.facts.open_snapshots > 0
        if self._authors and (not tracked or len(self._authors) > AUTHORS_MAX):
            self._authors = {}
        builder = Builder(self, version, seen, tracked)
        builder.run(jobs)
        repeats, self._repeats = self._repeats, []
        granted = [self._asking.pop(number) for number in self.reservations.grant()]
        if not builder.done and not granted and not repeats:
            return None
        batch = builder.batch(granted)
        batch.jobs += repeats
        batch.generation = generation
        if tracked:
            batch.authors = builder.authors
            self._authors.update(builder.authors)
        with self._lock:
            if generation == self.generation and batch.payload:
                self.executed = version
                self._in_flight.append(batch)
        return batch

    def defer(self, job: Job) -> None:
        """`job` has met a reservation: it runs with a later batch."""
        self.counters[job.lane].waits += 1
        self._deferred.append(job)

    def ask(self, job: Job) -> None:
        """`job` asks for a reservation; it is handed back when it is granted."""
        assert job.keys is not None
        job.reservation = self.reservations.ask(job.keys)
        self._asking[job.reservation] = job
        if job.abandoned:  # looked at after the number is known: whoever goes now sees the number himself
            self.release(job.reservation)
        self.counters[job.lane].waits += 1

    def release(self, reservation: int) -> None:
        """Called by the thread that cuts."""
        self._asking.pop(reservation, None)
        self.reservations.release(reservation)
        self._released = True

    def answered(self, job: Job) -> None:
        self._repeats.append(job)

    def is_duplicate(self, job: Job) -> bool:
        """Is somebody on the way with this idempotency id?  Then `job` gets his answer."""
        with self._lock:
            first = self._first.setdefault(job.once, job)
            if first is job:
                return False
            self._followers.setdefault(job.once, []).append(job)
        if job.reservation:  # the one in front may be waiting for the very keys that its follower has reserved
            self.release(job.reservation)
        return True

    def abandon(self) -> list[Job]:
        """Everybody who still waits for a reservation; called when nothing will be cut any more."""
        waiting = [*self._deferred, *self._asking.values()]
        self._deferred, self._asking = [], {}
        return [*waiting, *(follower for job in waiting if job.once for follower in self._followers_of(job))]

    # --- what becomes of it

    def seal(self, batches: Sequence[Batch]) -> list[Record]:
        """Give batches their places in the chain; those without an entry get none."""
        records = []
        durable, digest = self.facts.version, self.facts.digest
        for batch in batches:
            if batch.payload:
                batch.record = Record.seal(batch.version, self.epoch, durable, digest, batch.payload)
                digest = batch.record.digest
                records.append(batch.record)
        return records

    def settle(self, batch: Batch) -> list[Job]:
        """The log has it: make it visible; the jobs that are done, for their callers."""
        record = batch.record
        if record is not None:
            self.facts.apply(batch.version, batch.writes, record.digest)
            self.answers.keep(batch.answers, batch.version, self.epoch, record.digest, batch.now_ns)
            with self._lock:
                self._in_flight.remove(batch)
            self.counters.batches += 1
            self.counters.rows += sum([len(job.rows) for job in batch.jobs])
            self.counters.bytes += len(record.payload)
        done: list[Job] = []
        at = (self.epoch, self.facts.version, self.facts.digest)
        for job in batch.jobs:
            if job.receipt_at is None:
                job.receipt_at = at
            done.append(job)
            if job.once:
                done += self._followers_of(job)
        return done + batch.granted

    def is_current(self, batch: Batch) -> bool:
        """Does it stand on facts that are, or will be?"""
        return batch.generation == self.generation

    def fail(self, batches: Sequence[Batch], error: BaseException | None = None) -> list[Job]:
        """The log has them not, or nobody knows: forget them and everything that stands on them.

        `batches` are all that were cut and not settled; those cut meanwhile are not current and come here later.
        """
        with self._lock:
            if error is not None:
                self._failure = error
                self.generation += 1
                self._in_flight.clear()
                self.executed = self.facts.version
        done: list[Job] = []
        for batch in batches:
            for job in (*batch.jobs, *batch.granted):
                job.error = self._failure
                done.append(job)
                if job.once:
                    done += self._followers_of(job)
        return done

    def _followers_of(self, job: Job) -> list[Job]:
        """Those who came with the same id while it was under way get the same answer."""
        with self._lock:
            if self._first.get(job.once) is not job:
                return []
            del self._first[job.once]
            followers = self._followers.pop(job.once, [])
        for follower in followers:
            follower.answers, follower.errors, follower.first = job.answers, job.errors, job.first
            follower.error, follower.lost, follower.receipt_at = job.error, job.lost, job.receipt_at
        return followers
