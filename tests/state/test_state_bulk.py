"""Many calls run as one: nobody can tell it from running them one by one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from boxwork.errors import BoxworkError, Refused, UnsupportedType
from boxwork.state import bulk
from boxwork.state.batch import Entry
from boxwork.state.job import Job
from boxwork.state.lanes import serial
from boxwork.state.order import check_key, check_keys
from boxwork.state.sequencer import Sequencer
from boxwork.state.snapshot import Facts
from boxwork.state.tx import Tx
from boxwork.state.values import all_plain, freeze
from boxwork.testing.clock import FakeClock
from boxwork.transactions import transaction

ODD = [((1, [2]),), [1, 2], {"a": 1}, "x", "\ud800", (1, "é"), ((1, (2.5, None)), b"b"), {1, 2}, object()]


def steps_of(chance: random.Random, odd: bool) -> tuple[Any, ...]:
    def key() -> Any:
        if odd and chance.random() < 0.05:
            return chance.choice(
                [("k", 1.0), ("k", True), ("k", 2**63), ("k", None), ("k" * 2000,), "k", (), ("k", b"")]
            )
        return ("k", chance.randrange(6))

    def value() -> Any:
        return chance.randrange(len(ODD)) - 100 if odd and chance.random() < 0.2 else chance.randrange(50)

    steps = []
    for _ in range(chance.randrange(1, 5)):
        kind = chance.choice(
            ["get", "get", "put", "put", "copy", "add", "guard", "max", "new", "uid", "append", "change"]
            + (["delete", "scan", "refuse", "caught"] if odd else [])
        )
        steps.append((kind, key(), key(), value()))
    return tuple(steps)


@transaction
def program(tx: Tx, steps: Any) -> tuple[Any, ...]:
    seen: list[Any] = []
    for kind, key, other, number in steps:
        value = ODD[number + 100] if number < 0 else number
        if kind == "get":
            seen.append(tx.get(key))
        elif kind == "put":
            tx.put(key, value)
        elif kind == "copy":
            tx.put(other, tx.get(key, 0))
        elif kind == "add":
            tx.add(key, number)
        elif kind == "guard":
            tx.add(key, number - 40, min=0)
        elif kind == "max":
            tx.max(key, number)
        elif kind == "new":
            seen.append(tx.put_new(key, value))
        elif kind == "append":
            tx.append(key, number)
        elif kind == "change":  # what was put must not change with it
            found = tx.get(key)
            if isinstance(found, tuple) and found and isinstance(found[0], tuple) and isinstance(found[0][-1], list):
                found[0][-1].append(7)
                seen.append(len(tx.get(key)[0][-1]))
        elif kind == "delete":
            tx.delete(key)
        elif kind == "scan":
            seen.append(tuple(tx.scan(("k",))))
        elif kind == "refuse":
            tx.require(number < 25, "too much")
        elif kind == "caught":
            try:
                tx.put(key, value)
            except UnsupportedType:
                seen.append("caught")
        elif kind == "uid":
            seen.append((tx.uid(), tx.random(), tx.now()))
    return tuple(seen)


class Seedless(Sequencer):
    """Every batch draws from one seed, so that two machines draw the same."""

    def new_seed(self) -> bytes:
        return b"0123456789abcdef"


def outcome(rows: list[Any], start: dict[Any, Any]) -> tuple[Any, ...]:
    machine = Seedless(Facts(), FakeClock())
    machine.facts.apply(1, start, b"x" * 32)
    machine.executed = 1
    told: list[Any] = []
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        job = Job(program, half, "serial", lambda job: None)
        batch = machine.cut([job])
        assert batch is not None
        machine.seal([batch])
        machine.settle(batch)
        told.append([str(answer) if isinstance(answer, BaseException) else answer for answer in job.answers])
        told.append(sorted(job.errors))
        told.append(batch.writes)
        if batch.payload:
            told.append(Entry.decode(batch.payload).answers_digest)
    return (*told, machine.facts.data)


@pytest.mark.parametrize("odd", [False, True])
def test_many_calls_do_what_they_do_one_by_one(odd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(5)
    as_one = 0
    run = bulk.BulkTx.run

    def counting(*rest: Any) -> bool:
        nonlocal as_one
        sure = run(*rest)
        as_one += sure
        return sure

    monkeypatch.setattr(bulk.BulkTx, "run", counting)
    for _ in range(300):
        rows = [(steps_of(chance, odd and chance.random() < 0.3),) for _ in range(24)]
        start = {("k", number): freeze(chance.choice([3, 40, (1, 2)])) for number in range(6) if chance.random() < 0.6}
        monkeypatch.setattr(serial, "RUN_MIN", 1_000)
        expected = outcome(rows, start)
        monkeypatch.setattr(serial, "RUN_MIN", 2)
        together = chance.choice([5, 4096])
        monkeypatch.setattr(bulk, "RUN_MAX", together)
        monkeypatch.setattr(serial, "RUN_MAX", together)
        assert outcome(rows, start) == expected
    assert as_one > 20  # it was put to the test at all


@transaction
def spend_late(tx: Tx, cents: int) -> int:
    tx.put(("last",), cents)
    tx.add(("left",), -cents, min=0)
    return cents


def test_a_call_that_raises_after_it_wrote_takes_its_writes_back_and_the_others_stand() -> None:
    machine = Sequencer(Facts(), FakeClock())
    machine.facts.apply(1, {("left",): 100}, b"x" * 32)
    machine.executed = 1
    job = Job(spend_late, [(n % 10,) for n in range(50)], "serial", lambda job: None)
    batch = machine.cut([job])
    assert batch is not None
    assert batch.writes[("left",)] >= 0
    assert batch.writes[("left",)] + sum(answer for answer in job.answers if isinstance(answer, int)) == 100
    assert job.errors
    assert machine.counters["serial"].reruns > 0
    assert machine.counters["serial"].commits + machine.counters["serial"].refusals == 50
    assert machine.unsure == {"spend_late": serial.UNSURE_JOBS}


def test_a_refusal_holds_on_to_nothing() -> None:
    """A traceback holds frames, these all their variables: with thousands of refusals a batch that was half of it."""
    machine = Sequencer(Facts(), FakeClock())
    refuse = transaction(lambda tx, n: tx.refuse("no", n=n), name="refuse")
    for rows in ([(1,)], [(n,) for n in range(20)]):
        job = Job(refuse, rows, "serial", lambda job: None)
        machine.cut([job])
        assert all(isinstance(error, Refused) and error.__traceback__ is None for error in job.errors.values())


def test_what_a_function_raised_by_mistake_still_says_where() -> None:
    machine = Sequencer(Facts(), FakeClock())

    @transaction
    def divide(tx: Tx, n: int) -> float:
        return 1 / n

    for rows in ([(0,)], [(0,) for _ in range(20)]):
        job = Job(divide, rows, "serial", lambda job: None)
        machine.cut([job])
        trace = job.errors[0].__traceback__
        names = set()
        while trace is not None:
            names.add(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        assert "divide" in names


def test_keys_are_checked_together_as_one_by_one() -> None:
    good: list[Any] = [("a",), ("a", 1), (b"x", "é", -5), ("k", 2**63 - 1), tuple(range(1, 20)), ("x" * 200,)]
    check_keys([])
    check_keys(good)
    for bad in (
        (),
        "a",
        ("a", 1.0),
        ("a", True),
        ("a", None),
        ("a", 2**63),
        ("a", -(2**63) - 1),
        ("\ud800",),
        ("x" * 2000,),
    ):
        with pytest.raises(BoxworkError, match=".") as alone:
            check_key(bad)
        with pytest.raises(type(alone.value), match=r".") as together:
            check_keys([*good, bad])
        assert str(alone.value) == str(together.value)


def test_plain_is_plain_all_the_way_down() -> None:
    assert all_plain([])
    assert all_plain([(), (1, "é", b"", None, True, 2.5), ((1, ("a",)),)])
    for other in ([], {}, (1, [2]), "\ud800", object(), ("a", ("\ud800",)), freeze([1])):
        assert not all_plain([(1, 2), (3, other)])


def test_a_text_that_cannot_be_recorded_is_refused_to_who_gives_it() -> None:
    """Not to everybody whose commit is in the same batch."""
    with pytest.raises(UnsupportedType, match="lone surrogate"):
        Job(program, [("\ud800",)], "serial", lambda job: None)


def test_parts_of_the_inputs_are_not_looked_at_twice_and_others_are() -> None:
    row = (1, ((1, 2), ("a", b"b")))
    assert all_plain([(0, row[1])], [row])
    assert all_plain([(0, row[1][0])], [row])  # equal to nothing in the row's own level: it is looked at
    assert not all_plain([(0, ((1, [2]),))], [row])
    assert not all_plain([(0, row[1], ("x", [1]))], [row])
    assert not all_plain([((n, ("x",)), n) for n in range(1000)] + [(1, ({},))], [row])


@transaction
def draw_or_refuse(tx: Tx, number: int) -> tuple[str, float]:
    drawn = tx.uid(), tx.random()
    tx.require(number % 3, "every third is refused, after it has drawn")
    return drawn


def test_chance_begins_anew_with_each_call_also_after_one_that_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for rows_min in (2, 1000):
        monkeypatch.setattr(serial, "RUN_MIN", rows_min)
        job = Job(draw_or_refuse, [(number,) for number in range(20)], "serial", lambda job: None)
        Seedless(Facts(), FakeClock()).cut([job])
        told.append([str(answer) if isinstance(answer, BaseException) else answer for answer in job.answers])
    assert told[0] == told[1]
    assert len({answer for answer in told[0] if isinstance(answer, tuple)}) == 13
