"""Planted bugs: each takes something away that `state` cannot do without, and the simulation must notice.

A bug is a set of replacements for attributes, put in place by `planted(bug)` and taken back at its end.  They also
say which rules are needed: a rule whose removal nobody notices is either superfluous or untested.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from boxwork.keys import draw
from boxwork.state import answers, build, bulk, job, reservations, sequencer, snapshot, tx, writes
from boxwork.state.batch import Entry, Note, Record
from boxwork.state.lanes import serial
from boxwork.state.lanes import snapshot as snapshot_lane
from boxwork.state.logs import disk
from boxwork.state.positions import Placed, place_by_interval
from boxwork.state.values import ABSENT, DELETED


@dataclass(frozen=True, slots=True)
class Bug:
    """`changes`: (owner, name of an attribute, function from the original to its replacement)."""

    name: str
    changes: tuple[tuple[Any, str, Callable[[Any], Any]], ...]


@contextlib.contextmanager
def planted(bug: Bug) -> Iterator[None]:
    kept = [(owner, name, owner.__dict__[name]) for owner, name, _ in bug.changes]
    try:
        for owner, name, change in bug.changes:
            setattr(owner, name, change(owner.__dict__[name]))
        yield
    finally:
        for owner, name, original in kept:
            setattr(owner, name, original)


def _bug(name: str, owner: Any, attribute: str, change: Callable[[Any], Any]) -> Bug:
    return Bug(name, ((owner, attribute, change),))


def _read_unrecorded(original: Any) -> Any:
    def read(self: tx.SnapshotTx, key: Any) -> Any:
        return self._base.stored(key)

    return read


def _first_read_unrecorded(original: Any) -> Any:
    def read(self: tx.SnapshotTx, key: Any) -> Any:
        return original(self, key) if self._known or self.drawn else self._base.stored(key)

    return read


def _scan_unrecorded(original: Any) -> Any:
    def scan(self: tx.SnapshotTx, prefix: Any = (), **options: Any) -> Any:
        rows = original(self, prefix, **options)
        self.scans.pop(prefix, None)
        return rows

    return scan


def _kept_without_rerun(original: Any) -> Any:
    def run_again(self: build.Builder, attempt: Any, rival: str) -> None:
        self._commit_here(attempt, attempt.job.answers[attempt.index], 0)

    return run_again


def _rerun_on_old_facts(original: Any) -> Any:
    def run_again(self: build.Builder, attempt: Any, rival: str) -> None:
        try:
            changes = snapshot_lane.changes_of(attempt.tx, self._stored)
        except Exception as error:
            attempt.job.errors[attempt.index] = attempt.job.answers[attempt.index] = error
            return
        self._serial.take(changes, attempt.job.label)
        self._notes.append(Note(self._count, 2, 0, []))
        self._commit_here(attempt, attempt.job.answers[attempt.index], attempt.tx.drawn)

    return run_again


def _order_of_arrival(original: Any) -> Any:
    def place(attempts: Any, rule: Any = "interval") -> Placed:
        placed = place_by_interval(attempts)
        return Placed(sorted(placed.kept), placed.lost)

    return place


def _nobody_loses(original: Any) -> Any:
    def place(attempts: Any, rule: Any = "interval") -> Placed:
        return Placed(list(range(len(attempts))), [])

    return place


def _dirty_after_error(original: Any) -> Any:
    def run_one(self: serial.SerialRun, call: Any, row: Any, place: int) -> Any:
        self.tx.place, self.tx.drawn = place, 0
        answer = call(self.tx, *row)
        changes = dict(self.tx.own)
        self.tx.own.clear()
        return answer, changes

    return run_one


def _dirty_rows_after_error(original: Any) -> Any:
    def run_rows(self: serial.SerialRun, work: job.Job, place: int, *, is_last: bool = False) -> int:
        for index, row in enumerate(work.rows):
            self.tx.place, self.tx.drawn = place, 0
            try:
                work.answers.append(work.call(self.tx, *row))
                place += 1
            except Exception as error:
                work.errors[index] = error
                work.answers.append(error)
            self.take(dict(self.tx.own), work.label)
            self.tx.own.clear()
        return place

    return run_rows


def _no_second_run(original: Any) -> Any:
    def run(self: bulk.BulkTx, loop: Any, call: Any, rows: Any) -> bool:
        rows = iter(rows)
        while not original(self, loop, call, rows):
            error = self.answers[-1]
            if not isinstance(error, BaseException):
                return True
            self.errors[len(self.answers) - 1] = error
        return True

    return run


def _blind_cut(original: Any) -> Any:
    def cut(self: sequencer.Sequencer, jobs: Any) -> Any:
        kept = self._in_flight
        executed = self.executed
        try:
            self._in_flight = []
            batch = original(self, jobs)
            made = self._in_flight
        finally:
            self._in_flight = kept
        self._in_flight.extend(made)
        assert self.executed >= executed
        return batch

    return cut


def _visible_at_once(original: Any) -> Any:
    def settle_none(self: sequencer.Sequencer, batches: Any) -> Any:
        records = original(self, batches)
        for batch in batches:
            for done in batch.jobs:
                if not done.errors and not done.lost and done.error is None and batch.record is not None:
                    done.receipt_at = (self.epoch, batch.version, batch.record.digest)
                    done.done(done)
        return records

    return settle_none


def _cut_too_much(original: Any) -> Any:
    def cut(self: disk.DiskLog, name: str, at: int, size: int, later: Any) -> None:
        original(self, name, 0, size, later)

    return cut


def _fail_forgets_nothing(original: Any) -> Any:
    def fail(self: sequencer.Sequencer, batches: Any, error: Any = None) -> Any:
        executed, flying = self.executed, list(self._in_flight)
        done = original(self, batches, error)
        if error is not None and any(batch not in batches for batch in flying):
            self.generation -= 1
            self.executed, self._in_flight = executed, [batch for batch in flying if batch not in batches]
        return done

    return fail


def _forgets_answers_in_log(original: Any) -> Any:
    def decode(cls: type[Entry], payload: bytes) -> Entry:
        entry = original.__func__(cls, payload)
        entry.answers = []
        return entry  # type: ignore[no-any-return]

    return classmethod(decode)


def _late_reader_sees_new(original: Any) -> Any:
    def stored_at(self: snapshot.Facts, version: int, key: Any) -> Any:
        return self.data.get(key, ABSENT)

    return stored_at


def _keeps_deleted(original: Any) -> Any:
    def apply(self: snapshot.Facts, version: int, changed: Any, digest: bytes) -> None:
        original(self, version, {k: v for k, v in changed.items() if v is not DELETED}, digest)

    return apply


def _same_place(original: Any) -> Any:
    def execute(self: snapshot_lane.SnapshotRun, work: job.Job, index: int) -> None:
        original(self, work, index)
        if self.attempts:
            self.attempts[-1].tx.place = 7

    return execute


def _unfinished_counts(original: Any) -> Any:
    def append(self: disk.DiskLog, records: Any) -> None:
        if not records:
            return
        if not self._segment:
            self._segment = f"{records[0].version:020d}{disk.SUFFIX}"
        parts = [part for record in records for part in (record.head(), record.payload)]
        self._files.append(self._segment, self._segment_size, parts)
        self._segment_size += sum(map(len, parts))
        self._last = (records[-1].version, records[-1].digest)

    return append


def _half_a_group(original: Any) -> Any:
    def append(self: disk.DiskLog, records: Any) -> None:
        original(self, records[:1])
        if len(records) > 1:
            original_sync = self._files.sync
            self._files.sync = lambda name: None  # type: ignore[method-assign]
            try:
                original(self, records[1:])
            finally:
                self._files.sync = original_sync  # type: ignore[method-assign]

    return append


BUGS: tuple[Bug, ...] = (
    _bug("a read is not recorded", tx.SnapshotTx, "_read", _read_unrecorded),
    _bug("the first read is not recorded", tx.SnapshotTx, "_read", _first_read_unrecorded),
    _bug("a write is not recorded", tx.SnapshotTx, "touched", lambda old: lambda self: old(self)[:-1]),
    _bug("a scan is not recorded", tx.SnapshotTx, "scan", _scan_unrecorded),
    _bug("a guard is skipped", writes.Guard, "check", lambda old: lambda self, stored: None),
    _bug(
        "a late guard is checked against nothing",
        tx.SnapshotTx,
        "add",
        lambda old: lambda self, key, delta, *, min=None, max=None: old(self, key, delta),
    ),
    _bug("who is lost is kept, unapplied", build.Builder, "_run_again", _kept_without_rerun),
    _bug("who is lost is applied as it ran", build.Builder, "_run_again", _rerun_on_old_facts),
    _bug("the order of arrival is the order", snapshot_lane, "place", _order_of_arrival),
    _bug("nobody is ever lost", snapshot_lane, "place", _nobody_loses),
    Bug(
        "an exception leaves its writes behind",
        ((serial.SerialRun, "run_rows", _dirty_rows_after_error), (serial.SerialRun, "run_one", _dirty_after_error)),
    ),
    _bug("many calls leave behind what one of them wrote before it raised", bulk.BulkTx, "_run", _no_second_run),
    _bug(
        "many calls draw the same chance",
        bulk.BulkTx,
        "_draw",
        lambda old: lambda self: draw(self.seed, self._first, self.drawn),
    ),
    _bug(
        "many calls do not see each other",
        bulk.BulkTx,
        "_stored",
        lambda old: lambda self, key: self._data.get(key, ABSENT),
    ),
    _bug(
        "many calls do not see what was changed before them",
        serial.SerialRun,
        "_is_alone",
        lambda old: lambda self, rows: True,
    ),
    _bug("a batch does not see those in flight", sequencer.Sequencer, "cut", _blind_cut),
    _bug(
        "an attempt is not compared with those in flight",
        build.Builder,
        "_stale",
        lambda old: lambda self, work, *, this_batch: _without_flight(old, self, work, this_batch),
    ),
    _bug(
        "an attempt is not compared with what became durable",
        snapshot.Facts,
        "changed_since",
        lambda old: lambda self, version, key: 0,
    ),
    _bug("acknowledged before it is durable", sequencer.Sequencer, "seal", _visible_at_once),
    _bug("nothing is synced", disk.DiskLog, "append", _unfinished_counts),
    _bug("only the first entry of a group is synced", disk.DiskLog, "append", _half_a_group),
    _bug("too much of the tail is cut", disk.DiskLog, "_cut", _cut_too_much),
    _bug("the torn tail is not cut", disk.DiskLog, "_cut", lambda old: lambda self, name, at, size, later: None),
    _bug("a torn entry passes", Record, "is_sound", lambda old: lambda self: True),
    _bug("idempotency ids are forgotten", answers.Answers, "get", lambda old: lambda self, once: None),
    _bug("idempotency ids are forgotten at a restart", Entry, "decode", _forgets_answers_in_log),
    _bug(
        "two with one id run at the same time",
        sequencer.Sequencer,
        "is_duplicate",
        lambda old: lambda self, work: False,
    ),
    _bug("a failed batch leaves its children", sequencer.Sequencer, "fail", _fail_forgets_nothing),
    _bug("a snapshot sees what came later", snapshot.Facts, "stored_at", _late_reader_sees_new),
    _bug("deleted facts come back", snapshot.Facts, "apply", _keeps_deleted),
    _bug("a precondition is not checked", build.Builder, "_still_unchanged", lambda old: lambda self, work: True),
    _bug(
        "reservations hold nobody back",
        reservations.Reservations,
        "forbids",
        lambda old: lambda self, keys, holder=0: None,
    ),
    _bug("attempts of a batch draw the same chance", snapshot_lane.SnapshotRun, "execute", _same_place),
)


def _without_flight(old: Any, self: build.Builder, work: job.Job, this_batch: bool) -> Any:
    kept, self._before = self._before, {}
    try:
        return old(self, work, this_batch=this_batch)
    finally:
        self._before = kept
