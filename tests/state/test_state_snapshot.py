"""Facts at versions."""

from __future__ import annotations

import random
from typing import Any

import pytest

from boxwork.errors import BadInput, InvariantBroken
from boxwork.state.snapshot import Facts
from boxwork.state.values import DELETED


def test_a_snapshot_sees_its_version_for_ever() -> None:
    """Random changes under random snapshots, against copies."""
    chance = random.Random(7)
    facts, model = Facts(), {}
    held: list[tuple[Any, dict[Any, Any]]] = []
    for version in range(1, 400):
        writes = {("k", chance.randrange(30)): chance.choice([version, version, DELETED]) for _ in range(3)}
        facts.apply(version, writes, b"")
        for key, value in writes.items():
            if value is DELETED:
                model.pop(key, None)
            else:
                model[key] = value
        if chance.random() < 0.3:
            held.append((facts.snapshot(), dict(model)))
        if held and chance.random() < 0.25:
            held.pop(chance.randrange(len(held)))[0].close()
        for snapshot, expected in held:
            assert sorted(expected.items()) == snapshot.scan(("k",))
            key = ("k", chance.randrange(30))
            assert expected.get(key) == snapshot.get(key)
    for snapshot, _ in held:
        snapshot.close()
    assert 0 == facts.numbers()["values_kept"]


def test_who_holds_a_snapshot_learns_what_changed_since() -> None:
    facts = Facts()
    facts.apply(1, {("a", 1): 1, ("b", 1): 1}, b"")
    with facts.snapshot() as snapshot:
        facts.apply(2, {("a", 1): 2}, b"")
        assert (2, 0) == (facts.changed_since(snapshot.version, ("a", 1)), facts.changed_since(1, ("b", 1)))
        assert (2, ("a", 1)) == facts.prefix_changed_since(1, ("a",))
        assert facts.prefix_changed_since(1, ("b",)) is None


def test_scans_are_in_the_order_of_keys_and_within_bounds() -> None:
    facts = Facts()
    facts.apply(1, {("t", number): number for number in (10, 2, 33, -4)} | {("u", 1): 0}, b"")
    with facts.snapshot() as snapshot:
        assert [-4, 2, 10, 33] == [value for _, value in snapshot.scan(("t",))]
        assert [33, 10] == [value for _, value in snapshot.scan(("t",), reverse=True, limit=2)]
        assert [2, 10] == [value for _, value in snapshot.scan(("t",), start=("t", 0), end=("t", 33))]
        assert 5 == len(snapshot.scan())


def test_a_closed_snapshot_says_so() -> None:
    snapshot = Facts().snapshot()
    snapshot.close()
    snapshot.close()
    with pytest.raises(BadInput, match="is closed"):
        snapshot.get(("a",))


def test_versions_follow_each_other() -> None:
    with pytest.raises(InvariantBroken):
        Facts().apply(2, {}, b"")
