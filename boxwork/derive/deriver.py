"""Computes once per distinct input and remembers by hash.

    key = hash(fingerprint of the box, space, canonical inputs)  →  row?  hit
    otherwise one flight per key  →  worker  →  the output's blob, its row and its explain record in one transaction

A hit reads one row and checks it.  What a run read and what may have changed meanwhile is looked at again before
anything is stored.  Failures are remembered for a moment under the same key, so that a thousand callers of a broken
box run it once; they are never served as a result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Any, TypeAlias, TypeVar

from boxwork.box import BoundDerivation, Derivation
from boxwork.clock import Clock, monotonic_ns
from boxwork.content.content import Content
from boxwork.content.tree_value import Tree
from boxwork.database import Edit
from boxwork.derive.answers import MISSING, Answers
from boxwork.derive.asks import Asks, Fingerprints, Plan, Recorders
from boxwork.derive.explain import FINGERPRINTS, Explainer, Miss, Why
from boxwork.derive.flights import FlightLocks, Flights
from boxwork.derive.handles import File
from boxwork.derive.indexes import PRODUCERS, RECENT, Index
from boxwork.derive.inputs import Inputs, handles_in
from boxwork.derive.outputs import FAILURE, OUTPUTS, Row, read_row
from boxwork.derive.runs import Runs
from boxwork.derive.trim import Trim
from boxwork.derive.workers import Workers, worker_settings
from boxwork.errors import BlobMissing
from boxwork.keys import Ref
from boxwork.settings import KiB, Setting, Settings

T = TypeVar("T")
Box: TypeAlias = "Derivation[..., Any] | BoundDerivation"

SETTINGS = (
    Setting(
        "derive.failure_ttl_s",
        2.0,
        "s",
        "how long a failure is remembered: long enough for those who asked together, short enough to try again by hand",
    ),
    Setting(
        "derive.wait_s_max",
        3600.0,
        "s",
        "how long a caller waits for an output that somebody else computes; an hour of transcription is the longest run"
        " we know",
    ),
    Setting(
        "derive.flights_max",
        10_000,
        "flights",
        "derivations under way in one process; each waiting caller holds a thread or a future, about 2 KiB",
    ),
    Setting(
        "derive.inline_bytes_max",
        KiB,
        "bytes",
        "outputs up to this size are copied into their row, so that a hit is one read; LMDB spills rows of 2 KiB",
    ),
    Setting(
        "derive.rows_max",
        10_000_000,
        "rows",
        "outputs remembered in the cache; a row takes some 300 bytes, so ten million are 3 GB",
    ),
    *worker_settings(),
)

TABLES = (OUTPUTS, FINGERPRINTS, PRODUCERS, RECENT)
CACHE_TABLES = TABLES
DURABLE_TABLES = TABLES

_NO_INPUTS: Mapping[str, Any] = {}


class Deriver:
    """The engine of `derive`.  Safe from many threads; many processes may share the data directory.

    `executors` replaces the built-in workers of a kind ("thread", "process", "sandbox") by any
    `concurrent.futures.Executor`; its owner shuts it down.
    """

    def __init__(
        self,
        content: Content,
        fingerprinter: Fingerprints,
        clock: Clock,
        pulse: Recorders,
        settings: Settings,
        *,
        executors: Mapping[str, Executor] | None = None,
    ) -> None:
        self.content = content
        self._clock = clock
        self._rows_max = settings.integer("derive.rows_max")
        self._locks = FlightLocks.shared(content.root / "run" / "flights")
        self._flights = Flights(self._locks, settings.integer("derive.flights_max"))
        self._workers = Workers(settings, executors or {}, content, fingerprinter)
        self._indexes = (Index(content.cache_db), Index(content.durable_db))
        self._explainer = Explainer((content.cache_db, content.durable_db))
        self._asks = Asks(content, fingerprinter, pulse, *self._indexes)
        self._answers = Answers(content)
        self._runs = Runs(content, self._asks, self._answers, self._flights, self._workers, clock, settings, pulse)
        self._ask = self._asks.ask
        self._closed = False
        content.add_roots(self.roots)
        content.add_follower(self.follow)

    # --- asking

    def derive(
        self, box: Box, inputs: Inputs = _NO_INPUTS, args: tuple[Any, ...] = (), *, timeout_s: float | None = None
    ) -> Ref:
        """The ref of the box's output for these inputs: remembered, or computed now.

        Raises `DerivationFailed` with the function's exception as its cause, `InputChanged`, `Timeout` after
        `timeout_s` (default: `derive.wait_s_max`), and what `content` raises.
        """
        started = monotonic_ns()
        ask = self._ask(box, inputs, args, False)
        plan = ask.plan
        raw = plan.get_row(ask.key)
        if raw is not None:
            ref = self._answers.ref(plan, raw)
            if ref is not None:
                self._runs.note_use(ask.key)
                plan.hit(monotonic_ns() - started)
                return ref
        raw, _ = self._runs.resolve(ask, timeout_s)
        ref = self._answers.ref(plan, raw)
        plan.miss(monotonic_ns() - started)
        if ref is None:
            raise _gone(plan)
        return ref

    def call(
        self,
        box: Derivation[..., T] | BoundDerivation,
        inputs: Inputs = _NO_INPUTS,
        args: tuple[Any, ...] = (),
        *,
        timeout_s: float | None = None,
    ) -> T:
        """The value of the box's output: as `derive`, and read back."""
        started = monotonic_ns()
        ask = self._ask(box, inputs, args, True)
        plan = ask.plan
        raw = plan.get_row(ask.key)
        if raw is not None:
            value = self._answers.value(plan, raw)
            if value is not MISSING:
                self._runs.note_use(ask.key)
                plan.hit(monotonic_ns() - started)
                return value  # type: ignore[no-any-return]
        raw, value = self._runs.resolve(ask, timeout_s)
        plan.miss(monotonic_ns() - started)
        if value is MISSING:
            value = self._answers.value(plan, raw)
        if value is MISSING:
            raise _gone(plan)
        return value  # type: ignore[no-any-return]

    def submit(
        self, box: Box, inputs: Inputs = _NO_INPUTS, args: tuple[Any, ...] = (), *, value: bool = False
    ) -> Future[Any]:
        """As `derive` (with `value` as `call`), but never runs a box in this thread: a hit answers with a future that
        is done.  Cancelling the future is leaving; when all have left, a process or sandbox is killed, and a thread
        finishes and keeps its output.
        """
        started = monotonic_ns()
        ask = self._ask(box, inputs, args, value)
        plan = ask.plan
        answer: Future[Any] = Future()
        raw = plan.get_row(ask.key)
        if raw is not None:
            found = self._answers.of(ask, raw)
            if found is not MISSING:
                self._runs.note_use(ask.key)
                plan.hit(monotonic_ns() - started)
                answer.set_result(found)
                return answer

        # The two futures know each other only as long as there is something to cancel, and a fault is handed on without
        # being raised here: what is part of a circle waits for the collector, and everybody with it (8 ms for a hundred
        # failures).
        held: list[Future[bytes]] = []

        def landed(row: Future[bytes]) -> None:
            held.clear()
            plan.miss(monotonic_ns() - started)
            if not row.cancelled() and answer.set_running_or_notify_cancel():
                fault = row.exception()
                if fault is not None:
                    answer.set_exception(fault)
                    return
                try:
                    found = self._answers.of(ask, row.result())
                    if found is MISSING:
                        raise _gone(plan)
                    answer.set_result(found)
                except BaseException as error:
                    answer.set_exception(error)

        def left(done: Future[Any]) -> None:
            if done.cancelled():
                for row in tuple(held):
                    row.cancel()

        row = self._runs.begin(ask)
        held.append(row)
        answer.add_done_callback(left)
        row.add_done_callback(landed)
        return answer

    def remembered(self, box: Box, inputs: Inputs = _NO_INPUTS, args: tuple[Any, ...] = ()) -> Ref | None:
        """The ref if this call is remembered; nothing runs."""
        ask = self._ask(box, inputs, args, False)
        raw = ask.plan.get_row(ask.key)
        return None if raw is None else self._answers.ref(ask.plan, raw)

    def key(self, box: Box, inputs: Inputs = _NO_INPUTS, args: tuple[Any, ...] = ()) -> bytes:
        """The key of this call: 32 bytes."""
        return self._ask(box, inputs, args, False).key

    # --- what is remembered

    def why(self, key_or_ref: str | bytes) -> Why:
        """Function, inputs, files, versions, duration and lineage of an output.  Raises `NotFound`."""
        return self.explainer.why(key_or_ref)

    def last_miss(self, box: Derivation[..., Any]) -> Miss | None:
        """Why the last call of this box that ran in this process was no hit; None if none ran."""
        plan = self._asks.known(box)
        record = None if plan is None or not plan.last_miss else self._explainer.record(plan.last_miss)
        return None if record is None else self.explainer.miss(record)

    @property
    def explainer(self) -> Explainer:
        """Answers about rows, with the indexes up to date."""
        for index in self._indexes:
            index.flush()
        return self._explainer

    def cost(self, ref: Ref) -> int:
        """How long it took to compute this output, in nanoseconds; 0 if it is no remembered output."""
        record = self.explainer.producer(ref)
        return 0 if record is None else record.duration_ns

    def forget(self, key: bytes) -> bool:
        """Forget one output's row; its blob goes with a later sweep.  False if there was none."""

        def drop(edit: Edit) -> bool:
            raw = edit.get(OUTPUTS, key)
            row = None if raw is None else read_row(raw)
            if row is not None and edit.get(PRODUCERS, row.digest) == key:
                edit.delete(PRODUCERS, row.digest)
            return edit.delete(OUTPUTS, key)

        holders = [
            database
            for database in (self.content.cache_db, self.content.durable_db)
            if database.get(OUTPUTS, key) is not None
        ]
        return any([database.update(drop) for database in holders])  # noqa: C419 - in both, not in the first

    def roots(self) -> Iterator[tuple[str, Ref]]:
        """What a sweep must keep: outputs of durable boxes and what they name, and inputs of what runs now."""
        for flight in self._flights.flying():
            for named in handles_in(flight.inputs.values()):
                if not isinstance(named, File):
                    yield f"running {flight.name}", named if isinstance(named, Ref) else named.ref
        for key, raw in self.content.durable_db.walk(OUTPUTS):
            row = read_row(raw)
            record = None if row is None else self._explainer.record(key)
            if record is not None:
                yield f"output of {record.name}", record.output
                for ref in record.refs:
                    yield f"named by an output of {record.name}", ref

    def follow(self, ref: Ref) -> Iterator[Ref]:
        """The blobs that an output names in a container: what is kept with it."""
        record = self._explainer.producer(ref)
        return iter(() if record is None else record.refs)

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """Every remembered output with its key."""
        for database in (self.content.cache_db, self.content.durable_db):
            for key, raw in database.walk(OUTPUTS):
                row = read_row(raw)
                if row is not None and row.kind != FAILURE:
                    yield key, row

    def run_again(self, box: Box, inputs: Inputs = _NO_INPUTS, args: tuple[Any, ...] = ()) -> tuple[Ref | None, Ref]:
        """Run a box whatever is remembered: the remembered output's ref, and the fresh one's.  Nothing is stored."""
        ask = self._ask(box, inputs, args, False)
        raw = ask.plan.get_row(ask.key)
        row = None if raw is None else read_row(raw)
        return None if row is None or row.kind == FAILURE else row.ref, self._runs.again(ask)

    def adopt(self, box: Box, output: Tree, inputs: Inputs = _NO_INPUTS, args: tuple[Any, ...] = ()) -> bool:
        """Remember an output that another node computed, as if the box had run here: False if somebody computes it now.

        Everything in it must be here.  Whether the other node is believed is the caller's question: a wrong output
        is served from then on.
        """
        return self._runs.adopt(self._ask(box, inputs, args, False), output)

    def trim(self) -> int:
        """Bring the remembered outputs under `derive.rows_max`, the cheapest and oldest first: how many went.

        Housekeeping calls it now and then.
        """
        return Trim(self.content.cache_db, self._clock, self._rows_max).run()

    def arrange(self, box: Derivation[..., Any], bound: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs as a record has them (star parameters under their own names) as `derive` takes them."""
        return self._asks.plan(box).binder.unbind(bound)

    def close(self) -> None:
        """Stop the workers; twice is once.  What runs in threads is waited for."""
        if not self._closed:
            self._closed = True
            self._workers.close()
            for index in self._indexes:
                index.close()
            self._locks.close()


def _gone(plan: Plan) -> BlobMissing:
    return BlobMissing(f"the output of {plan.name} was taken away in the moment it was made: ask again")
