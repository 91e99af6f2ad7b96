"""The state machine, driven by hand."""

from __future__ import annotations

from typing import Any

from boxwork.errors import StorageFull
from boxwork.state.answers import Answers
from boxwork.state.batch import Answer, Batch
from boxwork.state.job import Job
from boxwork.state.receipts import Receipt
from boxwork.state.reservations import Reservations
from boxwork.state.sequencer import Sequencer
from boxwork.state.snapshot import Facts
from boxwork.state.tx import SnapshotTx, Tx
from boxwork.testing.clock import FakeClock
from boxwork.transactions import Transaction, transaction


@transaction
def add(tx: Tx, name: str, amount: int) -> None:
    tx.add((name,), amount, min=0)


@transaction
def read(tx: Tx, name: str) -> Any:
    return tx.get((name,))


@transaction
def increase(tx: Tx, name: str) -> int:
    tx.put((name,), tx.get((name,), 0) + 1)
    return tx.get((name,))  # type: ignore[no-any-return]


class Bench:
    def __init__(self) -> None:
        self.machine = Sequencer(Facts(), FakeClock())

    def job(self, box: Transaction[..., Any], *row: Any, lane: str = "serial", **more: Any) -> Job:
        return Job(box, [row], lane, lambda job: None, **more)

    def cut(self, *jobs: Job) -> Batch:
        batch = self.machine.cut(list(jobs))
        assert batch is not None
        return batch

    def settle(self, *batches: Batch) -> list[Job]:
        self.machine.seal(batches)
        return [job for batch in batches for job in self.machine.settle(batch)]

    def run(self, *jobs: Job) -> list[Job]:
        return self.settle(self.cut(*jobs))

    def attempt(self, box: Transaction[..., Any], *row: Any, lane: str = "snapshot", **more: Any) -> Job:
        """An attempt on the newest durable version, as a slow function makes it."""
        snapshot = self.machine.facts.snapshot()
        tx = SnapshotTx(snapshot, snapshot.version, 1, b"own", 0)
        job = self.job(box, *row, lane=lane, tx=tx, **more)
        job.answers = [box.function(tx, *row)]
        return job


def test_a_batch_stands_on_those_in_flight_and_shows_nothing_before_it_is_durable() -> None:
    bench = Bench()
    first, second = bench.job(increase, "a"), bench.job(increase, "a")
    one = bench.cut(first)
    two = bench.cut(second)
    assert 0 == len(bench.machine.facts)
    bench.settle(one, two)
    assert [1, 2] == [first.answer(), second.answer()]
    assert 2 == bench.machine.facts.stored(("a",))


def test_receipts_name_the_place_in_the_log() -> None:
    bench = Bench()
    jobs = [bench.job(add, "a", 1), bench.job(add, "a", -5), bench.job(add, "a", 2)]
    bench.run(*jobs)
    assert [(1, 1, 0), (1, 1, 1)] == [(r.epoch, r.version, r.index) for r in (jobs[0].receipt(), jobs[2].receipt())]
    assert jobs[0].receipt() == Receipt.parse(str(jobs[0].receipt()))
    [looked] = bench.run(bench.job(read, "a"))
    assert (1, -1) == (looked.receipt().version, looked.receipt().index)
    assert bench.machine.facts.digest == looked.receipt().digest


def test_a_failed_batch_takes_its_children_with_it() -> None:
    bench = Bench()
    one, two = bench.cut(bench.job(increase, "a")), bench.cut(bench.job(increase, "a"))
    failed = bench.machine.fail([one], StorageFull("full"))
    assert not bench.machine.is_current(two)
    failed += bench.machine.fail([two])
    assert ["full", "full"] == [str(job.error) for job in failed]
    [job] = bench.run(bench.job(increase, "a"))
    assert (1, 1) == (job.answer(), job.receipt().version)


def test_an_idempotency_id_commits_once() -> None:
    bench = Bench()
    [first] = bench.run(bench.job(increase, "a", once="x"))
    [again] = bench.run(bench.job(increase, "a", once="x"))
    assert (1, 1) == (first.answer(), again.answer())
    assert first.receipt() == again.receipt()
    one, two = bench.job(increase, "a", once="y"), bench.job(increase, "a", once="y")
    done = bench.settle(bench.cut(one, two))
    assert {id(one), id(two)} == set(map(id, done))
    assert (2, 2, 2) == (one.answer(), two.answer(), bench.machine.facts.stored(("a",)))


def test_a_refusal_is_not_remembered() -> None:
    bench = Bench()
    bench.run(bench.job(add, "a", -1, once="x"))
    bench.run(bench.job(add, "a", 5))
    [again] = bench.run(bench.job(add, "a", -1, once="x"))
    assert ({}, 4) == (again.errors, bench.machine.facts.stored(("a",)))


def test_short_functions_in_the_snapshot_lane_run_at_most_twice_and_nobody_is_aborted() -> None:
    bench = Bench()
    jobs = [bench.job(increase, "a", lane="snapshot") for _ in range(50)]
    bench.run(*jobs)
    lane = bench.machine.counters["snapshot"]
    assert list(range(1, 51)) == sorted(job.answer() for job in jobs)
    assert (50, 99, 49, 0) == (lane.commits, lane.executions, lane.reruns, lane.aborts)


def test_merges_are_never_run_again() -> None:
    bench = Bench()
    bench.run(*[bench.job(add, "a", 1, lane="snapshot") for _ in range(50)])
    assert (50, 0) == (bench.machine.facts.stored(("a",)), bench.machine.counters["snapshot"].reruns)


