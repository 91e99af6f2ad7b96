"""The serial lane: one function after another on the live facts.

No conflict can arise, so nothing is recorded, nothing is compared and nothing runs twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from boxwork.state.job import Job
from boxwork.state.order import Key
from boxwork.state.tx import SerialTx


class SerialRun:
    """The changes of one batch while it is made.

    seen     what later transactions of the batch see: changes of batches in flight, and of this one
    writes   the changes of this batch alone
    authors  who changed each key, kept only while somebody asks
    """

    def __init__(
        self, tx: SerialTx, seen: dict[Key, Any], writes: dict[Key, Any], authors: dict[Key, str] | None
    ) -> None:
        self.tx = tx
        self.seen = seen
        self.writes = writes
        self.authors = authors

    def take(self, changes: dict[Key, Any], label: str) -> None:
        """Add the changes of one transaction."""
        self.seen.update(changes)
        if self.writes is not self.seen:
            self.writes.update(changes)
        if self.authors is not None:
            self.authors.update(dict.fromkeys(changes, label))

    def run_rows(self, job: Job, place: int) -> int:
        """Run all rows of a job and keep their changes; the first place that is free afterwards."""
        tx, call, answers = self.tx, job.call, job.answers
        own, see = tx.own, self.seen.update
        also = self.writes.update if self.writes is not self.seen else None
        for row in job.rows:
            tx.place = place
            if tx.drawn:
                tx.drawn = 0
            try:
                answer = call(tx, *row)
            except BaseException as error:  # whatever it is, it is the caller's: this thread goes on
                own.clear()
                job.errors[len(answers)] = error
                answers.append(error)
                continue
            if own:
                see(own)
                if also is not None:
                    also(own)
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
