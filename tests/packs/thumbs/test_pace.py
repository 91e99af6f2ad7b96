"""The first reasons come at once, the others at an even pace, and nobody waits for long."""

from __future__ import annotations

import pytest

from boxwork.clock import SECOND_NS
from boxwork.packs.thumbs.pace import WAIT_S_MAX, Pace


def test_the_first_are_told_at_once_and_the_others_one_after_another() -> None:
    pace = Pace(10.0, at_once=3)
    assert [0, 0, 0, 0.1, 0.2, 0.3] == pytest.approx([pace.wait_s(5) for _ in range(6)])
    assert pytest.approx(0.2) == pace.wait_s(5 + SECOND_NS // 5)


def test_after_a_pause_some_are_told_at_once_again() -> None:
    pace = Pace(10.0, at_once=3)
    for _ in range(6):
        pace.wait_s(0)
    assert [0, 0, 0, 0.1] == pytest.approx([pace.wait_s(SECOND_NS) for _ in range(4)])


def test_nobody_waits_for_longer_than_the_limit_and_it_is_over_soon() -> None:
    pace = Pace(10.0)
    assert WAIT_S_MAX == max(pace.wait_s(0) for _ in range(10_000))
    later = round((WAIT_S_MAX + 1) * SECOND_NS)
    assert 0 == pace.wait_s(later)


def test_without_a_limit_nobody_waits() -> None:
    pace = Pace(0.0)
    assert {0.0} == {pace.wait_s(0) for _ in range(1000)}