def test_a_guard_that_fails_at_its_place_is_refused_there() -> None:
    bench = Bench()
    bench.run(bench.job(add, "a", 3))
    jobs = [bench.job(add, "a", -2, lane="snapshot") for _ in range(3)]
    bench.run(*jobs)
    assert [0, 1, 1] == [len(job.errors) for job in jobs]
    assert 1 == bench.machine.facts.stored(("a",))


def test_an_attempt_whose_reads_changed_is_lost_to_whom_changed_them() -> None:
    bench = Bench()
    slow = bench.attempt(increase, "a")
    bench.run(bench.job(increase, "a", who="ada"))
    bench.run(slow)
    assert slow.lost is not None
    assert (("a",), "increase by ada") == (slow.lost.key, slow.lost.rival)


def test_an_attempt_whose_snapshot_was_let_go_is_lost() -> None:
    """Whoever asked was cancelled: what changed since is forgotten, so nobody can say that nothing did."""
    bench = Bench()
    snapshot = bench.machine.facts.snapshot()
    tx = SnapshotTx(snapshot, snapshot.version, 1, b"own", 0)
    slow = bench.job(increase, "a", lane="snapshot", tx=tx)
    slow.answers = [increase.function(tx, "a")]
    intent = bench.job(add, "a", 1, unchanged=(("a",),), since=snapshot.version)
    bench.run(bench.job(increase, "a"))
    snapshot.close()
    bench.run(slow, intent)
    assert slow.lost is not None
    assert [0] == list(intent.errors)
    assert 1 == bench.machine.facts.stored(("a",))


def test_whoever_waits_when_the_end_comes_is_told() -> None:
    bench = Bench()
    asking = bench.job(increase, "a", lane="snapshot")
    asking.keys = frozenset({("a",)})
    bench.run(asking)
    waiting = bench.job(increase, "a")
    bench.machine.cut([waiting])
    assert [waiting] == bench.machine.abandon()


def test_an_attempt_is_compared_with_batches_in_flight() -> None:
    bench = Bench()
    slow = bench.attempt(increase, "a")
    flying = bench.cut(bench.job(increase, "a"))
    bench.settle(flying, bench.cut(slow))
    assert slow.lost is not None


def test_a_reservation_keeps_others_away_until_it_is_given_back() -> None:
    bench = Bench()
    asking = bench.job(increase, "a", lane="snapshot")
    asking.keys = frozenset({("a",)})
    bench.run(asking)
    other, bystander = bench.job(increase, "a"), bench.job(increase, "b")
    bench.run(other, bystander)
    assert (["waits"], 1) == ([] if other.answers else ["waits"], bystander.answer())
    slow = bench.attempt(increase, "a")
    slow.reservation = asking.reservation
    bench.run(slow)
    assert slow.lost is None
    bench.machine.release(asking.reservation)
    bench.run()
    assert (1, 2) == (slow.answer(), other.answer())


def test_a_short_function_runs_at_most_twice_however_many_reservations_are_given_back() -> None:
    bench = Bench()
    short = bench.job(increase, "a")

    def reserve(name: str) -> int:
        asking = bench.job(increase, name, lane="snapshot")
        asking.keys = frozenset({(name,)})
        bench.run(asking)
        return asking.reservation

    held = reserve("a")
    assert bench.machine.cut([short]) is None
    for _ in range(4):  # each is a reason to look again, and none of them is its own
        bench.machine.release(reserve("b"))
        assert bench.machine.cut([]) is None
        assert [] == short.answers
    bench.machine.release(held)
    bench.run()
    lane = bench.machine.counters["serial"]
    assert (1, 2, 1) == (short.answer(), lane.executions, lane.reruns)


def test_a_reservation_of_somebody_who_has_gone_is_given_back() -> None:
    bench = Bench()
    asking = bench.job(increase, "a", lane="snapshot")
    asking.keys, asking.abandoned = frozenset({("a",)}), True
    bench.machine.cut([asking])
    assert 0 == len(bench.machine.reservations)
    [done] = bench.run(bench.job(increase, "a"))
    assert 1 == done.answer()


def test_reservations_are_granted_in_order_and_whole() -> None:
    table = Reservations()
    one, two, three = (table.ask(frozenset({(k,) for k in keys})) for keys in ("ab", "bc", "c"))
    assert [one] == table.grant()
    assert ("b",) == table.forbids([("c",), ("b",)], holder=two)
    assert table.forbids([("a",)], holder=one) is None
    table.release(one)
    assert [two] == table.grant()
    table.release(two)
    everything = table.ask(frozenset())
    assert [three] == table.grant()
    table.release(three)
    assert [everything] == table.grant()
    assert ("z",) == table.forbids([("z",)])
    table.release(everything)
    assert (0, False) == (len(table), bool(table))


def test_optimistic_attempts_abort_and_say_why() -> None:
    bench = Bench()
    one, two = bench.attempt(increase, "a", lane="occ"), bench.attempt(increase, "a", lane="occ")
    bench.run(one, two)
    assert ([], ["a"]) == (list(one.errors), two.errors[0].details["key"])  # type: ignore[attr-defined]
    assert 1 == bench.machine.counters["occ"].aborts


def test_answers_are_forgotten_by_time_and_number() -> None:
    answers = Answers(keep_ns=100, keep_max=3)
    for at in range(5):
        answers.keep([Answer(str(at), 0, at)], at + 1, 1, b"", at)
    assert [False, False, True] == [answers.get(once) is not None for once in ("0", "1", "2")]
    answers.keep([], 9, 1, b"", 200)
    assert 0 == len(answers)
