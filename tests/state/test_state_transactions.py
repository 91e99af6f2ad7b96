"""What `tx` does, the same in both of its bodies; and batches against serial replay."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from boxwork.errors import BadInput, BoundReached, Refused, UnsupportedType
from boxwork.state.job import Job
from boxwork.state.lanes.serial import SerialRun
from boxwork.state.lanes.snapshot import changes_of
from boxwork.state.sequencer import Sequencer
from boxwork.state.snapshot import Facts
from boxwork.state.tx import SerialTx, SnapshotTx, Tx
from boxwork.state.values import DELETED
from boxwork.state.writes import joined, merged
from boxwork.testing.clock import FakeClock
from boxwork.transactions import transaction

Body = Callable[[Facts], tuple[Tx, Callable[[], dict[Any, Any]]]]


def serial_body(facts: Facts) -> tuple[Tx, Callable[[], dict[Any, Any]]]:
    tx = SerialTx(facts, facts.data, {}, 5, b"seed")
    return tx, lambda: dict(tx.own)


def snapshot_body(facts: Facts) -> tuple[Tx, Callable[[], dict[Any, Any]]]:
    tx = SnapshotTx(facts, facts.version, 5, b"seed", 0)
    return tx, lambda: changes_of(tx, facts.stored)


@pytest.fixture(params=[serial_body, snapshot_body], ids=["serial", "snapshot"])
def body(request: pytest.FixtureRequest) -> Body:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def facts() -> Facts:
    made = Facts()
    made.apply(1, {("n",): 10, ("t", 1): "one", ("t", 2): "two", ("s",): frozenset()}, b"")
    made.apply(2, {("s",): DELETED}, b"")
    return made


def test_a_transaction_sees_its_own_changes(body: Body, facts: Facts) -> None:
    tx, changes = body(facts)
    assert (10, None, 7) == (tx.get(("n",)), tx.get(("x",)), tx.get(("x",), 7))
    tx.put(("n",), 11)
    tx.add(("n",), 2)
    tx.put(("x",), [1])
    tx.delete(("t", 1))
    assert (13, [1], None) == (tx.get(("n",)), tx.get(("x",)), tx.get(("t", 1)))
    assert [(("t", 2), "two")] == tx.scan(("t",))
    assert {("n",), ("x",), ("t", 1)} == set(changes())


def test_put_new_puts_once(body: Body, facts: Facts) -> None:
    tx, changes = body(facts)
    assert [False, True, False] == [tx.put_new(("n",), 1), tx.put_new(("y",), 1), tx.put_new(("y",), 2)]
    tx.delete(("y",))
    assert tx.put_new(("y",), 3)
    assert {("y",): 3} == changes()


def test_merges_work_on_nothing_and_on_each_other(body: Body, facts: Facts) -> None:
    tx, changes = body(facts)
    tx.add(("a",), 1)
    tx.add(("a",), 2)
    tx.max(("m",), 3)
    tx.max(("m",), 2)
    tx.min(("i",), "b")
    tx.min(("i",), "a")
    tx.union(("u",), {1})
    tx.union(("u",), [2])
    tx.append(("l",), "x")
    tx.append(("l",), "y")
    assert (3, 3, "a", {1, 2}, ("x", "y")) == tuple(tx.get((k,)) for k in "amiul")
    assert 5 == len(changes())


def test_merges_of_two_kinds_on_one_key_go_one_after_the_other(body: Body, facts: Facts) -> None:
    tx, changes = body(facts)
    tx.add(("n",), 5)
    tx.max(("n",), 12)
    tx.add(("n",), 1)
    assert {("n",): 16} == changes()


def test_a_bound_holds_and_says_what_it_saw(body: Body, facts: Facts) -> None:
    tx, changes = body(facts)
    tx.add(("n",), -10, min=0)
    with pytest.raises(BoundReached, match="below 0") as raised:
        tx.add(("n",), -1, min=0)
    assert (0, -1, 0) == tuple(raised.value.details[k] for k in ("value", "after", "bound"))
    with pytest.raises(BoundReached, match="above 3"):
        tx.add(("n",), 4, max=3)
    assert {("n",): 0} == changes()


def test_deleting_nothing_does_nothing(body: Body, facts: Facts) -> None:
    tx, changes = body(facts)
    tx.delete(("nothing",))
    tx.put(("fresh",), 1)
    tx.delete(("fresh",))
    assert {} == changes()


@pytest.mark.parametrize(
    "call",
    [
        lambda tx: tx.get("likes"),
        lambda tx: tx.put(("a", 1.5), 1),
        lambda tx: tx.delete([]),
        lambda tx: tx.add(("a",), 1.5),
        lambda tx: tx.add(("t", 1), 1),
        lambda tx: tx.put(("a",), object()),
        lambda tx: tx.union(("a",), "text"),
        lambda tx: tx.scan("t"),
        lambda tx: tx.append("l", 1),
        lambda tx: tx.scan((), limit=-1),
    ],
)
def test_wrong_use_is_named(body: Body, facts: Facts, call: Callable[[Any], Any]) -> None:
    tx, changes = body(facts)

    def use() -> None:
        call(tx)
        changes()

    with pytest.raises((BadInput, UnsupportedType)):
        use()


def test_refusing_carries_reason_and_details(body: Body, facts: Facts) -> None:
    tx, _ = body(facts)
    tx.require(True, "never")
    with pytest.raises(Refused, match="sold out") as raised:
        tx.require([], "sold out", left=0)
    assert {"left": 0} == raised.value.details


def test_time_and_chance_come_from_the_batch(body: Body, facts: Facts) -> None:
    one, _ = body(facts)
    two, _ = body(facts)
    assert 5 == one.now()
    first = [one.uid(), one.uid(), one.random()]
    assert first == [two.uid(), two.uid(), two.random()]
    assert first[0] != first[1]
    assert 0 <= first[2] < 1


def test_a_snapshot_body_records_what_it_saw(facts: Facts) -> None:
    tx = SnapshotTx(facts, 2, 0, b"", 0)
    tx.get(("n",))
    tx.get(("x",))
    tx.add(("a",), 1, min=0)
    tx.put(("p",), 1)
    tx.scan(("t",))
    assert {("n",), ("x",), ("t", 1), ("t", 2)} == set(tx.reads)
    assert [("t",)] == list(tx.scans)
    assert [("p",), ("a",)] == tx.touched()
    assert 1 == len(tx.guards)


def test_a_guard_stays_when_the_key_is_overwritten(facts: Facts) -> None:
    tx = SnapshotTx(facts, 2, 0, b"", 0)
    tx.add(("n",), -10, min=0)
    tx.put(("n",), 99)
    with pytest.raises(BoundReached):
        changes_of(tx, lambda key: 5)


def test_joined_merges_do_what_they_do_one_by_one() -> None:
    for kind, one, two in (
        ("add", 3, -5),
        ("max", 1, 2),
        ("min", 1, 2),
        ("append", (1,), (2,)),
        ("union", frozenset({1}), frozenset({2})),
    ):
        both = joined((kind, one), (kind, two))  # type: ignore[arg-type]
        assert both is not None
        start = {"append": (0,), "union": frozenset({0})}.get(kind, 1)
        from boxwork.state.values import freeze

        step = merged(("k",), merged(("k",), freeze(start), kind, one), kind, two)  # type: ignore[arg-type]
        assert step == merged(("k",), freeze(start), *both)
    assert joined(("add", 1), ("max", 1)) is None


# --- batches against serial replay --------------------------------------------------------------------------


def step_for(chance: random.Random) -> tuple[Any, ...]:
    key = ("k", chance.randrange(6))
    return chance.choice(
        [
            ("get", key),
            ("get", key),
            ("put", key, chance.randrange(50)),
            ("copy", key, ("k", chance.randrange(6))),
            ("add", key, chance.randrange(-9, 10)),
            ("guard", key, chance.randrange(-20, 10)),
            ("max", key, chance.randrange(50)),
            ("delete", key),
            ("new", key, 1),
            ("scan", ("k",)),
            ("refuse", key, 45),
            ("uid",),
        ]
    )


@transaction
def program(tx: Tx, steps: tuple[tuple[Any, ...], ...]) -> tuple[Any, ...]:
    seen: list[Any] = []
    for kind, *rest in steps:
        if kind == "get":
            seen.append(tx.get(rest[0]))
        elif kind == "put":
            tx.put(rest[0], rest[1])
        elif kind == "copy":
            tx.put(rest[1], tx.get(rest[0], 0))
        elif kind == "add":
            tx.add(rest[0], rest[1])
        elif kind == "guard":
            tx.add(rest[0], rest[1], min=0)
        elif kind == "max":
            tx.max(rest[0], rest[1])
        elif kind == "delete":
            tx.delete(rest[0])
        elif kind == "new":
            seen.append(tx.put_new(rest[0], rest[1]))
        elif kind == "scan":
            seen.append(tuple(tx.scan(rest[0])))
        elif kind == "refuse":
            tx.require((tx.get(rest[0]) or 0) < rest[1], "too much")
        elif kind == "uid":
            seen.append((tx.uid(), tx.now()))
    return tuple(seen)


@pytest.mark.parametrize("rule", ["interval", "arrival", "aria"])
def test_a_batch_answers_and_leaves_what_a_serial_run_in_its_order_does(rule: str) -> None:
    """1,500 random batches, state and answers, in the order that the receipts publish."""
    chance = random.Random(11)
    for _ in range(500):
        clock = FakeClock()
        machine = Sequencer(Facts(), clock, rule=rule)  # type: ignore[arg-type]
        start = {("k", number): chance.randrange(50) for number in range(6) if chance.random() < 0.7}
        machine.facts.apply(1, start, b"x" * 32)
        machine.executed = 1
        done: list[Job] = []
        jobs = [
            Job(
                program,
                [(tuple(step_for(chance) for _ in range(chance.randrange(1, 5))),)],
                chance.choice(["snapshot", "snapshot", "snapshot", "serial"]),
                done.append,
            )
            for _ in range(chance.randrange(1, 12))
        ]
        batch = machine.cut(jobs)
        assert batch is not None
        machine.seal([batch])
        machine.settle(batch)
        if batch.record is None:
            continue
        from boxwork.state.batch import Entry

        entry = Entry.decode(batch.record.payload)
        serial = Facts()
        serial.apply(1, start, b"")
        writes: dict[Any, Any] = {}
        run = SerialRun(SerialTx(serial, serial.data, writes, entry.now_ns, entry.seed), writes, writes, None)
        by_index = {job.receipt().index: job for job in jobs if not job.errors}
        for index, each in enumerate(entry.inputs or []):
            answer, changes = run.run_one(program.function, tuple(each.row), each.drawn)
            run.take(changes, "")
            assert by_index[index].rows[0] == each.row
            assert by_index[index].answers[0] == answer
        assert writes == entry.writes
        assert len(by_index) == len(entry.inputs or [])
        assert all(job.lane == "serial" or job.errors or job.answers for job in jobs)
