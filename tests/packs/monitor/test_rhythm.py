"""When checks are due, in simulated time."""

from __future__ import annotations

from collections import Counter

from boxwork.packs.monitor.rhythm import SECOND_NS, Rhythm

TEN_S = 10 * SECOND_NS
NAMES = [f"check-{number}" for number in range(200)]


def simulate(rhythm: Rhythm, seconds: int, took_ns: dict[str, int], at_once: int) -> list[tuple[str, int, int]]:
    """Run it in steps of a millisecond; the answer is (name, meant, began)."""
    ran: list[tuple[str, int, int]] = []
    ends: list[tuple[int, str]] = []
    for now in range(0, seconds * SECOND_NS, SECOND_NS // 1000):
        for end, name in [one for one in ends if one[0] <= now]:
            ends.remove((end, name))
            rhythm.ended(name, now)
        for name, meant in rhythm.due(now, at_once - rhythm.running):
            ran.append((name, meant, now))
            ends.append((now + took_ns.get(name, SECOND_NS // 100), name))
    return ran


def test_two_hundred_checks_are_spread_over_their_interval_and_each_runs_on_its_time() -> None:
    rhythm = Rhythm()
    rhythm.take(dict.fromkeys(NAMES, TEN_S), 0)
    ran = simulate(rhythm, 60, {}, 64)
    counts = Counter(name for name, _, _ in ran)
    assert {5, 6} >= set(counts.values())
    assert 200 == len(counts)
    a_second = Counter(began // SECOND_NS for _, _, began in ran)
    assert max(a_second.values()) <= 40  # no thundering herd: 20 on average
    assert max(began - meant for _, meant, began in ran) <= SECOND_NS // 1000


def test_a_check_that_hangs_does_not_hold_up_others() -> None:
    rhythm = Rhythm()
    rhythm.take(dict.fromkeys(NAMES, TEN_S), 0)
    hanging = dict.fromkeys(NAMES[:60], 25 * SECOND_NS)
    ran = simulate(rhythm, 60, hanging, 64)
    late = [began - meant for name, meant, began in ran if name not in hanging]
    assert max(late) <= SECOND_NS // 10
    assert rhythm.missed >= 60


def test_no_check_runs_beside_itself_and_no_more_run_than_may() -> None:
    rhythm = Rhythm()
    rhythm.take(dict.fromkeys(NAMES[:10], SECOND_NS), 0)
    assert 3 == len(rhythm.due(TEN_S, 3))
    assert 3 == rhythm.running
    left = rhythm.due(TEN_S, 100)
    assert 7 == len(left)
    rhythm.hurry(left[0][0], TEN_S)
    assert [] == rhythm.due(2 * TEN_S, 100)


def test_a_state_that_is_not_certain_is_looked_at_sooner() -> None:
    rhythm = Rhythm()
    rhythm.take({"web": TEN_S}, 0)
    ((_, meant),) = rhythm.due(TEN_S, 1)
    rhythm.ended("web", meant, SECOND_NS)
    assert SECOND_NS == rhythm.waiting_ns(meant)


def test_an_edited_book_moves_only_what_it_changed() -> None:
    rhythm = Rhythm()
    rhythm.take({"a": TEN_S, "b": TEN_S}, 0)
    before = rhythm.waiting_ns(0)
    rhythm.take({"a": TEN_S, "b": TEN_S, "c": TEN_S}, SECOND_NS // 1000)
    rhythm.take({"a": TEN_S, "b": TEN_S}, SECOND_NS // 1000)
    assert before == rhythm.waiting_ns(0)
    rhythm.take({}, 0)
    assert None is rhythm.waiting_ns(0)
    assert [] == rhythm.due(10 * TEN_S, 10)
