"""Which failures are one incident, on a node whose clock the test turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from boxwork import errors

ONE = """
[defaults]
attempts = 2
[checks.web]
http = "http://127.0.0.1:1/"
[tickets]
gather_s = 10
calm_s = 20
reopen_s = 300
[notify.hook]
url = "http://127.0.0.1:1/hook"
"""
HOST = (
    """
[defaults]
attempts = 1
[checks.host]
tcp = "127.0.0.1:1"
[tickets]
gather_s = 15
calm_s = 5
[notify.hook]
url = "http://127.0.0.1:1/hook"
"""
    + "".join(f'[checks.service-{n}]\ntcp = "127.0.0.1:1"\nneeds = ["host"]\n' for n in range(50))
)  # fmt: skip
MANY = """
[defaults]
attempts = 1
[tickets]
storm_checks = 4
storm_s = 60
gather_s = 15
calm_s = 5
[notify.hook]
url = "http://127.0.0.1:1/hook"
""" + "".join(f'[checks.c-{n}]\ntcp = "127.0.0.1:1"\n' for n in range(20))


Make = Callable[[str], Any]


def test_a_failure_is_certain_after_its_attempts_and_then_opens_one_incident(make_stage: Make) -> None:
    stage = make_stage(ONE)
    stage.say(web="critical")
    assert [] == stage.open_ones
    stage.say(web="critical")
    (one,) = stage.open_ones
    assert ("web failed", "open", ["web"]) == (one.title, one.state, one.bad)
    for _ in range(20):
        stage.say(web="critical")
    assert [one.number] == [other.number for other in stage.open_ones]


def test_it_is_over_when_it_was_well_for_the_calm_time_and_each_end_is_told_once(make_stage: Make) -> None:
    stage = make_stage(ONE)
    stage.say(web="critical")
    stage.say(web="critical")
    assert [] == stage.notices
    stage.wait(10)
    assert ["opened 1"] == stage.notices
    stage.say(web="ok")
    stage.wait(19)
    assert "open" == stage.incident(1).state
    stage.wait(1)
    assert "resolved" == stage.incident(1).state
    assert ["opened 1", "resolved 1"] == stage.notices
    stage.wait(1000)
    assert ["opened 1", "resolved 1"] == stage.notices


def test_what_is_over_before_it_was_told_is_not_told_at_all(make_stage: Make) -> None:
    stage = make_stage(ONE.replace("gather_s = 10", "gather_s = 60"))
    stage.say(web="critical")
    stage.say(web="critical")
    stage.say(web="ok")
    stage.wait(25)
    assert "resolved" == stage.incident(1).state
    stage.wait(1000)
    assert [] == stage.notices


@pytest.mark.parametrize("before", [0, 3, 10])  # with ten before it, it looked like a storm until the cause was found
def test_fifty_services_of_a_dead_host_are_one_incident_though_they_fail_first(make_stage: Make, before: int) -> None:
    stage = make_stage(HOST)
    names = [f"service_{n}" for n in range(50)]
    for name in names[:before]:
        stage.say(**{name: "critical"})
    stage.say(host="critical")
    for name in names[before:]:
        stage.say(**{name: "critical"})
    (one,) = stage.open_ones
    assert ("host", 51) == (one.key, len(one.members))
    assert "host failed and 50 that need it" == one.title
    assert "host" == one.members["service-40"].because
    assert ["opened 1"] == stage.notices
    stage.say(host="ok", **dict.fromkeys(names, "ok"))
    stage.wait(6)
    assert [] == stage.open_ones
    assert ["opened 1", "resolved 1"] == stage.notices


def test_what_was_merged_says_into_which(make_stage: Make) -> None:
    stage = make_stage(HOST)
    stage.say(service_1="critical")
    stage.say(service_2="critical")
    assert 2 == len(stage.open_ones)
    stage.say(host="critical")
    assert [1] == [one.number for one in stage.open_ones]
    gone = stage.incident(2)
    assert ("merged", 1) == (gone.state, gone.into)
    with pytest.raises(errors.Refused, match="incident 2 is part of incident 1"):
        stage.monitor.acknowledge(2, who="ada", note="")


def test_failures_within_a_window_are_one_storm_with_its_members(make_stage: Make) -> None:
    stage = make_stage(MANY)
    for n in range(3):
        stage.say(**{f"c_{n}": "critical"})
    assert 3 == len(stage.open_ones)
    for n in range(3, 20):
        stage.say(**{f"c_{n}": "critical"})
    (storm,) = stage.open_ones
    assert ("storm", 20, 1) == (storm.kind, len(storm.members), storm.number)
    assert ["opened 1"] == stage.notices


def test_failures_that_lie_apart_are_incidents_of_their_own(make_stage: Make) -> None:
    stage = make_stage(MANY)
    for n in range(5):
        stage.say(**{f"c_{n}": "critical"})
        stage.wait(61)
    assert ["failure"] * 5 == [one.kind for one in stage.open_ones]


# With the second calm time each single recovery is an end, until it is known to flap, which six changes show.
@pytest.mark.parametrize(("calm_s", "told_at_most"), [(20, 1), (0.5, 6)])
def test_a_flapping_check_is_one_ticket_that_says_so(make_stage: Make, calm_s: float, told_at_most: int) -> None:
    stage = make_stage(ONE.replace("attempts = 2", "attempts = 1").replace("calm_s = 20", f"calm_s = {calm_s}"))
    for _ in range(30):
        stage.say(web="critical")
        stage.wait(9)
        stage.say(web="ok")
        stage.wait(9)
    (one,) = stage.open_ones
    assert (1, "flapping", "web is flapping") == (one.number, one.kind, one.title)
    assert 1 == stage.monitor.mirror.last
    told = stage.notices
    assert len(told) <= told_at_most, told
    for _ in range(25):
        stage.say(web="ok")
    stage.wait(20)
    assert "resolved" == stage.incident(1).state
    assert "resolved 1" == stage.notices[-1]
    assert len(stage.notices) <= told_at_most + 1


def test_what_fails_again_soon_after_opens_the_same_incident(make_stage: Make) -> None:
    stage = make_stage(ONE)
    stage.say(web="critical")
    stage.say(web="critical")
    stage.wait(10)
    stage.say(web="ok")
    stage.wait(20)
    assert "resolved" == stage.incident(1).state
    stage.say(web="critical")
    stage.say(web="critical")
    assert ("open", 1) == (stage.incident(1).state, stage.incident(1).reopened)
    stage.wait(10)
    assert ["opened 1", "resolved 1", "reopened 1"] == stage.notices
    stage.say(web="ok")
    stage.wait(20)
    stage.wait(301)
    stage.say(web="critical")
    stage.say(web="critical")
    assert 2 == stage.open_ones[0].number


def test_a_maintenance_window_opens_nothing_and_what_still_fails_after_it_does(make_stage: Make) -> None:
    stage = make_stage(HOST)
    stage.monitor.silence("hos*", minutes=10, who="ada", why="new memory")
    stage.say(host="critical", service_1="critical")
    assert [] == stage.open_ones
    stage.wait(10 * 60)
    (one,) = stage.open_ones
    assert {"host", "service-1"} == set(one.members)


def test_a_window_over_an_open_incident_lets_it_end(make_stage: Make) -> None:
    stage = make_stage(ONE)
    stage.say(web="critical")
    stage.say(web="critical")
    window = stage.monitor.silence("web", minutes=10, who="ada", why="I am at it")
    stage.wait(1)
    stage.wait(20)
    assert "resolved" == stage.incident(1).state
    stage.monitor.unsilence(window.id, who="ada")
    stage.wait(1)
    assert "open" == stage.incident(1).state
    with pytest.raises(errors.Refused, match="is over"):
        stage.monitor.unsilence(window.id, who="ada")


def test_an_acknowledged_incident_names_who_has_it_and_ends_by_itself(make_stage: Make) -> None:
    stage = make_stage(ONE)
    stage.say(web="critical")
    stage.say(web="critical")
    stage.monitor.acknowledge(1, who="ada", note="looking")
    with pytest.raises(errors.Refused, match="acknowledged by ada already"):
        stage.monitor.acknowledge(1, who="bob", note="me too")
    assert ("acknowledged", "ada", "looking") == (
        stage.incident(1).state,
        stage.incident(1).who,
        stage.incident(1).note,
    )
    stage.say(web="ok")
    stage.wait(20)
    assert "resolved" == stage.incident(1).state
    with pytest.raises(errors.Refused, match="resolved already"):
        stage.monitor.acknowledge(1, who="bob", note="")


def test_what_a_person_closed_stays_closed_until_it_was_well_once(make_stage: Make) -> None:
    stage = make_stage(ONE)
    stage.say(web="critical")
    stage.say(web="critical")
    stage.wait(10)
    stage.monitor.resolve(1, who="ada", note="known")
    stage.wait(1)
    assert ["opened 1", "resolved 1"] == stage.notices
    for _ in range(5):
        stage.say(web="critical")
    assert [] == stage.open_ones
    stage.say(web="ok")
    stage.say(web="critical")
    stage.say(web="critical")
    assert [1] == [one.number for one in stage.open_ones]


def test_a_check_that_leaves_the_book_leaves_its_incident(make_stage: Make) -> None:
    stage = make_stage(MANY)
    stage.say(c_1="critical", c_2="critical")
    stage.write(MANY.replace('[checks.c-1]\ntcp = "127.0.0.1:1"\n', ""))
    stage.wait(1)
    assert ["c-2"] == [name for one in stage.open_ones for name in one.bad]
    assert "it is no longer in the book" in [entry.text for entry in stage.incident(1).entries]


def test_a_restart_raises_nothing_and_forgets_nothing(make_stage: Make) -> None:
    stage = make_stage(ONE)
    stage.say(web="critical")
    stage.say(web="critical")
    stage.monitor.acknowledge(1, who="ada", note="looking")
    stage.reopen()
    assert [(1, "acknowledged")] == [(one.number, one.state) for one in stage.open_ones]
    stage.say(web="critical")
    assert 1 == len(stage.open_ones)
    entry = stage.monitor.roster.entries["web"]
    assert [2, 2, 2] == list(entry.window)  # of before, from the observations


def test_a_warning_opens_nothing_unless_the_book_says_so(make_stage: Make) -> None:
    stage = make_stage(ONE)
    for _ in range(5):
        stage.say(web="warning")
    assert [] == stage.open_ones
    stage.write(ONE.replace("[checks.web]", '[checks.web]\nticket_on = ["warning"]'))
    stage.say(web="warning")
    assert 1 == len(stage.open_ones)
