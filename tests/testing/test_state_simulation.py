"""The node in the simulation: nothing acknowledged is lost, whatever is switched off, and it would be noticed."""

from __future__ import annotations

from typing import Any

import pytest

from boxwork.testing.checkers import Operation, check_lists
from boxwork.testing.simulation.bugs import BUGS, Bug, planted
from boxwork.testing.simulation.disk import SECTOR, SimulatedDisk, SimulatedStore
from boxwork.testing.simulation.loop import Loop
from boxwork.testing.simulation.node import Node
from boxwork.testing.simulation.run import run
from boxwork.testing.workloads import Likes, Lists, all_workloads, zipf

# Seeds of one run of the tests.  Unit: simulations.  Reason: about 30 ms each.
SEEDS = 240
# A planted bug must be found within so many seeds.  Unit: simulations.  Reason: the shyest needed 20 of them.
SEEDS_PER_BUG = 120


@pytest.mark.parametrize("part", range(4))
def test_everything_holds_in_every_seed(part: int) -> None:
    crashes = committed = reruns = 0
    for seed in range(part * SEEDS // 4, (part + 1) * SEEDS // 4):
        outcome = run(seed)
        assert [] == outcome.problems, f"seed {seed}, workload {outcome.workload}"
        crashes += outcome.crashes
        committed += outcome.committed
        reruns += outcome.reruns
    # A simulation in which nothing happens proves nothing.
    assert crashes > SEEDS // 4
    assert committed > 20 * SEEDS // 4
    assert reruns > 0


def test_the_same_seed_is_the_same_run() -> None:
    for seed in (1, 7, 8):
        assert run(seed) == run(seed)
    assert run(1).digest != run(11).digest


def test_there_are_enough_planted_bugs_and_each_has_a_name() -> None:
    assert len(BUGS) >= 15
    assert len(BUGS) == len({bug.name for bug in BUGS})


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_planted_bug_is_found(bug: Bug) -> None:
    with planted(bug):
        for seed in range(SEEDS_PER_BUG):
            if run(seed).problems:
                return
    pytest.fail(f"nobody noticed in {SEEDS_PER_BUG} seeds: {bug.name}")


def test_a_crash_keeps_what_was_synced_and_only_that_for_sure() -> None:
    loop = Loop(5)
    outcomes = set()
    for _ in range(60):
        disk = SimulatedDisk(loop.random)
        room = loop.random.choice((0, 50, 500))
        disk.append("a", 0, [b"s" * 100], room)
        disk.sync("a")
        disk.append("a", 100, [b"u" * 300])
        disk.crash()
        data = disk.read("a")
        assert data.startswith(b"s" * 100)
        assert len(data) >= 100 + room
        assert set(data[100:400]) <= {ord("u"), 0}
        assert not any(data[400:])
        outcomes.add((room < 300, len(data) >= 400, b"\0" in data[:400], data.endswith(b"u")))
    assert len(outcomes) >= 6
    assert 512 % SECTOR == 0


def test_a_flipped_bit_is_not_started_on() -> None:
    from boxwork.errors import LogCorrupt

    loop = Loop(1)
    disk, store = SimulatedDisk(loop.random), SimulatedStore()
    node = Node(loop, disk, store)
    box, row = next(Likes(5).calls(loop.random))
    node.hand_in(node.job(box, row, "serial"))
    loop.run(10**9)
    assert 1 == node.facts.version
    disk.flip(disk.names()[0], 120, 3)
    with pytest.raises(LogCorrupt, match="entry 1 is damaged"):
        Node(loop, disk, store)


@pytest.mark.parametrize("workload", all_workloads(), ids=lambda workload: workload.name)
def test_every_workload_holds_without_faults(workload: Likes) -> None:
    outcome = run(3, workload, faults=False)
    assert [] == outcome.problems
    assert outcome.crashes == 0


# --- the black-box checker, on histories made by hand ---------------------------------------------------------


def history(*rows: Any) -> list[Operation]:
    return [
        Operation("append_and_read", (appends, tuple(reads)), start, end, tuple(reads.items()))
        for start, end, appends, reads in rows
    ]


def test_a_serial_history_passes() -> None:
    assert [] == check_lists(history((1, 2, ((0, 1),), {}), (3, 4, ((0, 2),), {0: (1,)}), (5, 6, (), {0: (1, 2)})))


@pytest.mark.parametrize(
    ("what", "rows"),
    [
        # write skew, and a stale read
        ("a cycle", ((1, 9, ((0, 1),), {1: ()}), (1, 9, ((1, 2),), {0: ()}), (10, 11, (), {0: (1,), 1: (2,)}))),
        ("a cycle", ((1, 2, ((0, 1),), {}), (3, 4, (), {0: ()}), (5, 6, (), {0: (1,)}))),
        ("no prefix", ((1, 9, (), {0: (1, 2)}), (1, 9, (), {0: (2,)}), (1, 9, ((0, 1), (0, 2)), {}))),
        ("twice", ((1, 2, ((0, 1),), {}), (3, 4, (), {0: (1, 1)}))),
        ("nobody appended", ((1, 2, (), {0: (7,)}),)),
    ],
)
def test_anomalies_are_named(what: str, rows: tuple[Any, ...]) -> None:
    assert any(what in problem for problem in check_lists(history(*rows)))


def test_a_lost_append_is_named() -> None:
    assert any("is lost" in problem for problem in check_lists(history((1, 2, ((0, 1),), {})), final={0: ()}))


def test_zipf_prefers_the_first() -> None:
    chance = Loop(1).random
    drawn = [zipf(100, 1.0)(chance) for _ in range(2000)]
    assert drawn.count(0) > 4 * drawn.count(9) > 0
    assert Lists().name == "lists"
