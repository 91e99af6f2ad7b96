"""Check a log against what it claims: run the transactions again and compare.

Three levels, from cheap to thorough: the chain (no entry was changed, removed or added), the receipts (each names
an entry of this chain), and the inputs (run again serially in the order of the log, every batch must write what is
recorded and answer what was answered).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from boxwork.errors import LogCorrupt
from boxwork.keys import LOG_ROOT
from boxwork.state.batch import Entry, Record, digest_of_answers
from boxwork.state.bulk import RUN_MIN, BulkTx
from boxwork.state.order import Key
from boxwork.state.receipts import Receipt
from boxwork.state.snapshot import Facts
from boxwork.state.tx import SerialTx
from boxwork.state.values import DELETED, PLAIN, all_plain, as_stored, thaw
from boxwork.transactions import Transaction


@dataclass(frozen=True, slots=True)
class Difference:
    """A batch that does not come out the same when it is run again."""

    version: int
    name: str
    what: str


@dataclass(slots=True)
class Report:
    entries: int = 0
    commits: int = 0
    replayed: int = 0
    first: int = 0
    last: int = 0
    digest: bytes = LOG_ROOT
    receipts: int = 0
    not_replayed: dict[str, int] = field(default_factory=dict)  # transaction -> calls whose code is not at hand
    differences: list[Difference] = field(default_factory=list)
    false_receipts: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        return not self.differences and not self.false_receipts


def verify(
    records: Iterable[Record],
    *,
    receipts: Iterable[Receipt] = (),
    boxes: Mapping[str, Transaction[..., Any]] | None = None,
    facts: Facts | None = None,
    digest: bytes = LOG_ROOT,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Replay `records` on `facts` (empty, or those of a checkpoint with its `digest`).

    With `boxes` the transactions they name are run again.  Raises `LogCorrupt` where the chain breaks: what comes
    after is not checked.
    """
    facts = facts if facts is not None else Facts()
    report = Report(digest=digest)
    wanted: dict[int, list[Receipt]] = {}
    for receipt in receipts:
        wanted.setdefault(receipt.version, []).append(receipt)
        report.receipts += 1
    for record in records:
        if record.version != facts.version + 1 or record.previous != report.digest or not record.is_sound():
            raise LogCorrupt(f"the chain breaks at entry {record.version}", version=record.version)
        entry = Entry.decode(record.payload)
        report.first = report.first or record.version
        report.entries += 1
        count = entry.count
        report.commits += count
        if boxes is not None and entry.groups is not None:
            missing = [(name, len(rows)) for name, rows in entry.groups if not _can_run(name, boxes)]
            if missing:
                for name, calls in missing:
                    report.not_replayed[name] = report.not_replayed.get(name, 0) + calls
            else:
                difference = _compare(facts, entry, boxes, record.version)
                report.replayed += count
                if difference is not None:
                    report.differences.append(difference)
        facts.apply(record.version, entry.writes, record.digest)
        report.last, report.digest = record.version, record.digest
        for receipt in wanted.pop(record.version, ()):
            if receipt.digest != record.digest or receipt.epoch != record.epoch or receipt.index >= max(count, 1):
                report.false_receipts.append(f"{receipt}: entry {record.version} has another digest")
        if progress is not None:
            progress(report.commits)
    for version, rows in wanted.items():
        report.false_receipts += [
            f"{receipt}: the log has no entry {version}"
            for receipt in rows
            if not (version == 0 and receipt.digest == LOG_ROOT)
        ]
    return report


def run_again(facts: Facts, payload: bytes, boxes: Mapping[str, Transaction[..., Any]]) -> Difference | None:
    """Run the inputs of one entry again on the facts before it."""
    entry = Entry.decode(payload)
    if entry.groups is None or not all(_can_run(name, boxes) for name, _ in entry.groups):
        return None
    return _compare(facts, entry, boxes, facts.version + 1)


def _can_run(name: str, boxes: Mapping[str, Transaction[..., Any]]) -> bool:
    """Is the code at hand, and is it a function of its inputs?  Sessions by hand and thinking functions are not."""
    box = boxes.get(name)
    return box is not None and not box.awaits


def _compare(facts: Facts, entry: Entry, boxes: Mapping[str, Transaction[..., Any]], version: int) -> Difference | None:
    changed: dict[Key, Any] = {}
    authors: dict[Key, str] = {}
    answers: list[Any] = []
    tx = SerialTx(facts, facts.data, changed, entry.now_ns, entry.seed)
    groups = entry.groups or []
    for name, recorded_rows in groups:
        call = boxes[name].inputs.caller(boxes[name].function)
        rows, is_plain = _stored_rows(recorded_rows)
        try:
            if entry.draws is None and is_plain:
                _run_plainly(tx, call, rows, changed, answers)
            else:
                _run_carefully(tx, call, rows, changed, answers, entry)
        except BaseException as error:
            return Difference(version, name, f"it committed, and now raises {type(error).__name__}: {error}")
        if len(groups) > 1 and len(changed) > len(authors):
            authors.update({key: name for key in changed if key not in authors})
    if changed != entry.writes or not _same_kinds(changed, entry.writes):
        for key in [*entry.writes, *changed]:
            recorded, now = entry.writes.get(key, "nothing"), changed.get(key, "nothing")
            if recorded != now or type(recorded) is not type(now):
                name = authors.get(key) or next((name for name, _ in groups), "")
                return Difference(version, name, f"it wrote {_shown(recorded)} under {key!r}, and now {_shown(now)}")
    if entry.answers_digest and digest_of_answers(answers) != entry.answers_digest:
        names = sorted({name for name, _ in groups})
        return Difference(version, names[0] if len(names) == 1 else ", ".join(names), "it answers otherwise now")
    return None


def _stored_rows(rows: list[Any]) -> tuple[list[Any], bool]:
    """Decoded rows of inputs as they were recorded; and can they be given as they are?"""
    if not PLAIN.issuperset(map(type, chain.from_iterable(rows))):
        rows = list(map(as_stored, rows))
        return rows, all_plain(rows)
    return rows, True


def _run_plainly(
    tx: SerialTx, call: Callable[..., Any], rows: list[Any], changed: dict[Key, Any], answers: list[Any]
) -> None:
    own, keep = tx.own, changed.update
    if len(rows) >= RUN_MIN and len(set(map(len, rows))) == 1:
        bulk = tx.another(BulkTx)
        bulk.run(call, rows, len(answers), keep)
        for error in bulk.errors.values():
            raise error
        answers += bulk.answers
        rows = rows[len(bulk.answers) :]
    for row in rows:
        tx.place = len(answers)
        tx.drawn = 0
        answers.append(call(tx, *row))
        keep(own)
        own.clear()


def _run_carefully(
    tx: SerialTx, call: Callable[..., Any], rows: list[Any], changed: dict[Key, Any], answers: list[Any], entry: Entry
) -> None:
    """With chance of their own, and inputs that must be unpacked."""
    for row in rows:
        drawn = len(answers) if entry.draws is None else entry.draws[len(answers)]
        tx.now_ns, tx.seed, tx.place, tx.drawn = entry.now_ns, entry.seed, drawn, 0
        if isinstance(drawn, list):
            tx.place, tx.seed, tx.now_ns = drawn
        answers.append(call(tx, *map(thaw, row)))
        changed.update(tx.own)
        tx.own.clear()


def _same_kinds(one: dict[Key, Any], other: dict[Key, Any]) -> bool:
    return all(type(value) is type(other[key]) for key, value in one.items())  # 1, 1.0 and True are equal in Python


def _shown(value: Any) -> str:
    if value is DELETED:
        return "a deletion"
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"
