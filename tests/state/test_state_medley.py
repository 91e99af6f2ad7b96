"""Calls of several transactions as one job: nobody can tell it from one job for each."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import pytest

from boxwork.errors import Refused
from boxwork.state.batch import Batch
from boxwork.state.job import Job
from boxwork.state.medley import Medley
from boxwork.state.sequencer import Sequencer
from boxwork.state.snapshot import Facts
from boxwork.state.tx import Tx
from boxwork.testing.clock import FakeClock
from boxwork.testing.workloads import Call, SmallBank, TpccLite, Workload
from boxwork.transactions import transaction


class Seedless(Sequencer):
    """Every batch draws from one seed, so that two machines draw the same."""

    def new_seed(self) -> bytes:
        return b"0123456789abcdef"


@transaction
def forget(tx: Tx, name: str) -> None:
    tx.delete((name,))
    tx.require(name != "b", "not b")


@transaction
def keep(tx: Tx, name: str) -> str:
    tx.put((name,), tx.uid())
    return name


class Names:
    """Deletes and refuses after it wrote, so that a run of many becomes unsure."""

    name = "names"
    boxes: ClassVar = {box.name: box for box in (forget, keep)}

    def setup(self) -> list[Call]:
        return []

    def calls(self, chance: Any) -> Any:
        while True:
            yield (forget if chance.random() < 0.3 else keep), ("abc"[chance.randrange(0, 3)],)

    def check(self, facts: Any, committed: int) -> list[str]:
        return []


def nobody(job: Job) -> None:
    pass


def medley(calls: list[Call]) -> Medley:
    return Medley([box for box, _ in calls], [(box.function, row) for box, row in calls], nobody)


def machine_of(workload: Workload, **options: Any) -> Sequencer:
    machine = Seedless(Facts(), FakeClock(), **options)
    if setup := workload.setup():
        through(machine, [Job(box, [row], "serial", nobody) for box, row in setup])
    return machine


def through(machine: Sequencer, jobs: list[Job]) -> Batch:
    batch = machine.cut(jobs)
    assert batch is not None
    machine.seal([batch])
    machine.settle(batch)
    return batch


def told(job: Job) -> list[Any]:
    return [str(one) if isinstance(one, BaseException) else one for one in job.answers]


@pytest.mark.parametrize("tracks", [False, True])
@pytest.mark.parametrize("size", [3, 40])
@pytest.mark.parametrize("workload", [SmallBank(50, cents=60), TpccLite(1, items=100), Names()])
def test_a_medley_leaves_the_entry_that_its_calls_leave(workload: Any, size: int, tracks: bool) -> None:
    together, apart = machine_of(workload), machine_of(workload)
    together.tracks = apart.tracks = tracks
    stream = workload.calls(random.Random(7))
    refused = 0
    for _ in range(20):
        calls = [next(stream) for _ in range(size)]
        one = medley(calls)
        each = [Job(box, [row], "serial", nobody) for box, row in calls]
        batch, others = through(together, [one]), through(apart, each)
        assert batch.payload == others.payload
        assert told(one) == [answer for job in each for answer in told(job)]
        assert sorted(one.errors) == [place for place, job in enumerate(each) if job.errors]
        assert batch.authors == others.authors
        good = [place for place in range(size) if place not in one.errors]
        assert [one.receipt(place) for place in good] == [each[place].receipt() for place in good]
        refused += one.refusals
    assert together.facts.data == apart.facts.data
    assert refused or workload.name == "tpcc-lite"


def test_what_a_reservation_forbids_waits_with_all_that_follows_it() -> None:
    machine = machine_of(Names())
    asking = Job(keep, [("c",)], "serial", nobody)
    asking.keys = frozenset({("c",)})
    machine.cut([asking])
    one = medley([(keep, ("a",)), (forget, ("b",)), (keep, ("c",)), (forget, ("a",))])
    through(machine, [one])
    assert ["a", "not b"] == [str(answer) for answer in one.answers]
    assert isinstance(one.errors[1], Refused)
    assert 1 == machine.deferred
    machine.release(asking.reservation)
    batch = through(machine, [])
    (rest,) = batch.jobs
    assert (2, ["c", None]) == (rest.offset, rest.answers)
    assert {("c",)} == set(machine.facts.data)
    assert {"keep", "forget"} == set(rest.transactions())


def test_the_rest_of_a_rest_knows_its_place() -> None:
    one = medley([(keep, ("a",)), (forget, ("b",)), (keep, ("c",)), (forget, ("d",))])
    last = one.rest(1).rest(2)
    assert (3, [("forget", [("d",)])]) == (last.offset, list(last.runs(None)))
