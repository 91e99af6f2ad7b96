"""The order that saves the most, against serial replay and against exhaustive search."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from boxwork.state.positions import Rule, place


class Attempt:
    def __init__(self, reads: set[Any], writes: set[Any], scans: set[Any] = frozenset()) -> None:  # type: ignore[assignment]
        self.reads, self.scans = sorted(reads), sorted(scans)
        self._writes = sorted(writes)

    def touched(self) -> list[Any]:
        return self._writes


def some_batch(chance: random.Random, size: int, keys: int) -> list[Attempt]:
    def some() -> set[Any]:
        return {("k", chance.randrange(keys)) for _ in range(chance.randrange(0, 4))}

    return [Attempt(some(), some(), {("k",)} if chance.random() < 0.05 else set()) for _ in range(size)]


def is_serial(batch: list[Attempt], order: list[int]) -> bool:
    """In this order nobody reads what somebody before him has written."""
    written: set[Any] = set()
    for index in order:
        attempt = batch[index]
        if written & set(attempt.reads) or (attempt.scans and written):
            return False
        written |= set(attempt.touched())
    return True


def most_kept(batch: list[Attempt]) -> int:
    """The size of the largest subset with a serial order: all subsets, each tested for a cycle."""
    count = len(batch)
    after = [
        {
            b
            for b in range(count)
            if b != a and (set(batch[a].reads) & set(batch[b].touched()) or (batch[a].scans and batch[b].touched()))
        }
        for a in range(count)
    ]
    for size in range(count, 0, -1):
        for chosen in itertools.combinations(range(count), size):
            left = set(chosen)
            while left:
                free = [node for node in left if not any(node in after[other] for other in left if other != node)]
                if not free:
                    break
                left -= set(free)
            if not left:
                return size
    return 0


@pytest.mark.parametrize("rule", ["interval", "arrival", "aria"])
def test_every_rule_keeps_a_serial_order(rule: Rule) -> None:
    chance = random.Random(3)
    for _ in range(400):
        batch = some_batch(chance, chance.randrange(1, 14), chance.randrange(2, 9))
        placed = place(batch, rule)
        assert is_serial(batch, placed.kept)
        assert list(range(len(batch))) == sorted([*placed.kept, *(row.index for row in placed.lost)])


def test_intervals_keep_nearly_what_can_be_kept_and_more_than_the_others() -> None:
    chance = random.Random(5)
    kept = dict.fromkeys(("interval", "arrival", "aria", "most"), 0)
    for _ in range(60):
        batch = some_batch(chance, 9, 8)
        for rule in ("interval", "arrival", "aria"):
            kept[rule] += len(place(batch, rule).kept)  # type: ignore[arg-type]
        kept["most"] += most_kept(batch)
    assert kept["interval"] >= 0.9 * kept["most"]
    assert kept["interval"] > max(kept["aria"], kept["arrival"])


def test_who_only_reads_or_only_writes_is_never_lost() -> None:
    batch = [Attempt(set(), {("a",)}), Attempt({("a",)}, set()), Attempt(set(), {("a",)}), Attempt({("a",)}, set())]
    assert ([1, 3, 0, 2], []) == (place(batch).kept, place(batch).lost)


def test_of_two_that_read_and_write_one_key_the_second_is_lost_to_the_first() -> None:
    batch = [Attempt({("a",)}, {("a",)}), Attempt({("a",)}, {("a",)})]
    lost = place(batch).lost
    assert [(1, ("a",), 0)] == [(row.index, row.key, row.rival) for row in lost]


def test_a_reader_goes_before_the_writer_that_came_first() -> None:
    batch = [Attempt({("b",)}, {("a",)}), Attempt({("a",)}, {("c",)})]
    assert [1, 0] == place(batch).kept


def test_a_scan_reads_keys_that_are_not_there_yet() -> None:
    batch = [Attempt({("x",)}, {("t", 1)}), Attempt(set(), {("x",)}, {("t",)})]
    placed = place(batch)
    assert [(1, ("t",))] == [(row.index, row.key) for row in placed.lost]
