"""The engine with its threads, from the outside."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from boxwork.clock import SystemClock
from boxwork.errors import (
    BadInput,
    BoundReached,
    CommitUnknown,
    Impure,
    Lagged,
    Refused,
    StateError,
    StorageFull,
    TransactionAborted,
    UnsupportedType,
)
from boxwork.settings import merge
from boxwork.state.batch import Record
from boxwork.state.engine import SETTINGS, Engine
from boxwork.state.face import AsyncEngine
from boxwork.state.logs.disk import DiskLog
from boxwork.state.logs.files import RealFiles
from boxwork.state.logs.memory import MemoryLog
from boxwork.state.tx import Tx
from boxwork.state.verify import verify
from boxwork.testing.clock import FakeClock
from boxwork.testing.workloads import Ring, SmallBank
from boxwork.transactions import transaction

OpenEngine = Callable[..., Engine]


@transaction
def like(tx: Tx, post: str, user: str) -> int:
    if tx.put_new(("liked", post, user), True):
        tx.add(("likes", post), 1)
    return tx.get(("likes", post))  # type: ignore[no-any-return]


@transaction
def increase(tx: Tx, name: str) -> int:
    tx.put((name,), tx.get((name,), 0) + 1)
    return tx.get((name,))  # type: ignore[no-any-return]


@transaction(slow=True, ignores=["time"])
def increase_slowly(tx: Tx, name: str) -> int:
    seen = tx.get((name,), 0)
    time.sleep(0.002)
    tx.put((name,), seen + 1)
    return seen + 1  # type: ignore[no-any-return]


@transaction(lane="locking", ignores=["time"])
def increase_locked(tx: Tx, name: str) -> None:
    seen = tx.get((name,), 0)
    time.sleep(0.001)
    tx.put((name,), seen + 1)


@transaction
def spend(tx: Tx, cents: int) -> None:
    tx.add(("budget",), -cents, min=0)


@transaction
def edit(tx: Tx, block: int, text: str) -> None:
    tx.put(("block", block), text)


def test_a_counter_that_everybody_presses(open_engine: OpenEngine) -> None:
    engine = open_engine("node")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: engine.commit(like, "p1", f"user {number % 50}"), range(200)))
    assert 50 == engine.get(("likes", "p1"))
    assert engine.counters.batches < 200
    assert 0 == engine.counters["serial"].reruns


class Ticking(FakeClock):
    """Whoever looks at it finds it 5 ms later."""

    def monotonic_ns(self) -> int:
        self.advance(5_000_000)
        return super().monotonic_ns()


class Signed(MemoryLog):
    def __init__(self) -> None:
        super().__init__()
        self.writers: list[str] = []

    def append(self, records: Sequence[Record]) -> None:
        self.writers.append(threading.current_thread().name)
        super().append(records)


def test_who_took_long_to_make_a_batch_writes_it_unless_the_disk_takes_long_too() -> None:
    log = Signed()
    with Engine(log, Ticking(), merge(SETTINGS, environment={})) as engine:
        for number in range(100):
            assert [1, 2] == engine.commit_many(increase, [(str(number),)] * 2)
    assert "state-sequencer" == log.writers[0]  # nothing was known of the disk
    assert "state-log" in log.writers  # it takes as long as a batch


def test_a_process_that_has_frozen_what_it_keeps_freezes_the_facts_too(open_engine: OpenEngine) -> None:
    def tracked(engine: Engine) -> bool:
        return any(each is engine.facts.data for each in gc.get_objects())

    first = open_engine("node")
    first.commit_many(increase, [("a",), ("b",)])
    first.close()
    gc.freeze()  # as `boxwork up` does
    try:
        frozen = gc.get_freeze_count()
        again, empty = open_engine("node"), open_engine("empty")
        assert frozen < gc.get_freeze_count()
        empty.commit_many(increase, [("a",), ("b",)])
        gc.collect()
        assert (1, 1) == (again.get(("a",)), empty.get(("a",)))
        assert (False, False) == (tracked(again), tracked(empty))
        assert gc.isenabled()
    finally:
        gc.unfreeze()
    assert (True, True) == (tracked(again), tracked(empty))


def test_a_closed_engine_leaves_no_circle_behind(tmp_path: Path) -> None:
    engine = Engine.open(tmp_path, merge(SETTINGS, environment={}), SystemClock())
    engine.commit_many(increase, [("a",)] * 10)
    engine.close()
    facts = weakref.ref(engine.facts)
    gc.collect()
    gc.disable()
    try:
        del engine
        assert facts() is None
    finally:
        gc.enable()


def test_facts_are_there_again_after_a_restart(open_engine: OpenEngine) -> None:
    engine = open_engine("node")
    _, receipt = engine.commit(like, post="p1", user="ada", receipt=True)
    engine.commit_many(increase, [("a",)] * 10)
    engine.close()
    again = open_engine("node")
    assert (1, 10, 2) == (again.get(("likes", "p1")), again.get(("a",)), again.recovered.entries)
    report = verify(again._log.read(), receipts=[receipt], boxes={"like": like, "increase": increase})
    assert (True, 11, 11) == (report.is_sound, report.commits, report.replayed)


def test_an_exception_comes_out_and_changes_nothing(open_engine: OpenEngine) -> None:
    engine = open_engine()

    def broken(tx: Tx) -> None:
        tx.put(("a",), 1)
        raise KeyError("oops")

    with pytest.raises(KeyError, match="oops"):
        engine.commit(broken)
    with pytest.raises(BoundReached):
        engine.commit(spend, 1)
    assert engine.get(("a",)) is None
    lane = engine.counters["serial"]
    assert (0, 1, 1) == (lane.commits, lane.failures, lane.refusals)


def test_many_at_once_answer_in_order_with_exceptions_in_their_places(open_engine: OpenEngine) -> None:
    engine = open_engine(batch_rows=7)
    engine.commit(lambda tx: tx.put(("budget",), 30))
    answers = engine.commit_many(spend, [(1,)] * 28 + [(5,)] + [{"cents": 2}] * 2)
    assert [None] * 28 == answers[:28]
    assert isinstance(answers[28], BoundReached)
    assert (None, True, 0) == (answers[29], isinstance(answers[30], BoundReached), engine.get(("budget",)))
    assert [] == engine.commit_many(spend, [])


def test_wrong_inputs_are_named_before_anything_runs(open_engine: OpenEngine) -> None:
    engine = open_engine()
    for call, message in (
        (lambda: engine.commit(like, "p1"), "'user' is missing"),
        (lambda: engine.commit(like, "p1", "a", "b"), "takes 2 inputs"),
        (lambda: engine.commit(like, "p1", who="x", usr="a"), "'user' is missing"),
        (lambda: engine.commit(like, "p1", user="u", more=1), "no input 'more'"),
        (lambda: engine.commit(like, "p1", "a", lane="fast"), "there are serial, snapshot"),
        (lambda: transaction(lambda tx, receipt: None).inputs, "cannot be called 'receipt'"),
        (lambda: engine.commit(lambda tx, *rest: None), "a name of its own"),
    ):
        with pytest.raises(BadInput, match=message):
            call()  # type: ignore[no-untyped-call]
    with pytest.raises(UnsupportedType):
        engine.commit(like, "p1", object())


def test_an_input_is_the_same_for_every_run(open_engine: OpenEngine) -> None:
    engine = open_engine()

    def take(tx: Tx, items: list[int]) -> int:
        tx.get(("a",))
        tx.put(("a",), items.pop())
        return len(items)

    given = [1, 2, 3]
    answers = [future.result() for future in [engine.submit(take, given, lane="snapshot") for _ in range(4)]]
    assert ([2, 2, 2, 2], [1, 2, 3]) == (answers, given)


def test_an_idempotency_id_survives_a_restart_and_a_checkpoint(open_engine: OpenEngine) -> None:
    engine = open_engine("node")
    first = engine.commit(increase, "a", once="order 1", receipt=True)
    engine.close()
    engine = open_engine("node")
    assert first == engine.commit(increase, "a", once="order 1", receipt=True)
    engine.checkpoint()
    engine.commit(increase, "b")
    engine.close()
    engine = open_engine("node")
    assert first == engine.commit(increase, "a", once="order 1", receipt=True)
    assert (1, 1) == (engine.get(("a",)), engine.recovered.entries)


def test_an_answer_that_cannot_be_kept_is_refused_with_nothing_changed(open_engine: OpenEngine) -> None:
    engine = open_engine()

    def odd(tx: Tx) -> object:
        tx.put(("a",), 1)
        return object()

    with pytest.raises(UnsupportedType):
        engine.commit(odd, once="x")
    assert engine.get(("a",)) is None
    assert engine.commit(odd) is not None


def test_slow_functions_never_stand_in_the_way_and_run_a_bounded_number_of_times(open_engine: OpenEngine) -> None:
    engine = open_engine(losses_max=2)
    futures = [engine.submit(increase_slowly, "hot") for _ in range(24)]
    engine.commit(increase, "cold")
    assert list(range(1, 25)) == sorted(future.result() for future in futures)
    lane = engine.counters["snapshot"]
    assert (24, 0) == (lane.commits, lane.aborts)
    assert lane.executions <= 24 * 3
    assert 0 == engine.facts.open_snapshots


def test_two_phase_locking_is_real(open_engine: OpenEngine) -> None:
    engine = open_engine()
    aborts = 0

    def press() -> int:
        aborted = 0
        while True:
            try:
                engine.commit(increase_locked, "a")
                return aborted
            except TransactionAborted:
                aborted += 1
                time.sleep(0.002)  # whoever comes back at once only meets the same holder

    with ThreadPoolExecutor(4) as pool:
        aborts = sum(pool.map(lambda _: press(), range(16)))
    assert 16 == engine.get(("a",))
    assert aborts == engine.counters["locking"].aborts > 0


def test_lock_waits_are_visible_and_the_younger_dies(open_engine: OpenEngine) -> None:
    engine = open_engine()
    old, young = engine.session(who="ada"), engine.session(who="bob")
    young.tx.put(("a",), 1)
    reader = threading.Thread(target=lambda: old.tx.get(("a",)))
    reader.start()
    deadline = time.monotonic() + 5
    while not engine.locks.waits() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert [("ada", "shared", ("bob",))] == [(w.who, w.mode, w.holders) for w in engine.locks.waits()]
    assert "ada" in str(engine.numbers()["lock_waits"])
    old.tx.put(("b",), 1)
    with pytest.raises(TransactionAborted, match="locked by ada") as raised:
        young.tx.get(("b",))
    young.close()
    reader.join()
    assert [] == engine.locks.waits()
    again = engine.session(who="bob", age=raised.value.details["age"])
    assert young.age == again.age
    again.close()
    old.commit()
    assert 1 == engine.get(("b",))


def test_no_wait_aborts_at_once_and_a_scanned_prefix_is_held(open_engine: OpenEngine) -> None:
    engine = open_engine(lock_policy="no-wait")
    with engine.session(who="ada") as one, engine.session(who="bob") as two:
        assert [] == one.tx.scan(("t",))
        two.tx.put(("u", 1), 1)
        with pytest.raises(TransactionAborted, match="no-wait"):
            two.tx.put(("t", 1), 1)
        assert one.commit() is None


def test_an_optimistic_session_aborts_when_what_it_read_has_changed(open_engine: OpenEngine) -> None:
    engine = open_engine()
    with engine.session("occ") as session:
        session.tx.put(("a",), (session.tx.get(("a",)) or 0) + 1)
        engine.commit(increase, "a", who="bob")
        with pytest.raises(TransactionAborted, match="changed by increase by bob"):
            session.commit()


def test_the_lanes_together_are_serializable(open_engine: OpenEngine) -> None:
    """All lanes at once on one ring, from threads; then the log is replayed."""
    engine = open_engine("node", audit_every=3)
    ring = Ring(12)
    for box, row in ring.setup():
        engine.commit(box, *row)

    def work(seed: int) -> int:
        chance = random.Random(seed)
        calls, done = ring.calls(chance), 0
        for _ in range(40):
            box, row = next(calls)
            lane: Any = chance.choice(["serial", "snapshot", "locking", "occ"])
            try:
                engine.commit(box, *row, lane=lane)
                done += 1
            except TransactionAborted:
                pass
        return done

    with ThreadPoolExecutor(6) as pool:
        done = sum(pool.map(work, range(6)))
    with engine.read() as facts:
        assert [] == ring.check(facts, done)
    report = verify(engine._log.read(), boxes=ring.boxes)
    assert ([], done + 1) == (report.differences, report.commits)
    assert {} == engine.audit.findings()
    assert engine.audit.batches_compared > 0


def test_an_intent_commits_what_was_decided_or_says_who_was_faster(open_engine: OpenEngine) -> None:
    engine = open_engine()
    engine.commit(edit, 1, "one")
    told: list[Any] = []
    with engine.begin(who="ada", on_change=told.extend) as view:
        assert "one" == view.get(("block", 1))
        view.get(("block", 2))
        engine.commit(edit, 1, "eins", who="bob")
        assert [(("block", 1), "edit by bob")] == [(c.key, c.by) for c in told]
        assert told == view.conflicts
        assert "one" == view.get(("block", 1))
        with pytest.raises(Refused, match="changed by edit by bob") as raised:
            view.commit(edit, 1, "uno", unchanged=True)
        assert "changed" == raised.value.details["reason"]
        view.commit(edit, 2, "deux", unchanged=[("block", 2)])
    assert ("eins", "deux") == (engine.get(("block", 1)), engine.get(("block", 2)))
    assert 0 == engine.facts.open_snapshots
    with pytest.raises(BadInput, match="is closed"):
        view.get(("block", 1))


def test_watchers_hear_every_change_in_order_before_its_committer(open_engine: OpenEngine) -> None:
    engine = open_engine()
    with engine.watch(("likes",)) as watch:
        for user in ("ada", "bob", "ada"):
            engine.commit(like, "p1", user, who=user)
        changes = watch.take()
    assert [(1, "like by ada"), (2, "like by bob")] == [(c.value, c.by) for c in changes]
    assert [] == watch.wait(0.001)
    assert 0 == engine.audience.watches


def test_a_watcher_that_is_too_slow_is_told(open_engine: OpenEngine) -> None:
    engine = open_engine()
    watch = engine.audience.watch(("a",), 3)
    for _ in range(5):
        engine.commit(increase, "a")
    with pytest.raises(Lagged, match="missed 4 changes"):
        watch.take()
    assert [5] == [change.value for change in watch.take()]


def test_a_full_disk_refuses_commits_and_reading_goes_on(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine("node")
    engine.commit(increase, "a")
    append = engine._log.append

    def full(records: Any) -> None:
        raise StorageFull("no space left")

    monkeypatch.setattr(engine._log, "append", full)
    futures = [engine.submit(increase, "a") for _ in range(20)]
    assert {"no space left"} == {str(future.exception()) for future in futures}
    assert 1 == engine.get(("a",))
    monkeypatch.setattr(engine._log, "append", append)
    assert 2 == engine.commit(increase, "a")


def test_a_commit_in_doubt_says_so(open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine()

    def doubt(records: Any) -> None:
        raise CommitUnknown("who knows")

    monkeypatch.setattr(engine._log, "append", doubt)
    with pytest.raises(CommitUnknown):
        engine.commit(increase, "a")


def test_checkpoints_are_made_in_the_background_and_shorten_recovery(open_engine: OpenEngine) -> None:
    engine = open_engine("node", checkpoint_bytes=2000)
    for _ in range(40):
        engine.commit(edit, 1, "x" * 100)
    engine.commit(lambda tx: tx.delete(("block", 1)))
    engine.commit(edit, 2, "y")
    engine.close()
    assert engine.numbers()["checkpoint_version"] > 0
    again = open_engine("node", checkpoint_bytes=2000)
    assert again.recovered.entries < 40
    assert (None, "y", 42) == (again.get(("block", 1)), again.get(("block", 2)), again.facts.version)


def test_impure_transactions_are_caught_before_they_run(open_engine: OpenEngine) -> None:
    engine = open_engine()

    @transaction
    def stamp(tx: Tx) -> None:
        tx.put(("at",), time.time())

    with pytest.raises(Impure, match=r"uses time\.time.*use tx\.now\(\)"):
        engine.commit(stamp)
    assert engine.get(("at",)) is None


def test_what_differs_on_a_second_run_is_found_by_sampling(open_engine: OpenEngine) -> None:
    engine = open_engine(audit_every=1)
    state = {"count": 0}

    def sneaky(tx: Tx) -> None:
        state["count"] += 1
        tx.put(("a",), state["count"])

    engine.commit(sneaky)
    engine.commit(increase, "b")
    assert ["sneaky"] == list(engine.numbers()["impure"])
    assert "it wrote 1" in engine.audit.findings()["sneaky"]


def test_a_closed_node_says_so(open_engine: OpenEngine) -> None:
    engine = open_engine()
    future = engine.submit(increase, "a")
    engine.close()
    assert 1 == future.result()
    with pytest.raises(StateError, match="is closed"):
        engine.commit(increase, "a")


# --- async --------------------------------------------------------------------------------------------------


@transaction
async def think_and_increase(tx: Tx, name: str) -> int:
    seen = tx.get((name,), 0)
    await asyncio.sleep(0.001)
    tx.put((name,), seen + 1)
    return seen + 1  # type: ignore[no-any-return]


def test_async_callers_share_batches_and_may_think(open_engine: OpenEngine) -> None:
    engine = open_engine()

    async def main() -> None:
        work = AsyncEngine(engine)
        answers = await asyncio.gather(*(work.commit(increase, "a") for _ in range(200)))
        assert list(range(1, 201)) == sorted(answers)
        assert engine.counters.batches < 100
        thought = await asyncio.gather(*(work.commit(think_and_increase, name="b") for _ in range(12)))
        assert list(range(1, 13)) == sorted(thought)
        assert engine.counters["snapshot"].executions <= 12 * 3
        assert 13 == (await work.commit(increase_slowly, "b", receipt=True))[0]
        assert [201, 202] == await work.commit_many(increase, [("a",)] * 2)
        with pytest.raises(Refused):
            await work.commit(spend, 1)
        await work.commit(increase_locked, "c")

    asyncio.run(main())
    with pytest.raises(BadInput, match="from async code"):
        engine.commit(think_and_increase, "b")


def test_whoever_is_cancelled_while_thinking_leaves_nothing_behind(open_engine: OpenEngine) -> None:
    engine = open_engine()

    async def main() -> None:
        work = AsyncEngine(engine)
        thinking = [asyncio.ensure_future(work.commit(think_and_increase, "a")) for _ in range(8)]
        await asyncio.sleep(0.0005)
        for task in thinking:
            task.cancel()
        await asyncio.gather(*thinking, return_exceptions=True)
        assert 1 <= await work.commit(increase, "a") <= 9

    asyncio.run(main())
    assert 0 == engine.facts.open_snapshots
    deadline = time.monotonic() + 5
    while len(engine.machine.reservations) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert 0 == len(engine.machine.reservations)


def test_a_preview_shows_what_would_happen_and_changes_nothing(open_engine: OpenEngine) -> None:
    engine = open_engine()
    engine.commit(increase, "a")
    seen = engine.preview(increase, "a")
    assert ({("a",): 1}, {("a",): 2}, 2, None) == (seen.reads, seen.writes, seen.answer, seen.error)
    assert isinstance(engine.preview(spend, 1).error, BoundReached)
    assert {("likes", "p"): ("add", 1)} == engine.preview(like, "p", "ada").merges
    assert (1, None) == (engine.get(("a",)), engine.get(("likes", "p")))


def test_agents_hear_of_conflicts_while_they_think(open_engine: OpenEngine) -> None:
    engine = open_engine()

    async def main() -> None:
        work = AsyncEngine(engine)
        async with work.begin(who="agent 1") as view:
            view.get(("block", 1))
            await work.commit(edit, 1, "mine", who="agent 2")
            [conflict] = await asyncio.wait_for(view.changed(), 5)
            assert (("block", 1), "edit by agent 2") == (conflict.key, conflict.by)
            with pytest.raises(Refused):
                await view.commit(edit, 1, "yours", unchanged=True)
        changes = work.watch(("block",))
        first = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        await work.commit(edit, 3, "c")
        assert "c" == (await asyncio.wait_for(first, 5)).value
        await changes.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


# --- kill -9 ------------------------------------------------------------------------------------------------

CHILD = textwrap.dedent("""
    import sys
    from pathlib import Path
    from boxwork.clock import SystemClock
    from boxwork.settings import merge
    from boxwork.state.engine import SETTINGS, Engine
    from boxwork.state.logs.disk import DiskLog
    from boxwork.state.logs.files import RealFiles
    from boxwork.testing.workloads import Chance, SmallBank
    import random
    files = RealFiles(Path(sys.argv[1]))
    engine = Engine(DiskLog(files), SystemClock(), merge(SETTINGS, environment={}), files=files)
    bank = SmallBank(20, closed=True)
    if not len(engine.facts):
        for box, row in bank.setup():
            engine.commit(box, *row)
    print("ready", flush=True)
    calls = bank.calls(random.Random(int(sys.argv[2])))
    while True:
        box, row = next(calls)
        try:
            _, receipt = engine.commit(box, *row, receipt=True)
        except Exception:
            continue
        sys.stdout.write(f"{receipt}\\n")
        sys.stdout.flush()
""")


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    from boxwork.state.receipts import Receipt

    bank = SmallBank(20, closed=True)
    receipts: list[Receipt] = []
    for life in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "log"), str(life)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert "ready\n" == child.stdout.readline()
        for _ in range(40):
            receipts.append(Receipt.parse(child.stdout.readline()))
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines()
        child.stdout.close()
        child.wait()
        receipts += [Receipt.parse(line) for line in rest if line.count(".") == 3 and len(line.split(".")[3]) == 64]
    files = RealFiles(tmp_path / "log")
    with Engine(DiskLog(files), SystemClock(), merge(SETTINGS, environment={}), files=files) as engine:
        report = verify(engine._log.read(), receipts=receipts, boxes=bank.boxes)
        assert ([], [], len(receipts)) == (report.differences, report.false_receipts, report.receipts)
        with engine.read() as facts:
            assert [] == bank.check(facts, -1)
