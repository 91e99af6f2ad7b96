"""Soft and hard states and flapping, without a clock or a node."""

from __future__ import annotations

import pytest

from boxwork.packs.monitor.verdict import WINDOW, Status, flapping_share, step


def follow(states: list[int], attempts: int = 3) -> list[Status]:
    window: list[int] = []
    found, status = [], Status()
    for number, state in enumerate(states, 1):
        window.append(state)
        status = step(status, window[-WINDOW:], state, f"text {number}", number, attempts)
        found.append(status)
    return found


def test_a_bad_state_is_hard_after_its_attempts() -> None:
    one, two, three = follow([2, 2, 2])
    assert [(2, 0, 1), (2, 0, 2), (2, 2, 3)] == [(s.state, s.hard, s.attempt) for s in (one, two, three)]
    assert [True, True, False] == [s.is_soft for s in (one, two, three)]
    assert [0, 0, 1] == [s.episode for s in (one, two, three)]


def test_one_good_result_forgives_soft_ones() -> None:
    assert 0 == follow([2, 2, 0, 2, 2])[-1].hard


def test_a_hard_state_changes_its_kind_at_once_and_is_well_at_once() -> None:
    found = follow([2, 2, 2, 1, 2, 0])
    assert [2, 1, 2, 0] == [s.hard for s in found[2:]]
    assert 1 == found[-1].episode


def test_it_remembers_since_when() -> None:
    found = follow([0, 0, 2, 2, 2, 2])
    assert (3, 5) == (found[-1].since_ns, found[-1].hard_since_ns)
    assert "text 5" == found[-1].text  # the words it became certain with


# Nagios: 20 places of change, weighed from 0.8 for the oldest to 1.2 for the newest; the sum of all is 20.
@pytest.mark.parametrize(
    ("states", "share"),
    [
        ([0] * 21, 0.0),
        ([0, 2] * 10 + [0], 1.0),
        ([0] * 20 + [2], 1.2 / 20),
        ([0] + [2] * 20, 0.8 / 20),
        ([0, 2], 1.2 / 20),
        ([], 0.0),
        ([2], 0.0),
    ],
)
def test_a_change_counts_more_the_newer_it_is(states: list[int], share: float) -> None:
    assert pytest.approx(share) == flapping_share(states)


def test_flapping_begins_above_30_percent_and_ends_at_20() -> None:
    found = follow([0, 2] * 10 + [0] * 40)
    begins = next(place for place, one in enumerate(found) if one.flapping)
    assert flapping_share([0, 2] * 3) >= 0.28
    assert 6 == begins
    ends = next(place for place, one in enumerate(found) if place > begins and not one.flapping)
    assert flapping_share(([0, 2] * 10 + [0] * 40)[: ends + 1][-WINDOW:]) <= 0.20
    assert flapping_share(([0, 2] * 10 + [0] * 40)[:ends][-WINDOW:]) > 0.20
    assert not any(one.flapping for one in found[ends:])
