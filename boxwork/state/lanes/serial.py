"""The serial lane: one function after another on the live facts.

No conflict can arise, so nothing is recorded and nothing is compared.  Many calls of one transaction run as one
(`boxwork.state.bulk`); where that is unsure, they run once more, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from boxwork.state.bulk import RUN_MAX, RUN_MIN, AloneTx, BulkTx
from boxwork.state.job import Job, as_answer
from boxwork.state.order import Key
from boxwork.state.tx import SerialTx

# A transaction that was unsure runs one by one for so many jobs.  Unit: jobs.  Reason: what makes it unsure is mostly
# in its code, so it would be again; so a second run costs 1.5 % at most.
UNSURE_JOBS = 64


class SerialRun:
    """The changes of one batch while it is made.

    seen     what later transactions of the batch see: changes of batches in flight, and of this one
    writes   the changes of this batch alone
    authors  who changed each key, kept only while somebody asks
    unsure   for how many jobs a transaction shall run one by one, by its name; kept between batches
    """

    def __init__(
        self,
        tx: SerialTx,
        seen: dict[Key, Any],
        writes: dict[Key, Any],
        authors: dict[Key, str] | None,
        unsure: dict[str, int] | None = None,
    ) -> None:
        self.tx = tx
        self.seen = seen
        self.writes = writes
        self.authors = authors
        self.unsure = {} if unsure is None else unsure
        self.repeated = 0  # runs that did not count

    def take(self, changes: dict[Key, Any], label: str, *, nobody_follows: bool = False) -> None:
        """Add the changes of one transaction, or of some by one author."""
        self.writes.update(changes)
        if self.writes is not self.seen and not nobody_follows:
            self.seen.update(changes)
        if self.authors is not None:
            self.authors.update(dict.fromkeys(changes, label))

    def run_rows(self, job: Job, place: int, *, is_last: bool = False) -> int:
        """Run all rows of a job and keep their changes; the first place that is free afterwards.

        After the last job nothing is run in this batch any more.
        """
        rows, name = job.rows, job.box.name
        if len(rows) < RUN_MIN:
            return self._run_by_one(job, rows, place)
        if self.unsure.get(name):
            self.unsure[name] -= 1
            return self._run_by_one(job, rows, place)
        bulk = self.tx.another(AloneTx if self._is_alone(rows) else BulkTx)
        ends = is_last and len(rows) <= RUN_MAX
        is_sure = bulk.run(job.call, rows, place, lambda changes: self.take(changes, job.label, nobody_follows=ends))
        job.answers, job.errors = bulk.answers, bulk.errors
        place += bulk.committed
        if is_sure:
            return place
        self.unsure[name] = UNSURE_JOBS
        done = len(job.answers)
        self.repeated += bulk.ran - done
        return self._run_by_one(job, rows[done:], place)

    def _is_alone(self, rows: Sequence[Any]) -> bool:
        """Has nothing been changed that is not visible yet, and will nothing be before these rows have run?"""
        return not self.seen and len(rows) <= RUN_MAX

    def _run_by_one(self, job: Job, rows: list[tuple[Any, ...]], place: int) -> int:
        tx, call, answers = self.tx, job.call, job.answers
        own, label = tx.own, job.label
        for row in rows:
            tx.place = place
            if tx.drawn:
                tx.drawn = 0
            try:
                answer = call(tx, *row)
            except BaseException as error:  # whatever it is, it is the caller's: this thread goes on
                own.clear()
                job.errors[len(answers)] = as_answer(error)
                answers.append(error)
                continue
            if own:
                self.take(own, label)
                own.clear()
            answers.append(answer)
            place += 1
        return place

    def run_one(self, call: Callable[..., Any], row: tuple[Any, ...], place: int) -> tuple[Any, dict[Key, Any]]:
        """Run one function and return its answer and its changes, which are not kept.  Raises what it raises."""
        tx = self.tx
        tx.place, tx.drawn = place, 0
        try:
            return call(tx, *row), dict(tx.own)
        finally:
            tx.own.clear()
