"""A log can be checked by anybody."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from boxwork.errors import LogCorrupt, NotFound
from boxwork.state.batch import Record
from boxwork.state.engine import Engine
from boxwork.state.explain import explain
from boxwork.state.receipts import Receipt
from boxwork.state.tx import Tx
from boxwork.state.verify import verify
from boxwork.transactions import transaction


@transaction
def increase(tx: Tx, name: str) -> int:
    tx.put((name,), tx.get((name,), 0) + 1)
    return tx.get((name,))  # type: ignore[no-any-return]


@transaction(name="increase")
def increase_otherwise(tx: Tx, name: str) -> int:
    tx.put((name,), tx.get((name,), 0) + 2)
    return tx.get((name,))  # type: ignore[no-any-return]


@transaction(name="increase")
def answer_otherwise(tx: Tx, name: str) -> int:
    tx.put((name,), tx.get((name,), 0) + 1)
    return 0


@pytest.fixture
def records(open_engine: Callable[..., Engine]) -> tuple[list[Record], list[Receipt]]:
    engine = open_engine()
    receipts = [engine.commit(increase, "a", receipt=True)[1] for _ in range(3)]
    futures = [engine.submit(increase, "a", lane="snapshot", who=f"user {n}", receipt=True) for n in range(4)]
    receipts += [future.result()[1] for future in futures]
    return list(engine._log.read()), receipts


Made = tuple[list[Record], list[Receipt]]


def test_a_true_log_and_its_receipts_pass(records: Made) -> None:
    report = verify(records[0], receipts=records[1], boxes={"increase": increase})
    assert (True, 7, 7, 7) == (report.is_sound, report.commits, report.replayed, report.receipts)


def test_a_changed_removed_or_exchanged_entry_breaks_the_chain(records: Made) -> None:
    log = records[0]
    for forged in (
        [*log[:1], dataclasses.replace(log[1], payload=log[1].payload[:-1] + b"?"), *log[2:]],
        [log[0], *log[2:]],
        [log[1], log[0]],
    ):
        with pytest.raises(LogCorrupt, match="the chain breaks at entry"):
            verify(forged)


def test_a_receipt_of_another_history_is_named(records: Made) -> None:
    log, receipts = records
    false = dataclasses.replace(receipts[0], digest=b"?" * 32)
    late = dataclasses.replace(receipts[0], version=99)
    report = verify(log, receipts=[false, late])
    assert 2 == len(report.false_receipts)


def test_code_that_does_otherwise_is_named(records: Made) -> None:
    for box, what in ((increase_otherwise, "it wrote 1"), (answer_otherwise, "it answers otherwise")):
        report = verify(records[0], boxes={"increase": box})
        assert ("increase", 1) == (report.differences[0].name, report.differences[0].version)
        assert what in report.differences[0].what
    assert {"increase": 7} == verify(records[0], boxes={}).not_replayed


def test_a_receipt_can_be_explained(records: Made) -> None:
    log, receipts = records
    told = [explain(receipt, log, boxes={"increase": increase}) for receipt in receipts]
    assert [("increase", ("a",))] * 7 == [(e.transaction, e.row) for e in told]
    assert all(e.reads == {("a",): e.answer - 1 or None} for e in told)
    assert all(e.writes == {("a",): e.answer} for e in told)
    again = [e for e in told if e.runs > 1]
    for e in again:
        assert ("a",) == e.rivals[0][0]
        assert e.rivals[0][1].startswith("increase by user")
    assert "increase('a')" in str(told[0])
    with pytest.raises(NotFound, match="names no entry"):
        explain(dataclasses.replace(receipts[0], digest=b"?" * 32), log)
