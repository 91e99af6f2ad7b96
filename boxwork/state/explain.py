"""What happened to a commit: its keys, its rivals, how often it ran and what that cost.

The log keeps inputs and notes; what the transaction read and wrote is found by running it again at its place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from boxwork.errors import BadInput, NotFound
from boxwork.keys import LOG_ROOT
from boxwork.state.batch import Entry, Record, writes_of
from boxwork.state.logs.disk import DiskLog
from boxwork.state.order import Key
from boxwork.state.past import Past, TooMany
from boxwork.state.receipts import Receipt
from boxwork.state.snapshot import Base, Facts, Snapshot
from boxwork.state.tx import SerialTx, SnapshotTx
from boxwork.state.values import ABSENT, DELETED, thaw
from boxwork.transactions import Transaction

if TYPE_CHECKING:
    from boxwork.state.logs.files import Files
    from boxwork.state.pipeline import Recent


# Calls of one entry in a list.  Unit: calls.  Reason: as many as somebody reads; `explain` tells of each.
CALLS_SHOWN = 20


@dataclass(slots=True)
class Explanation:
    """`reads` and `writes` are empty if the code is not at hand; a deleted fact is None in `writes`."""

    receipt: Receipt
    at_ns: int
    transaction: str = ""
    row: tuple[Any, ...] = ()
    batch_size: int = 0
    batch_writes: list[Key] = field(default_factory=list)
    runs: int = 1
    lost_ns: int = 0
    rivals: list[tuple[Key, str]] = field(default_factory=list)
    reads: dict[Key, Any] = field(default_factory=dict)
    writes: dict[Key, Any] = field(default_factory=dict)
    answer: Any = None
    was_run_again: bool = False

    def __str__(self) -> str:
        lines = [
            f"{self.transaction}({', '.join(map(repr, self.row))})",
            f"  entry {self.receipt.version}, call {self.receipt.index} of {self.batch_size}",
        ]
        if self.runs > 1:
            lines.append(f"  ran {self.runs} times, {self.lost_ns / 1e6:.3f} ms of it lost:")
            lines += [f"    {key!r} was changed by {rival}" for key, rival in self.rivals]
        lines += [f"  read  {key!r} = {value!r}" for key, value in self.reads.items()]
        lines += [f"  wrote {key!r} = {value!r}" for key, value in self.writes.items()]
        if self.was_run_again:
            lines.append(f"  answered {self.answer!r}")
        return "\n".join(lines)


@dataclass(slots=True)
class Preview:
    """What a transaction would do now: for a playground.  Nothing of it is committed."""

    version: int
    reads: dict[Key, Any]
    scans: list[Key]
    writes: dict[Key, Any]
    merges: dict[Key, tuple[str, Any]]
    answer: Any = None
    error: BaseException | None = None


def preview(snapshot: Snapshot, box: Transaction[..., Any], row: tuple[Any, ...], now_ns: int) -> Preview:
    """Run a transaction on a snapshot and tell what it read, would write, and answers."""
    tx = SnapshotTx(snapshot, snapshot.version, now_ns, b"preview", 0)
    answer: Any = None
    error: BaseException | None = None
    try:
        answer = box.inputs.caller(box.function)(tx, *row)
    except Exception as reason:
        error = reason
    reads = {key: None if (value := snapshot.stored(key)) is ABSENT else thaw(value) for key in tx.reads}
    writes = {key: None if value is DELETED else thaw(value) for key, value in tx.puts.items()}
    return Preview(snapshot.version, reads, list(tx.scans), writes, dict(tx.merges), answer, error)


def recently(recent: Recent, epoch: int) -> dict[str, Any]:
    """One of the newest entries, for a list of them: what was called, with what, and what ran again."""
    told: dict[str, Any] = {
        "version": recent.version, "at_ns": recent.at_ns, "bytes": recent.payload_bytes, "writes": recent.writes,
        "calls": None, "names": [], "reruns": 0, "digest": "",
    }  # fmt: skip
    if recent.record is None:
        return told
    entry = Entry.decode(recent.record.payload)
    told["digest"] = recent.record.digest.hex()
    told["calls"] = entry.count
    told["reruns"] = sum(note.runs - 1 for note in entry.notes)
    told["names"] = [[name, len(rows)] for name, rows in entry.groups or ()]
    told["first"] = [
        {
            "receipt": str(Receipt(epoch, recent.version, index, recent.record.digest)),
            "name": each.name,
            "row": [thaw(part) for part in each.row],
        }
        for index, each in enumerate((entry.inputs or [])[:CALLS_SHOWN])
    ]
    return told


def explain(
    receipt: Receipt,
    records: Iterable[Record],
    *,
    boxes: Mapping[str, Transaction[..., Any]] | None = None,
    facts: Facts | None = None,
    digest: bytes = LOG_ROOT,
) -> Explanation:
    """Explain a commit from the log (from its beginning, or after the checkpoint in `facts`).

    Raises `NotFound` if the receipt names no entry of this log.  It replays what came before: on a long log in files
    `explain_from` is faster.
    """
    _must_have_written(receipt)
    facts = facts if facts is not None else Facts()
    for record in records:
        if record.version < receipt.version:
            facts.apply(record.version, writes_of(record.payload), record.digest)
            continue
        if record.version == receipt.version and record.digest == receipt.digest:
            return _explain(receipt, Entry.decode(record.payload), facts, facts.data, boxes or {})
        break
    raise NotFound(f"{receipt} names no entry of this log: is it of another data directory?", version=receipt.version)


def explain_from(
    files: Files,
    receipt: Receipt,
    *,
    boxes: Mapping[str, Transaction[..., Any]] | None = None,
    within: Callable[[Iterable[Record]], Iterable[Record]] = iter,
) -> Explanation:
    """Explain a commit from the files of a log, in milliseconds however long it is.

    What it read is looked up backwards from its entry.  Only for who scans, or reads very much (or stands behind many
    others in one entry that do), everything before is replayed, which `within` may limit.
    """
    _must_have_written(receipt)
    past = Past(files, receipt)
    with contextlib.suppress(TooMany):
        return _explain(receipt, past.entry(), past, past.values, boxes or {})
    return explain(receipt, within(DiskLog(files).read()), boxes=boxes)


def _must_have_written(receipt: Receipt) -> None:
    if receipt.index < 0:
        raise BadInput(f"{receipt} is of a call that only read: there is nothing about it in the log")


def _explain(
    receipt: Receipt, entry: Entry, base: Base, data: dict[Key, Any], boxes: Mapping[str, Transaction[..., Any]]
) -> Explanation:
    told = Explanation(receipt, entry.now_ns, batch_writes=list(entry.writes))
    for note in entry.notes:
        if note.index == receipt.index:
            told.runs, told.lost_ns, told.rivals = note.runs, note.lost_ns, note.rivals
    inputs = entry.inputs or []
    told.batch_size = len(inputs)
    if receipt.index >= len(inputs):
        return told
    told.transaction = inputs[receipt.index].name
    told.row = tuple(map(thaw, inputs[receipt.index].row))
    changed: dict[Key, Any] = {}
    for index, each in enumerate(inputs[: receipt.index + 1]):
        box = boxes.get(each.name)
        if box is None or box.awaits:
            return told
        last = index == receipt.index
        now_ns, seed = (each.now_ns, each.seed) if each.seed else (entry.now_ns, entry.seed)
        tx = _Listening(base, data, changed, now_ns, seed)
        tx.place = each.drawn
        answer = box.inputs.caller(box.function)(tx, *map(thaw, each.row))
        changed.update(tx.own)
        if last:
            told.reads = {key: None if value in (ABSENT, DELETED) else thaw(value) for key, value in tx.seen.items()}
            told.writes = {key: None if value is DELETED else thaw(value) for key, value in tx.own.items()}
            told.answer, told.was_run_again = answer, True
    return told


class _Listening(SerialTx):
    """A serial transaction that remembers what it saw of others."""

    __slots__ = ("seen",)

    def __init__(self, *rest: Any) -> None:
        super().__init__(*rest)
        self.seen: dict[Key, Any] = {}

    def _stored(self, key: Key) -> Any:
        value = super()._stored(key)
        if key not in self.own:
            self.seen.setdefault(key, value)
        return value

    def get(self, key: Key, default: Any = None) -> Any:
        self._stored(key)
        return super().get(key, default)
