"""Values that a person sets over the source's, and rollouts that go on beside each other."""

from __future__ import annotations

from typing import Any

import pytest

from boxwork import errors
from boxwork.packs.fleet.outlook import Outlook
from boxwork.packs.fleet.overrides import read_scope, read_values, set_over, unset_over
from boxwork.packs.fleet.plan import Plan
from boxwork.packs.fleet.table import BadTable


def rows(stage: Any) -> dict[str, Any]:
    fleet = stage.fleet
    found: dict[str, Any] = fleet.table(fleet.version(fleet.mirror.latest)).rows
    return found


def test_an_override_is_a_version_with_author_and_reason_and_changes_one_document(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    before = stage.digests()
    version = set_over(stage.fleet, "web1", {"workers": "9"}, who="bob", why="it has more memory")
    assert ("bob", "web1: workers 9: it has more memory") == (version.author, version.reason)
    stage.roll_out(version.number)
    after = stage.digests()
    assert {"web1"} == {host for host in before if before[host] != after[host]}
    assert 9 == rows(stage)["web1"]["workers"]
    [told] = Outlook(stage.fleet).host("web1")["overrides"]
    assert ("web1", "workers", "9", "bob", "it has more memory") == tuple(
        told[name] for name in ("scope", "column", "value", "who", "why")
    )
    assert [] == Outlook(stage.fleet).host("web2")["overrides"]


def test_an_override_outlives_edits_of_the_source_and_restarts(stage: Any) -> None:
    stage.publish()
    set_over(stage.fleet, "web1", {"workers": "9"}, who="bob", why="more memory")
    stage.rows["web1"] |= {"workers": "5", "color": "blue"}
    stage.save()
    stage.reopen()
    stage.fleet.follow_source()
    assert {"workers": 9, "color": "blue"} == rows(stage)["web1"]
    assert stage.fleet.follow_source() is None


def test_a_hosts_own_override_goes_before_its_labels_and_a_later_label_before_an_earlier(stage: Any) -> None:
    stage.rows["web2"]["color"] = "blue"
    stage.save()
    stage.publish()
    set_over(stage.fleet, "web1", {"workers": "9"}, who="bob", why="own")
    set_over(stage.fleet, "color=red", {"workers": "7"}, who="bob", why="label")
    set_over(stage.fleet, "workers=4", {"workers": "8"}, who="bob", why="a later label")
    assert {"web0": 8, "web1": 9, "web2": 8} == {host: row["workers"] for host, row in rows(stage).items()}


def test_what_is_unset_is_as_the_source_says(stage: Any) -> None:
    stage.publish()
    before = rows(stage)
    set_over(stage.fleet, "web1", {"workers": "9", "color": "blue"}, who="bob", why="a try")
    unset_over(stage.fleet, "web1", ["workers"], who="bob", why="was wrong")
    assert {"workers": 4, "color": "blue"} == rows(stage)["web1"]
    version = unset_over(stage.fleet, "web1", [], who="bob", why="all was wrong")
    assert before == rows(stage)
    assert "web1: everything as the source says: all was wrong" == version.reason
    with pytest.raises(errors.Refused, match="web1 has no override of workers"):
        unset_over(stage.fleet, "web1", ["workers"], who="bob", why="again")


def test_an_override_that_the_schema_refuses_is_not_set(stage: Any) -> None:
    latest = stage.publish().number
    with pytest.raises(BadTable, match=r"workers set by bob.*column workers: '99' is not allowed"):
        set_over(stage.fleet, "web1", {"workers": "99"}, who="bob", why="too many")
    with pytest.raises(BadTable, match="no such column"):
        set_over(stage.fleet, "web1", {"colour": "red"}, who="bob", why="a typing mistake")
    with pytest.raises(errors.NotFound, match="no row of the source is web9"):
        set_over(stage.fleet, "web9", {"workers": "5"}, who="bob", why="not there")
    with pytest.raises(errors.BadInput, match="reason"):
        set_over(stage.fleet, "web1", {"workers": "5"}, who="bob", why=" ")
    assert (latest, {}) == (stage.fleet.mirror.latest, stage.fleet.mirror.overrides)
    assert "" == stage.fleet.facade.health.problem


@pytest.mark.parametrize("text", ["", "Web1", "a b", "=x", "site=", "1x=2", "../x"])
def test_a_scope_is_a_host_or_a_label(text: str) -> None:
    with pytest.raises(errors.BadInput, match="neither a host"):
        read_scope(text)


@pytest.mark.parametrize("pairs", [[], ["workers"], ["host=web2"], ["a b=1"], ["x=" + "y" * 2000]])
def test_an_override_is_a_column_with_a_value(pairs: list[str]) -> None:
    with pytest.raises(errors.BadInput):
        read_values(pairs)


def test_two_rollouts_go_on_beside_each_other_if_no_host_is_in_both(stage: Any) -> None:
    fleet = stage.fleet
    stage.rows["web2"]["color"] = "blue"
    stage.save()
    stage.roll_out(stage.publish().number)
    stage.write("bin/health", "#!/bin/sh\nexit 0 # new\n")
    number = stage.publish().number
    blue = fleet.start(number, Plan(bake_s=5), who="ada", why="the blue one", only="color=blue")
    red = fleet.start(number, Plan(bake_s=5), who="bob", why="the red ones", only="color=red")
    assert (1, 2) == (blue.cohort, red.cohort)
    assert [blue.number, red.number] == [one.number for one in fleet.mirror.going()]
    with pytest.raises(errors.Refused, match=r"rollout 2 is not over and has 1 of these 3 hosts \(web2\)"):
        fleet.start(number, Plan(), who="eve", why="everything")
    for _ in range(12):
        stage.conductor.tick()
        stage.answer()
        stage.advance(3)
    assert ["done", "done"] == [stage.rollout(one.number).state for one in (blue, red)]
    assert {number} == {one.release for one in fleet.mirror.assigned.values()}


def test_a_bad_rollout_takes_back_its_own_hosts_and_leaves_the_others(stage: Any) -> None:
    fleet = stage.fleet
    stage.rows["web2"]["color"] = "blue"
    stage.save()
    stage.roll_out(stage.publish().number)
    stage.write("bin/health", "#!/bin/sh\nexit 1\n")
    number = stage.publish().number
    blue = fleet.start(number, Plan(bake_s=0), who="ada", why="x", only="web2")
    red = fleet.start(number, Plan(kind="once", bake_s=0), who="bob", why="y", only="color=red")
    stage.conductor.tick()
    stage.answer(lambda host, desired: "unwell" if host == "web2" else "")
    stage.conductor.tick()
    stage.answer()
    assert ("reverted", "done") == (stage.rollout(blue.number).state, stage.rollout(red.number).state)
    assert {"web0": number, "web1": number, "web2": 1} == {
        host: one.release for host, one in fleet.mirror.assigned.items()
    }
