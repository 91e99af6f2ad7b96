"""One simulation: a workload × faults × a seed, and everything that must hold afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from boxwork.errors import BoxworkError, CommitUnknown, InvariantBroken, Refused, StorageError, TransactionAborted
from boxwork.keys import answers_digest
from boxwork.state.attempts import Attempts
from boxwork.state.job import Job
from boxwork.state.snapshot import Facts
from boxwork.state.tx import SnapshotTx
from boxwork.state.values import freeze
from boxwork.testing.checkers import Operation, check_certificates, check_lists
from boxwork.testing.simulation.disk import Crashed, SimulatedDisk, SimulatedStore
from boxwork.testing.simulation.loop import Event, Loop, Process
from boxwork.testing.simulation.node import US, Node
from boxwork.testing.workloads import Call, Workload, all_workloads
from boxwork.transactions import Transaction

MS = 1_000 * US
# Longest run of virtual time.  Unit: ns.  Reason: clients stop after their calls; this ends a run that hangs.
UNTIL_NS = 60_000 * MS
# Calls that are handed in together.  Unit: calls.  Reason: enough for them to be run as one (RUN_MIN).
CROWD = 10


@dataclass(slots=True)
class Outcome:
    seed: int
    workload: str
    problems: list[str]
    digest: str  # of everything that was seen: equal for equal seeds
    operations: int = 0
    committed: int = 0
    crashes: int = 0
    entries: int = 0
    reruns: int = 0
    elapsed_ns: int = 0


@dataclass(slots=True)
class _World:
    loop: Loop
    disk: SimulatedDisk
    store: SimulatedStore
    node: Node | None = None
    operations: list[Operation] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    crashes: int = 0
    reruns: int = 0
    clients: int = 0
    last: tuple[int, bytes] = (0, b"")  # the newest version that anybody was told of


def run(
    seed: int, workload: Workload | None = None, *, clients: int = 5, calls: int = 14, faults: bool = True
) -> Outcome:
    """Run one simulation.  `problems` is empty if everything holds."""
    loop = Loop(seed)
    if workload is None:
        choices = all_workloads()
        workload = choices[seed % len(choices)]
    world = _World(loop, SimulatedDisk(loop.random), SimulatedStore())
    _start(world)
    setup = list(workload.setup())
    stream = workload.calls(loop.random)
    ready = loop.event()
    loop.spawn(_set_up(world, setup, ready))
    for number in range(clients):
        loop.spawn(_client(world, number, ready, stream, calls))
        world.clients += 1
    loop.spawn(_crowd(world, ready, stream, calls // 2))
    world.clients += 1
    if faults:
        loop.spawn(_nemesis(world, ready))
    try:
        loop.run(UNTIL_NS)
    except (
        InvariantBroken,
        BoxworkError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        world.problems.append(f"the node broke: {type(error).__name__}: {error}")
    if not world.problems:
        if world.clients:
            world.problems.append(f"{world.clients} clients never finished")
        _check(world, workload)
    trace = repr(
        [
            (o.box, o.row, o.started_ns, o.finished_ns, str(o.receipt), repr(o.answer), type(o.error).__name__)
            for o in world.operations
        ]
    ) + repr(world.problems)
    committed = sum(operation.is_committed for operation in world.operations)
    return Outcome(
        seed,
        workload.name,
        world.problems,
        answers_digest(trace.encode()).hex(),
        len(world.operations),
        committed,
        world.crashes,
        world.last[0],
        world.reruns,
        loop.elapsed_ns,
    )


def _start(world: _World) -> None:
    """Start a node on what the disk has; it must know everything that anybody was told of."""
    world.node = Node(world.loop, world.disk, world.store)
    version = world.node.facts.version
    if version < world.last[0]:
        world.problems.append(f"after a restart the newest version is {version}; {world.last[0]} was acknowledged")


def _set_up(world: _World, setup: list[Call], ready: Event) -> Process:
    for box, row in setup:
        assert world.node is not None
        job = world.node.job(box, row, "serial")
        operation = Operation(box.name, row, world.loop.elapsed_ns, client=-1)
        world.operations.append(operation)
        yield world.node.hand_in(job)
        _finish(world, operation, job)
    ready.set()


def _finish(world: _World, operation: Operation, job: Job, row: int = 0) -> None:
    world.reruns += job.losses
    operation.error = job.error or job.errors.get(row)
    operation.finished_ns = world.loop.elapsed_ns
    if operation.error is None:
        operation.answer = job.answers[row]
        operation.receipt = job.receipt(row)
        if operation.receipt.version > world.last[0]:
            world.last = (operation.receipt.version, operation.receipt.digest)
    elif not isinstance(operation.error, (Refused, StorageError, CommitUnknown, TransactionAborted)):
        world.problems.append(f"{operation.box}{operation.row} failed: {operation.error!r}")


def _client(world: _World, number: int, ready: Event, stream: Iterator[Call], calls: int) -> Process:
    """Commits one call after another, each in a way drawn from the seed; what got no answer is asked again."""
    chance = world.loop.random
    yield ready
    for count in range(calls):
        box, row = next(stream)
        way = chance.choice(("serial", "serial", "snapshot", "snapshot", "slow", "slow", "occ", "intent"))
        once = f"{number}.{count}" if chance.random() < 0.7 else ""
        operation = Operation(box.name, row, world.loop.elapsed_ns, client=number, once=once)
        world.operations.append(operation)
        while True:
            while world.node is None or not world.node.is_alive:
                yield MS // 5
            node = world.node
            outcome = world.loop.event()
            world.loop.spawn(WAYS[way](world, node, box, row, once, outcome), lambda node=node: node.is_alive)  # type: ignore[misc]
            world.loop.after(MS // 2 + int(chance.random() ** 3 * 100 * MS), partial(outcome.set, None))
            job = yield outcome
            if job is not None and chance.random() < 0.02:
                job = None  # the answer got lost on its way
            if job is None:
                if once:
                    continue  # with an idempotency id it is safe to ask again
                break
            if once and isinstance(job.error or job.errors.get(0), (StorageError, CommitUnknown, TransactionAborted)):
                yield chance.randrange(1, 5) * MS
                continue
            _finish(world, operation, job)
            break
        yield int(chance.random() ** 2 * 2 * MS)
    world.clients -= 1


def _crowd(world: _World, ready: Event, stream: Iterator[Call], jobs: int) -> Process:
    """Hands in many calls of one transaction together, as `commit_many` does, and never asks again."""
    yield ready
    for number in range(jobs):
        box, row = next(stream)
        rows = [row]
        while len(rows) < CROWD:
            another, row = next(stream)
            if another is box:
                rows.append(row)
        while world.node is None or not world.node.is_alive:
            yield MS // 5
        node, outcome = world.node, world.loop.event()
        operations = [
            Operation(
                box.name, row, world.loop.elapsed_ns, client=1000 + CROWD * number + place
            )  # each a client of its own
            for place, row in enumerate(rows)
        ]
        world.operations += operations
        job = Job(box, rows, "serial", lambda part: None)
        node.hand_in(job)
        job.done = partial(_part_done, world, operations, outcome)
        world.loop.after(100 * MS, partial(outcome.set, None))
        yield outcome
        yield int(world.loop.random.random() * 2 * MS)
    world.clients -= 1


def _part_done(world: _World, operations: list[Operation], outcome: Event, part: Job) -> None:
    """A reservation may have split the job; each part is told of."""
    for index in range(len(part.rows)):
        _finish(world, operations[part.offset + index], part, index)
    if all(operation.finished_ns for operation in operations):
        outcome.set(None)


def _here(lane: str) -> Callable[..., Process]:
    def way(
        world: _World, node: Node, box: Transaction[..., Any], row: tuple[Any, ...], once: str, outcome: Event
    ) -> Process:
        """Hand it in and wait."""
        outcome.set((yield node.hand_in(node.job(box, row, lane, once=once))))

    return way


def _slow(
    world: _World, node: Node, box: Transaction[..., Any], row: tuple[Any, ...], once: str, outcome: Event
) -> Process:
    """Run it beside the sequencer, thinking in the middle, until it finds its place."""
    job = node.job(box, row, "snapshot", once=once)
    attempts = Attempts(node, job)  # type: ignore[arg-type]
    try:
        for runs in range(1, 100):
            asking = attempts.asking()
            if asking is not None:
                yield node.hand_in(asking)
                if asking.error is not None:
                    job.error = asking.error
                    outcome.set(job)
                    return
            tx = attempts.begin()
            try:
                answer = box.function(tx, *row)
                # Everything it reads later it reads now: a snapshot does not change.
                yield int(world.loop.random.random() ** 2 * 3 * MS)
                _read_again(world, tx)
            except Refused as error:
                outcome.set(attempts.raised(error))
                return
            attempt = attempts.offer(answer)
            if attempt is None:
                outcome.set(attempts.only_read())
                return
            if attempts.settled((yield node.hand_in(attempt))):
                if runs > node.losses_max + 2 and not once:  # with an id, its double may have lost for it
                    world.problems.append(f"{box.name}{row} ran {runs} times")
                outcome.set(attempt)
                return
    finally:
        attempts.close()


def _read_again(world: _World, tx: SnapshotTx) -> None:
    for key, value in list(tx._known.items()):
        if tx._base.stored(key) != value:
            world.problems.append(f"a snapshot of version {tx.version} changed under its reader at {key!r}")


def _occ(
    world: _World, node: Node, box: Transaction[..., Any], row: tuple[Any, ...], once: str, outcome: Event
) -> Process:
    """Run it on a snapshot, compare at the end."""
    with node.read() as snapshot:
        tx = SnapshotTx(snapshot, snapshot.version, world.loop.now_ns(), node.machine.new_seed(), 0)
        job = node.job(box, row, "occ", once=once, tx=tx)
        try:
            job.answers = [box.function(tx, *row)]
            freeze(job.answers[0])
        except Refused as error:
            job.answers, job.errors[0] = [error], error
            outcome.set(job)
            return
        yield int(world.loop.random.random() ** 2 * 2 * MS)
        outcome.set((yield node.hand_in(job)))


def _intent(
    world: _World, node: Node, box: Transaction[..., Any], row: tuple[Any, ...], once: str, outcome: Event
) -> Process:
    """Read, think, and commit only if what was read is unchanged."""
    with node.read() as snapshot:
        tx = SnapshotTx(snapshot, snapshot.version, 0, b"\0", 0)
        try:
            seen = box.function(tx, *row)
        except Refused:
            seen = None
        yield int(world.loop.random.random() ** 2 * 2 * MS)
        job = node.job(box, row, "serial", once=once, unchanged=tuple(tx.reads), since=snapshot.version)
        known = dict(tx._known)
        yield node.hand_in(job)
        chance_free = box.name not in ("payment", "payment_by_adding", "claim", "offer")
        stood = not job.errors and job.error is None and not tx.scans and known and not once
        if chance_free and stood and job.answers[0] != seen:
            world.problems.append(
                f"{box.name}{row} was to commit only unchanged, and answered {job.answers[0]!r} where {seen!r} was seen"
            )
        outcome.set(job)


WAYS: dict[str, Callable[..., Process]] = {
    "serial": _here("serial"),
    "snapshot": _here("snapshot"),
    "slow": _slow,
    "occ": _occ,
    "intent": _intent,
}


FAULTS = (
    "off",
    "in write",
    "in sync",
    "in sync",
    "after sync",
    "full",
    "full",
    "full",
    "doubt",
    "checkpoint",
    "checkpoint",
)


def _nemesis(world: _World, ready: Event) -> Process:
    """Crashes, a full disk, failing syncs, checkpoints: at times drawn from the seed, while clients are at work."""
    chance, disk = world.loop.random, world.disk
    yield ready
    while world.clients:
        yield int(chance.random() * 16 * MS)
        if not world.clients:
            break
        node = world.node
        assert node is not None
        fault = chance.choice(FAULTS)
        if fault == "checkpoint":
            if node.is_alive and not disk.is_full:
                node.checkpoint()
            continue
        if fault == "full":
            disk.is_full = True
            yield int(chance.random() * 2 * MS)
            disk.is_full = False
            continue
        if fault == "off":
            node.crash()
        else:
            _arm(world, fault)
        waited = 0
        while node.is_alive and waited < 40:
            waited += 1
            yield MS // 2
        disk.on_write = disk.on_sync = lambda: None
        if node.is_alive:
            node.crash()
        world.crashes += 1
        yield int(chance.random() * 2 * MS)
        _start(world)
    disk.on_write = disk.on_sync = lambda: None


def _arm(world: _World, fault: str) -> None:
    """The next write or sync goes wrong."""
    disk = world.disk

    def crash() -> None:
        disk.on_write = disk.on_sync = lambda: None
        raise Crashed

    def after() -> None:
        for name in disk.names():
            disk._synced[name] = disk._written[name]
        crash()

    def doubt() -> None:
        disk.on_sync = lambda: None
        disk.in_doubt()

    if fault == "in write":
        disk.on_write = crash
    elif fault == "in sync":
        disk.on_sync = crash
    elif fault == "after sync":
        disk.on_sync = after
    else:
        disk.on_sync = doubt


def _check(world: _World, workload: Workload) -> None:
    """Power off, start once more, and compare the log, the facts and the answers."""
    node = world.node
    assert node is not None
    before = dict(node.facts.data)
    version = node.facts.version
    if node.is_alive:
        node.crash()
    try:
        node = Node(world.loop, world.disk, world.store)
        records = list(node.log.read(0))
    except (BoxworkError, InvariantBroken) as error:
        world.problems.append(f"the log cannot be read: {error}")
        return
    if node.facts.version == version and node.facts.data != before:
        world.problems.append("the facts are not what they were before the restart")
    replayed = Facts()
    try:
        world.problems += check_certificates(world.operations, records, workload.boxes)
        if workload.name == "lists":
            with node.read() as snapshot:
                final = {int(key[1]): value for key, value in snapshot.scan(("list",))}
            world.problems += check_lists(world.operations, final=final)
        from boxwork.state.batch import Entry

        for record in records:
            replayed.apply(record.version, Entry.decode(record.payload).writes, record.digest)
    except (BoxworkError, InvariantBroken) as error:
        world.problems.append(f"the log does not replay: {error}")
        return
    if replayed.data != node.facts.data:
        world.problems.append("the facts are not those that the log makes from nothing")
    unanswered = any(not operation.is_committed and not operation.error for operation in world.operations)
    committed = sum(operation.is_committed and operation.client >= 0 for operation in world.operations)
    with node.read() as snapshot:
        world.problems += workload.check(snapshot, -1 if unanswered else committed)
