"""The engine: one node's facts, and transactions on them.

It offers everything blocking or as futures; `boxwork.state.face` is the same for async code.

This file is long because it is one machine: every way into a commit, and what opens and closes it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, overload

from boxwork.clock import Clock
from boxwork.errors import BadInput, BoxworkError, TransactionAborted
from boxwork.settings import MiB, Setting, Settings
from boxwork.state import checkpoint as checkpoints
from boxwork.state.attempts import Attempts
from boxwork.state.batch import Record
from boxwork.state.explain import Preview, preview, recently
from boxwork.state.intents import Intent
from boxwork.state.job import Job
from boxwork.state.lanes.locking import LockTable, Policy
from boxwork.state.log import Log
from boxwork.state.logs.disk import DiskLog
from boxwork.state.logs.files import Files, RealFiles
from boxwork.state.medley import Medley
from boxwork.state.order import Key, check_key
from boxwork.state.pipeline import Pipeline, Timings
from boxwork.state.purity import Audit
from boxwork.state.receipts import Receipt
from boxwork.state.recovery import recover
from boxwork.state.sequencer import Sequencer
from boxwork.state.sessions import Session
from boxwork.state.snapshot import Facts, Snapshot
from boxwork.state.values import ABSENT, thaw
from boxwork.state.watch import Audience, Watch
from boxwork.transactions import LANES, Lane, Transaction, transaction

if TYPE_CHECKING:
    from boxwork.content.store import Store

P = ParamSpec("P")
R = TypeVar("R")

# Below a node's data directory.
FOLDER = "state"

SETTINGS = (
    Setting(
        "state.lane",
        "serial",
        "",
        "where a transaction runs that does not say: serial, snapshot, locking or occ;"
        " serial is fastest for functions of microseconds",
    ),
    Setting(
        "state.batch_rows",
        4096,
        "calls",
        "at most so many in one entry: about 4 ms of short functions, so that a"
        " full queue does not make one caller wait for all",
    ),
    Setting(
        "state.queue_max",
        65_536,
        "calls",
        "waiting to be executed; more are refused with Busy: at 100,000 a second this is 0.7 s of waiting",
    ),
    Setting("state.pipeline", 2, "batches", "executed and not yet durable: one that is written, one that is made"),
    Setting(
        "state.losses_max",
        2,
        "attempts",
        "after so many a slow transaction reserves its keys: measured, 10.9"
        " repeats a commit become 0.8 at equal throughput",
    ),
    Setting("state.slow_threads", 32, "threads", "for slow transactions handed in without waiting: they mostly sleep"),
    Setting("state.lock_policy", "wait-die", "", "of the locking lane: wait-die or no-wait"),
    Setting("state.inputs", True, "", "keep the inputs of every commit in the log, so that it can be run again"),
    Setting(
        "state.checkpoint_bytes",
        256 * MiB,
        "bytes",
        "of log since the last checkpoint make the next: replaying them takes about a second",
    ),
    Setting(
        "state.keep_history",
        True,
        "",
        "keep entries that a checkpoint has made superfluous: they are what receipts can be verified against",
    ),
    Setting("state.audit_every", 1024, "batches", "run one batch of so many again, and compare: 0 is never"),
    Setting("state.check_purity", True, "", "look at a transaction's code before its first run"),
)


class Ages(Protocol):
    """Where the age of an aborted transaction is kept for its next try."""

    age: int


class Engine:
    """Facts, and transactions on them.  Thread-safe; close it."""

    def __init__(
        self,
        log: Log,
        clock: Clock,
        settings: Settings,
        *,
        store: Store | None = None,
        files: Files | None = None,
        pin: checkpoints.Pin | None = None,
        unpin: Callable[[str], object] | None = None,
        pulse: Timings | None = None,
    ) -> None:
        """Recover the facts from the newest checkpoint and the log, and start."""
        self._log = log
        self._clock = clock
        self._store, self._files, self._pin, self._unpin = store, files, pin, unpin
        self.default_lane = settings.text("state.lane")
        if self.default_lane not in LANES[1:]:
            raise BadInput(
                f"state.lane is {self.default_lane!r}; there are {', '.join(LANES[1:])}", setting="state.lane"
            )
        self.batch_rows = settings.integer("state.batch_rows")
        self._checkpoint_bytes = settings.integer("state.checkpoint_bytes")
        self._keep_history = settings.flag("state.keep_history")
        self._slow_threads = settings.integer("state.slow_threads")
        self.losses_max = settings.integer("state.losses_max")
        policy: Policy = "no-wait" if settings.text("state.lock_policy") == "no-wait" else "wait-die"
        self.locks = LockTable(clock.monotonic_ns, policy)
        self.audit = Audit(settings.integer("state.audit_every"), settings.flag("state.check_purity"))
        self.audience = Audience()
        self.machine = Sequencer(Facts(), clock, keep_inputs=settings.flag("state.inputs"))
        self.facts = self.machine.facts
        self.counters = self.machine.counters
        self.recovered = recover(self.machine, log, files, store)
        self._checkpoint_version = self.recovered.checkpoint_version
        self._bytes_since_checkpoint = self.recovered.payload_bytes
        self._checkpointing: threading.Thread | None = None
        self._plain: dict[Callable[..., Any], Transaction[..., Any]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._closing = threading.Lock()
        self._closed = False
        count_bytes = weakref.WeakMethod(self._count_bytes)  # no circle: the facts go with the engine, frozen or not
        self._pipeline = Pipeline(
            self.machine,
            log,
            clock,
            self.audience,
            self.audit,
            batch_rows=self.batch_rows,
            queue_max=settings.integer("state.queue_max"),
            depth=settings.integer("state.pipeline"),
            written=lambda size: (count := count_bytes()) and count(size),
            timings=pulse,
        )

    @classmethod
    def open(cls, directory: Path, settings: Settings, clock: Clock, store: Store | None = None, **more: Any) -> Engine:
        """An engine whose log lies in `directory`; its checkpoints go into `store`.

        Raises `StateInUse` if another process owns it, `LogCorrupt` if it is damaged.
        """
        files = RealFiles(directory)
        try:
            return cls(DiskLog(files), clock, settings, store=store, files=files, **more)
        except BaseException:
            files.close()
            raise

    # --- committing

    @overload
    def commit(
        self,
        box: Transaction[P, R] | Callable[..., R],
        /,
        *args: Any,
        receipt: Literal[False] = ...,
        once: str = ...,
        lane: Lane = ...,
        who: str = ...,
        **inputs: Any,
    ) -> R: ...
    @overload
    def commit(
        self,
        box: Transaction[P, R] | Callable[..., R],
        /,
        *args: Any,
        receipt: Literal[True],
        once: str = ...,
        lane: Lane = ...,
        who: str = ...,
        **inputs: Any,
    ) -> tuple[R, Receipt]: ...
    def commit(
        self,
        box: Any,
        /,
        *args: Any,
        receipt: bool = False,
        once: str = "",
        lane: Lane = "",
        who: str = "",
        **inputs: Any,
    ) -> Any:
        """Run a transaction; when this returns its effect is durable and visible.

        Returns what the function returned; with `receipt` also where it stands in the log.  What it raised comes
        out here, and then nothing was changed.  `once` is an idempotency id: the second commit with it changes
        nothing and answers as the first did.
        """
        box = self.box_of(box)
        job = self.job(box, box.inputs.row(box.name, args, inputs), lane, once=once, who=who)
        job = self._run_here(job)
        answer = job.answer()
        return (answer, job.receipt()) if receipt else answer

    def submit(
        self,
        box: Transaction[P, R] | Callable[..., R],
        /,
        *args: Any,
        receipt: bool = False,
        once: str = "",
        lane: Lane = "",
        who: str = "",
        **inputs: Any,
    ) -> Future[Any]:
        """`commit`, without waiting for it."""
        target = self.box_of(box)
        if target.awaits:
            raise BadInput(f"{target.name} is an async function: commit it from async code")
        job = self.job(target, target.inputs.row(target.name, args, inputs), lane, once=once, who=who)
        future: Future[Any] = _begun()

        def done(finished: Job) -> None:
            try:
                answer = finished.answer()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result((answer, finished.receipt()) if receipt else answer)

        if self.runs_elsewhere(job):
            self.pool().submit(lambda: done(self._run_here(job)))
        else:
            job.done = done
            self.hand_in(job)
        return future

    def commit_many(
        self,
        box: Transaction[P, R] | Callable[..., R],
        rows: Iterable[Sequence[Any] | Mapping[str, Any]],
        /,
        *,
        lane: Lane = "",
        who: str = "",
    ) -> list[Any]:
        """One transaction for each row of inputs (a tuple in the order of the parameters, or a dict by their names).

        Returns what each of them returned, in order; in place of an answer stands the exception of one that raised.
        """
        return self.submit_many(box, rows, lane=lane, who=who).result()

    def submit_many(
        self,
        box: Transaction[P, R] | Callable[..., R],
        rows: Iterable[Sequence[Any] | Mapping[str, Any]],
        /,
        *,
        lane: Lane = "",
        who: str = "",
    ) -> Future[list[Any]]:
        """`commit_many`, without waiting for it."""
        target = self.box_of(box)
        laid = target.inputs.rows(target.name, rows)
        future: Future[list[Any]] = _begun()
        answers: list[Any] = [None] * len(laid)
        if not laid:
            future.set_result(answers)
            return future
        left = len(laid)

        def done(part: Job) -> None:  # called by one thread at a time: whoever holds the pen
            nonlocal left
            size = len(part.rows)
            answers[part.offset : part.offset + size] = [part.error] * size if part.error is not None else part.answers
            left -= size
            if not left:
                if isinstance(part.error, BaseException) and all(answer is part.error for answer in answers):
                    future.set_exception(part.error)
                else:
                    future.set_result(answers)

        for at in range(0, len(laid), self.batch_rows):
            job = self.job(target, laid[at : at + self.batch_rows], lane, many=True, who=who)
            if self.runs_elsewhere(job):
                raise BadInput(f"{target.name} is slow, or of a lane whose transactions run one by one: use submit()")
            job.offset, job.done = at, done
            self._pipeline.put(job, patient=True)
        return future

    def box_of(self, box: Any) -> Transaction[..., Any]:
        """A transaction of a transaction, or of a plain function."""
        if isinstance(box, Transaction):
            self.audit.check(box)
            return box
        made = self._plain.get(box)
        if made is None:
            made = self._plain[box] = transaction(box)
            self.audit.check(made)
        return made

    def job(
        self,
        box: Transaction[..., Any],
        row: Any,
        lane: str = "",
        *,
        many: bool = False,
        once: str = "",
        who: str = "",
        **more: Any,
    ) -> Job:
        lane = lane or box.rules.lane or ("snapshot" if box.awaits or box.rules.slow else self.default_lane)
        if lane not in LANES[1:]:
            raise BadInput(f"lane={lane!r}: there are {', '.join(LANES[1:])}")
        return Job(
            box,
            row if many else [row],
            lane,
            _nobody,
            once=once,
            who=who,
            submitted_ns=self._clock.monotonic_ns(),
            **more,
        )

    def medley(self, boxes: Sequence[Transaction[..., Any]], rows: list[tuple[Callable[..., Any], Any]]) -> Job:
        """Calls of several transactions, as they came, as one job: see `Medley`."""
        return Medley(boxes, rows, _nobody, submitted_ns=self._clock.monotonic_ns())

    def runs_elsewhere(self, job: Job) -> bool:
        """Does its function run beside the sequencer, on a snapshot or under locks?"""
        return job.lane in ("locking", "occ") or job.box.rules.slow or job.box.awaits

    def run_alone(self, job: Job, ages: Ages) -> Job:
        """Run a job of one row to its end, blocking, for somebody who comes from many threads but has one age."""
        return self._run_here(job, ages)

    def _run_here(self, job: Job, ages: Ages | None = None) -> Job:
        """Run a job to its end, blocking; its functions, where they run elsewhere, run in this thread."""
        if not self.runs_elsewhere(job):
            return self.wait(job)
        if job.box.awaits:
            raise BadInput(f"{job.box.name} is an async function: commit it from async code")
        if job.lane in ("locking", "occ"):
            # Who was aborted in this thread and comes again keeps his age, so that he grows older and wins in the end.
            kept: Any = ages or self._local
            age, kept.age = getattr(kept, "age", 0), 0
            with Session(self, job.lane, who=job.who, age=age) as session:
                try:
                    return session.run(job)
                except TransactionAborted:
                    kept.age = session.age
                    raise
        attempts = Attempts(self, job)
        try:
            while True:
                if (asking := attempts.asking()) is not None:
                    self.wait(asking)
                tx = attempts.begin()
                try:
                    answer = job.call(tx, *job.arguments(0))
                except BaseException as error:
                    return attempts.raised(error)
                attempt = attempts.offer(answer)
                if attempt is None:
                    return attempts.only_read()
                if attempts.settled(self.wait(attempt)):
                    return attempt
        finally:
            attempts.close()

    def wait(self, job: Job, first: Callable[[], None] | None = None) -> Job:
        """Hand a job in and wait until it is done; `first` is called as soon as it is, before anybody is woken."""
        return self._pipeline.wait(job, first)

    def hand_in(self, job: Job) -> None:
        """Hand a job in; its `done` is called when it is."""
        self._pipeline.put(job)

    def run(self, jobs: list[Job]) -> None:
        """Hand jobs in, and execute them in this thread if nobody else executes: see `Pipeline.run`."""
        self._pipeline.run(jobs)

    def release(self, reservation: int) -> None:
        """Give a reservation back."""
        self._pipeline.release(reservation)

    def pool(self) -> ThreadPoolExecutor:
        with self._closing:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._slow_threads, "state-slow")
            return self._pool

    # --- looking

    def read(self) -> Snapshot:
        """The facts at the newest durable version; close it (or use `with`)."""
        return self.facts.snapshot()

    def get(self, key: Key, default: Any = None) -> Any:
        """One fact at the newest durable version."""
        value = self.facts.stored(key)
        if value is ABSENT:
            check_key(key)
            return default
        return thaw(value)

    def begin(self, who: str = "", on_change: Callable[[Any], None] | None = None) -> Intent:
        """Read and think on a snapshot, then commit a short function: see `Intent`."""
        return Intent(self, who, on_change)

    def session(self, lane: Literal["locking", "occ"] = "locking", *, who: str = "", age: int = 0) -> Session:
        """An interactive transaction: read and write step by step, then commit."""
        return Session(self, lane, who=who, age=age)

    def watch(self, prefix: Key = ()) -> Watch:
        """Every change under `prefix` from now on."""
        self.machine.tracks = True
        return self.audience.watch(prefix)

    def records(self, after: int = 0) -> Iterator[Record]:
        """The entries of the log after version `after`: for `explain` and `verify`."""
        return self._log.read(after)

    def preview(self, box: Any, /, *args: Any, **inputs: Any) -> Preview:
        """What a transaction would read, write and answer now; nothing is committed."""
        target = self.box_of(box)
        if target.awaits:
            raise BadInput(f"{target.name} is an async function: it cannot be previewed")
        with self.read() as snapshot:
            return preview(snapshot, target, target.inputs.row(target.name, args, inputs), self._clock.now_ns())

    def numbers(self) -> dict[str, Any]:
        """What the console shows: counters, queues, waits, the hottest keys."""
        return {
            **self.counters.numbers(),
            **self.facts.numbers(),
            "queued": self._pipeline.queued,
            "in_flight": self.machine.in_flight,
            "waiting_for_reservations": self.machine.deferred,
            "watches": self.audience.watches,
            "checkpoint_version": self._checkpoint_version,
            "answers_kept": len(self.machine.answers),
            "lock_waits": [
                {"who": w.who, "key": list(map(str, w.key)), "mode": w.mode, "holders": w.holders}
                for w in self.locks.waits()
            ],
            "hottest": [{"key": list(map(str, key)), "writes": count} for key, count in self._pipeline.hottest()],
            "impure": self.audit.findings(),
        }

    def recent(self, count: int = 50) -> list[dict[str, Any]]:
        """The newest entries, newest first: their calls in serial order, where they are small enough to be at hand."""
        return [recently(one, self.machine.epoch) for one in list(self._pipeline.recent)[: -count - 1 : -1]]

    # --- checkpoints

    def checkpoint(self) -> checkpoints.Checkpoint:
        """Write a checkpoint now, while commits go on; without `state.keep_history` the log forgets what is older."""
        if self._store is None or self._files is None:
            raise BadInput("this engine has no store for checkpoints")
        previous = self._checkpoint_version
        with self.read() as snapshot:
            made = checkpoints.write(
                snapshot, self.facts, self.machine.answers, self.machine.epoch, self._store, self._files, self._pin
            )
        if previous and self._unpin is not None and previous != made.version:
            self._unpin(checkpoints.pin_name(previous))
        self._checkpoint_version = made.version
        if not self._keep_history and previous:
            self._log.trim(previous)  # not up to this one: the one before stays usable
        return made

    def _count_bytes(self, size: int) -> None:
        self._bytes_since_checkpoint += size
        if self._store is None or not 0 < self._checkpoint_bytes <= self._bytes_since_checkpoint:
            return
        if self._checkpointing is None or not self._checkpointing.is_alive():
            self._bytes_since_checkpoint = 0
            self._checkpointing = threading.Thread(
                target=self._checkpoint_quietly, name="state-checkpoint", daemon=True
            )
            self._checkpointing.start()

    def _checkpoint_quietly(self) -> None:
        try:
            self.checkpoint()
        except BoxworkError as error:  # the log is whole without it; the next is tried after as many bytes again
            self.audit.note("checkpoint", str(error))

    # --- the end

    def close(self) -> None:
        """Finish what was handed in, then stop; twice is once."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        self._pipeline.close()
        self.audience.close()
        if self._checkpointing is not None:
            self._checkpointing.join()
        self._log.close()

    def close_in_child(self) -> None:
        """After a fork, in the child: the threads and the ownership are the parent's, so nothing is touched.

        Only the child's own copies of the descriptors go: the lock would else outlive the parent in the child.
        """
        self._closed = True
        self._pipeline.close_in_child()
        self._log.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _begun() -> Future[Any]:
    """A future that cannot be cancelled: who leaves does not take the commit back, and the log thread settles it."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def _nobody(job: Job) -> None:
    """Who hands a job in puts its own listener here."""
