"""A node in the simulation: the state machine, the log and the recovery of `boxwork.state`, driven by the loop.

As in the engine, one process cuts batches and one makes them durable, and they overlap.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from boxwork.state import checkpoint as checkpoints
from boxwork.state.batch import Batch
from boxwork.state.job import Job
from boxwork.state.logs.disk import DiskLog
from boxwork.state.recovery import recover
from boxwork.state.sequencer import Sequencer
from boxwork.state.snapshot import Facts, Snapshot
from boxwork.testing.simulation.disk import SECTOR, Crashed, SimulatedDisk, SimulatedStore
from boxwork.testing.simulation.loop import Event, Loop, Process
from boxwork.transactions import Transaction

US = 1_000
PIPELINE = 3
BATCH_ROWS = 12  # small, so that batches come in all sizes


class Node:
    """One life of a node: from its start to its crash.  What `Attempts` needs of an engine, it has."""

    def __init__(self, loop: Loop, disk: SimulatedDisk, store: SimulatedStore) -> None:
        self.loop = loop
        self.disk = disk
        self.store = store
        self.is_alive = True
        self.losses_max = 2
        self.facts = Facts()
        self.machine = Sequencer(self.facts, loop)
        self.counters = self.machine.counters
        self.log = DiskLog(disk, segment_bytes=4096, sector=SECTOR)
        recover(self.machine, self.log, disk, store)
        self._queue: deque[Job | int] = deque()
        self._arrived = loop.event()
        self._batches: deque[Batch] = deque()
        self._made = loop.event()
        self._room = loop.event()
        loop.spawn(self._sequence(), lambda: self.is_alive)
        loop.spawn(self._write(), lambda: self.is_alive)

    def crash(self) -> None:
        """Power off."""
        self.is_alive = False
        self.disk.crash()

    # --- what callers need

    def job(self, box: Transaction[..., Any], row: tuple[Any, ...], lane: str, **more: Any) -> Job:
        return Job(box, [row], lane, lambda job: None, **more)

    def hand_in(self, job: Job) -> Event:
        """The event happens when the job is done; never, if the node crashes before."""
        event = self.loop.event()
        job.done = event.set
        self._queue.append(job)
        self._arrived.set()
        return event

    def read(self) -> Snapshot:
        return self.facts.snapshot()

    def release(self, reservation: int) -> None:
        self._queue.append(reservation)
        self._arrived.set()

    def checkpoint(self) -> None:
        with self.read() as snapshot:
            checkpoints.write(snapshot, self.facts, self.machine.answers, self.machine.epoch, self.store, self.disk)

    # --- the two processes

    def _pause(self, most_us: int) -> int:
        return int(self.loop.random.random() ** 3 * most_us * US)

    def _sequence(self) -> Process:
        while True:
            if not self._queue:
                self._arrived = self.loop.event()
                yield self._arrived
            yield self._pause(100)
            while len(self._batches) + self.machine.in_flight >= PIPELINE:
                self._room = self.loop.event()
                yield self._room
            jobs: list[Job] = []
            while self._queue and len(jobs) < BATCH_ROWS:
                item = self._queue.popleft()
                if isinstance(item, int):
                    self.machine.release(item)
                else:
                    jobs.append(item)
            batch = self.machine.cut(jobs)
            if self.machine.has_work:
                self.release(0)
            if batch is not None:
                yield self._pause(50)
                self._batches.append(batch)
                self._made.set()

    def _write(self) -> Process:
        while True:
            if not self._batches:
                self._made = self.loop.event()
                yield self._made
            batches = list(self._batches)
            self._batches.clear()
            done: list[Job] = []
            current = [batch for batch in batches if self.machine.is_current(batch)]
            if len(current) < len(batches):
                done += self.machine.fail([batch for batch in batches if batch not in current])
            yield self._pause(900)
            try:
                self.log.append(self.machine.seal(current))
            except Crashed:
                self.crash()
                return
            except Exception as error:
                done += self.machine.fail(current, error)
            else:
                yield self._pause(100)
                for batch in current:
                    done += self.machine.settle(batch)
            self._room.set()
            for job in done:
                yield self._pause(20)
                job.done(job)
