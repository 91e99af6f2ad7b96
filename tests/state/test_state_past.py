"""A commit is explained from the middle of a long log without replaying it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwork.errors import BadInput, NotFound
from boxwork.keys import LOG_ROOT
from boxwork.state import past
from boxwork.state.batch import Entry, Record
from boxwork.state.explain import explain, explain_from
from boxwork.state.job import Job
from boxwork.state.logs.disk import DiskLog
from boxwork.state.logs.files import RealFiles
from boxwork.state.receipts import Receipt
from boxwork.state.sequencer import Sequencer
from boxwork.state.snapshot import Facts
from boxwork.testing.clock import FakeClock
from boxwork.testing.workloads import Call, SmallBank, Tasks, TpccLite, Workload


class Unsynced(RealFiles):
    """A long log is written in a test as fast as memory: no power will be cut."""

    def sync(self, name: str) -> None:
        pass


def written(folder: Path, calls: Iterable[Call], *, together: int = 1) -> list[Receipt]:
    """The receipts of calls, committed in entries of so many."""
    files = Unsynced(folder)
    log = DiskLog(files, segment_bytes=100_000)
    assert [] == list(log.recover(0, LOG_ROOT))
    machine = Sequencer(Facts(), FakeClock())
    receipts: list[Receipt] = []
    waiting = list(calls)
    for at in range(0, len(waiting), together):
        jobs = [Job(box, [row], "serial", lambda job: None) for box, row in waiting[at : at + together]]
        batch = machine.cut(jobs)
        assert batch is not None
        log.append(machine.seal([batch]))
        machine.settle(batch)
        receipts += [receipt for job in jobs if not job.errors and (receipt := job.receipt()).index >= 0]
    files.close()
    return receipts


def some_of(workload: Workload, count: int) -> list[Call]:
    stream = workload.calls(random.Random(3))
    return [*workload.setup(), *(next(stream) for _ in range(count))]


def never(records: Iterable[Record]) -> Iterator[Record]:
    pytest.fail("the log was replayed")


@pytest.mark.parametrize("workload", [SmallBank(50), TpccLite(1, 2, 5, 40), Tasks()], ids=lambda w: w.name)
@pytest.mark.parametrize("together", [1, 7])
def test_it_says_what_a_replay_says(workload: Workload, together: int, tmp_path: Path) -> None:
    receipts = written(tmp_path, some_of(workload, 600), together=together)
    assert len(list(tmp_path.glob("*.log"))) > (workload.name == "tpcc-lite")
    records = list(DiskLog(RealFiles(tmp_path, own=False)).read())
    for receipt in receipts[:: len(receipts) // 20]:
        told = explain_from(RealFiles(tmp_path, own=False), receipt, boxes=workload.boxes)
        expected = explain(receipt, records, boxes=workload.boxes)
        assert dataclasses.asdict(told) == dataclasses.asdict(expected)
        assert told.was_run_again


def test_of_a_long_log_only_what_is_asked_about_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what makes it fast, whatever the machine: 12,000 entries, of which some ten are looked into."""
    bank = SmallBank(500)
    receipts = written(tmp_path, some_of(bank, 12_000))
    decoded = 0
    writes_of = past.writes_of

    def counting(payload: bytes) -> Any:
        nonlocal decoded
        decoded += 1
        return writes_of(payload)

    monkeypatch.setattr(past, "writes_of", counting)
    for receipt in receipts[500::1500]:
        told = explain_from(RealFiles(tmp_path, own=False), receipt, boxes=bank.boxes, within=never)
        assert told.was_run_again
        assert told.reads
    assert 0 < decoded < 200


def test_who_asks_for_very_much_has_it_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = SmallBank(50)
    receipts = written(tmp_path, some_of(bank, 200), together=100)
    monkeypatch.setattr(past, "LOOKUPS_MAX", 3)
    replayed: list[int] = []

    def counting(records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            replayed.append(record.version)
            yield record

    told = explain_from(RealFiles(tmp_path, own=False), receipts[-1], boxes=bank.boxes, within=counting)
    assert told.was_run_again
    assert replayed


def test_a_receipt_that_is_not_of_this_log_is_named(tmp_path: Path) -> None:
    receipts = written(tmp_path, some_of(SmallBank(5), 20))
    for other in (
        dataclasses.replace(receipts[3], digest=b"?" * 32),
        dataclasses.replace(receipts[3], version=receipts[3].version + 1),
        dataclasses.replace(receipts[3], version=10_000),
    ):
        with pytest.raises(NotFound, match="names no entry of this log"):
            explain_from(RealFiles(tmp_path, own=False), other)
    with pytest.raises(BadInput, match="only read"):
        explain_from(RealFiles(tmp_path, own=False), dataclasses.replace(receipts[3], index=-1))


def test_what_was_given_up_is_not_made_up(tmp_path: Path) -> None:
    """A fact that is older than what is left of the log is not taken for one that never was."""
    workload = TpccLite(1, 2, 5, 400)
    receipts = written(tmp_path, some_of(workload, 2_000))
    oldest, *_, newest = sorted(tmp_path.glob("*.log"))
    assert oldest != newest
    oldest.unlink()
    orders = [r for r in receipts if r.version > int(newest.stem) and _name_of(tmp_path, r) == "new_order"]
    with pytest.raises(BadInput, match="older history was given up"):
        explain_from(RealFiles(tmp_path, own=False), orders[0], boxes=workload.boxes)
    assert explain_from(RealFiles(tmp_path, own=False), orders[0]).transaction == "new_order"  # this much is known


def _name_of(folder: Path, receipt: Receipt) -> str:
    record = past.Past(RealFiles(folder, own=False), receipt).record
    groups = Entry.decode(record.payload).groups
    assert groups is not None
    return groups[0][0]
