"""A tally that is kept up says what one says that counts anew."""

from __future__ import annotations

import random

from boxwork.packs.fleet.decisions import Assigned, Status
from boxwork.packs.fleet.protocol import Report
from boxwork.packs.fleet.tally import Said, Tally


def said(position: int, healthy: bool = True, failed: int = 0) -> Status:
    return Status(1, Report(host="a", position=position, healthy=healthy), failed, "too bad" if failed else "")


def test_a_host_is_well_unwell_or_silent_and_never_two_of_them() -> None:
    tally = Tally(3, {}, {})
    tally.look("a", Assigned(7, 2, rollout=3), None)
    assert Said(1, 0, (), 1) == tally.said()
    tally.look("a", Assigned(7, 2, rollout=3), said(1))
    assert Said(1, 0, (), 1) == tally.said()
    tally.look("a", Assigned(7, 2, rollout=3), said(2))
    assert Said(1, 1, (), 0) == tally.said()
    tally.look("a", Assigned(7, 2, rollout=3), said(2, healthy=False))
    assert Said(1, 0, (("a", "its health probe fails"),), 0) == tally.said()
    tally.look("a", Assigned(7, 2, rollout=3), said(1, failed=2))
    assert Said(1, 0, (("a", "too bad"),), 0) == tally.said()
    tally.look("a", Assigned(0, 3, rollout=3), said(1, failed=2))  # it left the fleet: nobody is asked
    assert Said(1, 1, (), 0) == tally.said()
    tally.look("a", Assigned(8, 4, rollout=4), said(4))
    assert Said(0, 0, (), 0) == tally.said()


def test_a_tally_that_is_kept_up_is_the_one_that_counts_anew() -> None:
    chance = random.Random(5)
    assigned: dict[str, Assigned] = {}
    status: dict[str, Status] = {}
    kept = Tally(1, assigned, status)
    for _ in range(3_000):
        host = f"web{chance.randrange(40)}"
        if chance.random() < 0.5:
            assigned[host] = Assigned(chance.randrange(3), chance.randrange(5), rollout=chance.randrange(3))
        else:
            status[host] = said(chance.randrange(5), chance.random() < 0.8, chance.randrange(5))
        kept.look(host, assigned.get(host), status.get(host))
    anew = Tally(1, assigned, status)
    assert (anew.well, anew.silent, anew.unwell) == (kept.well, kept.silent, kept.unwell)
    assert anew.said().moved == sum(one.rollout == 1 for one in assigned.values())
