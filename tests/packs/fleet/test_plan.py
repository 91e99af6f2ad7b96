"""Steps and gates of a rollout: the decision is a pure function, so every case is one line."""

from __future__ import annotations

import pytest

from boxwork.errors import BadInput
from boxwork.packs.fleet.plan import Advance, Finish, Latency, Pause, Plan, Revert, Seen, Wait, decide, order, plan_of


def test_an_exponential_rollout_doubles_and_ends_with_all() -> None:
    assert [50, 100, 200, 400, 800, 1600, 3200, 5000] == list(Plan(first=0.01, growth=2).steps(5000))


def test_a_linear_rollout_adds_the_same_share() -> None:
    assert [10, 35, 60, 85, 100] == list(Plan(kind="linear", first=0.1, growth=0.25).steps(100))


def test_a_small_fleet_still_goes_one_host_at_a_time() -> None:
    assert [1, 2, 3] == list(Plan(first=0.01, growth=2).steps(3))


def test_once_is_one_step() -> None:
    assert [5000] == list(Plan(kind="once").steps(5000))


def test_a_step_never_goes_back_and_never_beyond_the_cohort() -> None:
    for plan in (Plan(first=0.001, growth=1.1), Plan(kind="linear", first=0.5, growth=0.001), Plan(first=1.0)):
        for cohort in (1, 2, 7, 333):
            steps = list(plan.steps(cohort))
            assert steps == sorted(set(steps))
            assert cohort == steps[-1]


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "exponential", "growth": 1.0},
        {"kind": "linear", "growth": 2},
        {"kind": "sideways"},
        {"first": 0},
        {"first": 1.5},
        {"bake_s": -1},
        {"frist": 0.1},
        {"latency": {"series": "http", "p99_ms": 0}},
    ],
)
def test_a_plan_that_cannot_be_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        plan_of(values)


def test_the_order_is_another_one_for_each_rollout_and_the_same_each_time() -> None:
    hosts = [f"web{number}" for number in range(100)]
    assert order(1, hosts) == order(1, list(reversed(hosts)))
    assert order(1, hosts) != order(2, hosts)
    assert sorted(hosts) == sorted(order(1, hosts))


PLAN = Plan(bake_s=60, failures_max=1, silent_max=0.1, latency=Latency("http", p99_ms=100, window_s=30))


@pytest.mark.parametrize(
    ("moved", "baked_s", "seen", "move"),
    [
        (0, 0, Seen(0, 0), Advance),
        (50, 5, Seen(50, 40), Wait),  # ten have not answered yet
        (50, 5, Seen(50, 50, p99_ms=50), Wait),  # it bakes
        (50, 61, Seen(50, 50, p99_ms=50), Advance),
        (50, 61, Seen(50, 50, p99_ms=None), Wait),  # nothing is known of latency yet
        (50, 91, Seen(50, 50, p99_ms=None), Advance),  # and nothing will be: nobody uses it at night
        (50, 1, Seen(50, 10, p99_ms=101), Revert),  # slow is enough, whoever has answered
        (50, 1, Seen(50, 10, (("web7", "no"), ("web8", "no"))), Revert),
        (50, 61, Seen(50, 49, (("web7", "no"),), p99_ms=50), Advance),  # one is borne
        (50, 200, Seen(50, 44, silent=6, p99_ms=50), Pause),
        (50, 200, Seen(50, 46, silent=4, p99_ms=50), Advance),  # four machines are off
        (5000, 61, Seen(5000, 5000, p99_ms=50), Finish),
        (5000, 59, Seen(5000, 5000, p99_ms=50), Wait),  # the last step bakes, too
    ],
)
def test_the_next_move_follows_from_what_was_seen(moved: int, baked_s: float, seen: Seen, move: type) -> None:
    assert move is type(decide(PLAN, 5000, moved, baked_s, seen))


def test_a_reason_names_the_host_and_what_it_said() -> None:
    move = decide(Plan(), 100, 2, 1, Seen(2, 1, (("web7", "health: exit 3"),)))
    assert Revert("web7: health: exit 3") == move
