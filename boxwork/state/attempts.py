"""The runs of one slow transaction, until one of them finds its place.

A slow function must not stand in the sequencer's way, so it runs elsewhere, on a snapshot, and only what it read
and did is handed in.  Who loses runs again; after `state.losses_max` losses he first reserves every key he
touched, so the number of runs is bounded: losses_max + 1 if he touches the same keys again, and one more, with
everything reserved, if not.

There is no waiting in here: threads and coroutines drive the same object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boxwork.state.job import Job
from boxwork.state.order import Key
from boxwork.state.snapshot import Snapshot
from boxwork.state.tx import SnapshotTx
from boxwork.state.values import freeze

if TYPE_CHECKING:
    from boxwork.state.engine import Engine

# At most so many rivals are named in the record of a commit.  Unit: rivals.  Reason: the record is to be read.
RIVALS_MAX = 8


class Attempts:
    def __init__(self, engine: Engine, job: Job) -> None:
        self._engine = engine
        self._job = job
        self._snapshot: Snapshot | None = None
        self._tx: SnapshotTx | None = None
        self._started_ns = 0
        self._reservation = 0
        self._wanted: frozenset[Key] | None = None
        self._asking: Job | None = None

    def asking(self) -> Job | None:
        """A job to be waited for before the next run, if a reservation is due."""
        if self._wanted is None:
            return None
        job = self._engine.job(self._job.box, self._job.rows[0], self._job.lane, who=self._job.who)
        job.keys = self._wanted
        self._asking = job
        return job

    def begin(self) -> SnapshotTx:
        """Start a run: the function is to be called with this."""
        if self._wanted is not None:
            asked, self._asking = self._asking, None
            assert asked is not None
            self._reservation = asked.reservation
            if asked.error is not None:
                raise asked.error
            self._wanted = None
        engine = self._engine
        self._snapshot = engine.read()
        clock = engine.machine.clock
        self._started_ns = clock.monotonic_ns()
        self._tx = SnapshotTx(self._snapshot, self._snapshot.version, clock.now_ns(), engine.machine.new_seed(), 0)
        engine.counters[self._job.lane].executions += 1
        return self._tx

    def offer(self, answer: Any) -> Job | None:
        """The function has returned: the job to be handed in, or None if it changed nothing."""
        job, tx = self._job, self._tx
        assert tx is not None
        if job.once:
            freeze(answer)  # raises now, while nothing is committed
        job.clear()
        job.answers = [answer]
        if not tx.writes and not job.once:
            return None
        job.tx = tx
        job.reservation = self._reservation
        return job

    def settled(self, job: Job) -> bool:
        """The job came back: is this the end?  If not, run again."""
        self._let_go()
        if job.lost is None or job.error is not None:
            return True
        engine, lane = self._engine, self._engine.counters[job.lane]
        spent = engine.machine.clock.monotonic_ns() - self._started_ns
        lane.reruns += 1
        lane.lost_ns += spent
        job.losses += 1
        job.lost_ns += spent
        if len(job.rivals) < RIVALS_MAX:
            job.rivals.append((job.lost.key, job.lost.rival))
        tx = self._tx
        assert tx is not None
        if self._reservation:
            self._engine.release(self._reservation)
            self._reservation = 0
        if job.losses >= engine.losses_max:
            # Scanned prefixes have no list of keys to reserve, and who lost in spite of a reservation touches other
            # keys each time: both reserve everything.
            all_of_them = bool(tx.scans) or job.losses > engine.losses_max
            self._wanted = frozenset() if all_of_them else frozenset(tx.reads) | frozenset(tx.touched())
        return False

    def only_read(self) -> Job:
        """It changed nothing, so it stands at the version it read."""
        job, snapshot = self._job, self._snapshot
        assert snapshot is not None
        job.receipt_at = (self._engine.machine.epoch, snapshot.version, snapshot.digest)
        self._engine.counters[job.lane].commits += 1
        return job

    def raised(self, error: BaseException) -> Job:
        """The function raised: that is its answer, at the version it read."""
        from boxwork.errors import Refused

        job = self.only_read()
        job.clear()
        job.answers, job.errors = [error], {0: error}
        lane = self._engine.counters[job.lane]
        lane.commits -= 1
        if isinstance(error, Refused):
            lane.refusals += 1
        else:
            lane.failures += 1
        return job

    def _let_go(self) -> None:
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None

    def close(self) -> None:
        self._let_go()
        if self._asking is not None:  # cancelled while it waited: what is granted later must not stay with nobody
            self._asking.abandoned = True
            if self._asking.reservation:
                self._engine.release(self._asking.reservation)
        if self._reservation:
            self._engine.release(self._reservation)
            self._reservation = 0
