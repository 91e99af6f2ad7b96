"""The lock table by itself: who waits, who dies, who is woken."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from boxwork.clock import monotonic_ns
from boxwork.errors import Timeout, TransactionAborted
from boxwork.state.lanes.locking import LockTable, Owner

A, B = ("a",), ("b",)


class Waiter(threading.Thread):
    """Asks for a lock in a thread of its own."""

    def __init__(self, table: LockTable, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self._call = call
        waiting = len(table.waits())
        self.start()
        until(lambda: len(table.waits()) > waiting or not self.is_alive())

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self.error = error

    def ends(self) -> BaseException | None:
        self.join(5)
        assert not self.is_alive()
        return self.error


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_what_is_released_is_handed_on_in_order_and_only_to_those_who_can_go_on() -> None:
    table = LockTable(monotonic_ns)
    one, two, three, four = (table.owner(name) for name in ("one", "two", "three", "four"))
    table.lock(one, A, "exclusive")
    table.lock(one, B, "exclusive")
    readers = [Waiter(table, lambda owner=owner: table.lock(owner, A, "shared")) for owner in (two, three)]
    writer = Waiter(table, lambda: table.lock(four, A, "exclusive"))
    assert [("two", ("one",)), ("three", ("one",)), ("four", ("one", "three", "two"))] == [
        (wait.who, wait.holders) for wait in table.waits()
    ]
    table.release(one)
    assert [None, None] == [reader.ends() for reader in readers]
    assert ["four"] == [wait.who for wait in table.waits()]
    table.release(two)
    assert writer.is_alive()
    table.release(three)
    assert writer.ends() is None
    assert 3 == table.waited
    table.release(four)
    table.lock(one, A, "exclusive")


def test_who_holds_nothing_waits_for_anybody_and_who_holds_something_dies_for_an_elder() -> None:
    table = LockTable(monotonic_ns)
    old, young = table.owner("old"), table.owner("young")
    table.lock(old, A, "exclusive")
    waiter = Waiter(table, lambda: table.lock(young, A, "shared"))
    assert waiter.is_alive()
    table.release(old)
    assert waiter.ends() is None
    table.lock(old, B, "exclusive")
    with pytest.raises(TransactionAborted, match="locked by old") as raised:
        table.lock(young, B, "exclusive")
    assert young.age == raised.value.details["age"]
    assert young.age == table.owner("young", young.age).age


def test_readers_do_not_starve_a_writer_who_has_grown_old() -> None:
    table = LockTable(monotonic_ns)
    writer, first, second = (table.owner(name) for name in ("writer", "first", "second"))
    table.lock(first, A, "shared")
    table.lock(second, B, "shared")
    waiting = Waiter(table, lambda: table.lock(writer, A, "exclusive"))
    with pytest.raises(TransactionAborted, match="locked by writer"):
        table.lock(second, A, "shared")
    table.release(first)
    assert waiting.ends() is None


def test_a_waiter_who_must_not_wait_any_longer_is_told() -> None:
    table = LockTable(monotonic_ns)
    elder, middle, young = (table.owner(name) for name in ("elder", "middle", "young"))
    table.lock(young, ("t", 1), "shared")
    table.lock(middle, B, "shared")
    waiting = Waiter(table, lambda: table.lock(middle, ("t", 1), "exclusive"))
    assert waiting.is_alive()
    table.lock_prefix(elder, ("t",))  # it reads what the other one only wants to write, and is older
    assert "elder" in str(waiting.ends())


def test_a_scanned_prefix_and_a_key_under_it_exclude_each_other() -> None:
    table = LockTable(monotonic_ns)
    scanner, writer = table.owner("scanner"), table.owner("writer")
    table.lock_prefix(scanner, ("t",))
    table.lock_prefix(scanner, ("t",))
    waiting = Waiter(table, lambda: table.lock(writer, ("t", 1), "exclusive"))
    assert [("writer", ("scanner",))] == [(wait.who, wait.holders) for wait in table.waits()]
    table.release(scanner)
    assert waiting.ends() is None
    again = table.owner("again")
    waiting = Waiter(table, lambda: table.lock_prefix(again, ()))
    table.release(writer)
    assert waiting.ends() is None


def test_a_wait_has_an_end_and_those_behind_go_on() -> None:
    table = LockTable(monotonic_ns, wait_ns_max=50_000_000)
    holder, writer, reader = (table.owner(name) for name in ("holder", "writer", "reader"))
    table.lock(holder, A, "shared")
    impatient = Waiter(table, lambda: table.lock(writer, A, "exclusive"))
    table._wait_ns_max = 10_000_000_000  # for those who come now
    behind = Waiter(table, lambda: table.lock(reader, A, "shared"))
    assert isinstance(impatient.ends(), Timeout)
    assert behind.ends() is None
    assert [] == table.waits()


@pytest.mark.parametrize("policy", ["wait-die", "no-wait"])
def test_locks_exclude_and_nobody_waits_for_ever(policy: Any) -> None:
    table = LockTable(monotonic_ns, policy, wait_ns_max=20_000_000_000)
    slips: list[str] = []
    finished: list[int] = []

    def take(owner: Owner, chance: random.Random, mine: dict[int, str]) -> None:
        for _ in range(4):
            key, mode = chance.randrange(4), chance.choice(["shared", "exclusive"])
            table.lock(owner, ("k", key), mode)  # type: ignore[arg-type]
            mine[key] = "exclusive" if "exclusive" in (mode, mine.get(key)) else "shared"
            with guard:
                others = [
                    o
                    for o, held in holding.items()
                    if o is not owner and key in held and "exclusive" in (held[key], mine[key])
                ]
                if others:
                    slips.append(f"{owner} and {others} hold {key}")
            if chance.random() < 0.3:
                time.sleep(0)

    guard = threading.Lock()
    holding: dict[Owner, dict[int, str]] = {}

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(30):
            age = 0
            while True:
                owner = table.owner(str(number), age)
                mine: dict[int, str] = {}
                with guard:
                    holding[owner] = mine
                try:
                    take(owner, chance, mine)
                    break
                except TransactionAborted:
                    age = owner.age
                finally:
                    with guard:
                        del holding[owner]
                    table.release(owner)
                time.sleep(chance.random() * 0.001)
        finished.append(number)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert ([], list(range(8)), []) == (slips, sorted(finished), table.waits())
    table.lock(table.owner("last"), ("k", 0), "exclusive")
