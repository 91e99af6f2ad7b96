"""Interactive transactions: read and write step by step, then commit.

In the lane `locking` under locks, in the lane `occ` on a snapshot that is compared at the end.  Both may end in
`TransactionAborted`: the caller begins again (with `age=error.details["age"]` he grows older and wins in the end).
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from boxwork.errors import BadInput, Refused, TransactionAborted
from boxwork.state.job import Job
from boxwork.state.lanes.locking import LockedTx
from boxwork.state.receipts import Receipt
from boxwork.state.tx import SnapshotTx
from boxwork.transactions import Transaction, transaction

if TYPE_CHECKING:
    from boxwork.state.engine import Engine


@transaction(name="session")
def _by_hand(tx: Any) -> None:
    """Stands in the log for what was done step by step: there is no function to run again."""


BY_HAND: Transaction[..., Any] = _by_hand


class Session:
    def __init__(self, engine: Engine, lane: str, *, who: str = "", age: int = 0) -> None:
        if lane not in ("locking", "occ"):
            raise BadInput(f"a session runs in the lane locking or occ, not in {lane!r}")
        self._engine = engine
        self._lane = lane
        self._who = who
        self._owner = engine.locks.owner(who or "session", age)
        self._snapshot = engine.read()
        clock, seed = engine.machine.clock, engine.machine.new_seed()
        version = self._snapshot.version
        self.tx: SnapshotTx
        if lane == "locking":
            self.tx = LockedTx(engine.facts, engine.locks, self._owner, version, clock.now_ns(), seed)
        else:
            self.tx = SnapshotTx(self._snapshot, version, clock.now_ns(), seed, 0)
        self._open = True

    @property
    def age(self) -> int:
        return self._owner.age

    def commit(self, *, receipt: bool = False, once: str = "") -> Receipt | None:
        """Make what was done durable.  Raises `TransactionAborted` if something read has changed under it."""
        job = self._engine.job(BY_HAND, (), self._lane, once=once, who=self._who)
        self._engine.counters[self._lane].executions += 1
        job.answers = [None]
        job = self._hand_in(job)
        job.answer()
        return job.receipt() if receipt else None

    def run(self, job: Job) -> Job:
        """Run a job's function in this session, and commit."""
        lane = self._engine.counters[self._lane]
        lane.executions += 1
        waited, waited_ns = self._engine.locks.waited, self._engine.locks.waited_ns
        try:
            answer = job.call(self.tx, *job.arguments(0))
        except TransactionAborted:
            lane.aborts += 1
            raise
        except BaseException as error:
            job.errors[0] = error
            if isinstance(error, Refused):
                lane.refusals += 1
            else:
                lane.failures += 1
            return job
        finally:
            lane.waits += self._engine.locks.waited - waited
            lane.wait_ns += self._engine.locks.waited_ns - waited_ns
        job.answers = [answer]
        return self._hand_in(job)

    def _hand_in(self, job: Job) -> Job:
        if not self._open:
            raise BadInput("this session has ended: begin another")
        self._open = False
        job.tx = self.tx
        try:
            # Others can go on as soon as it is durable; this thread may wait for its turn a while longer.
            return self._engine.wait(job, self._let_go)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of locks and snapshot; what was not committed is forgotten."""
        self._open = False
        self._let_go()
        self._snapshot.close()

    def _let_go(self) -> None:
        self._engine.locks.release(self._owner)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
