"""People are counted, not connections."""

from __future__ import annotations

from boxwork.live.presence import Presence


def test_two_tabs_of_one_person_are_one() -> None:
    here = Presence(10)
    here.arrive("ada")
    here.arrive("ada")
    here.arrive("bob")
    assert 2 == here.count(0)
    here.leave("ada", 0)
    assert 2 == here.count(1000)


def test_one_who_was_cut_off_counts_a_little_longer() -> None:
    here = Presence(10)
    here.arrive("ada")
    here.leave("ada", 5)
    assert not here.connected
    assert 1 == here.count(14)
    assert 15 == here.next_ns()
    assert 0 == here.count(15)
    assert here.next_ns() is None


def test_one_who_comes_back_in_time_never_left() -> None:
    here = Presence(10)
    here.arrive("ada")
    here.leave("ada", 5)
    here.arrive("ada")
    assert 1 == here.count(1000)


def test_leaving_without_having_come_is_nothing() -> None:
    here = Presence(10)
    here.leave("ada", 0)
    assert 0 == here.count(0)
