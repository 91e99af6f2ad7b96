"""A medley: calls of several transactions that came together, in one order, as one job.

What many callers ask for at once is mostly a mixture.  As a job for each transaction it is nearly a job for each call,
since the order of every caller must be kept; a medley keeps the order as it came, and runs as one, like many calls of
one transaction do (`boxwork.state.bulk`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from boxwork.state.job import Job
from boxwork.transactions import Transaction, transaction

Row: TypeAlias = tuple[Any, ...]


@transaction(name="(several)")
def several(tx: Any, call: Callable[..., Any], row: Row) -> Any:
    return call(tx, *row)


class Medley(Job):
    """Each of its rows is a function and its inputs, which must be plain (`boxwork.state.values.all_plain`).

    boxes   per row the transaction; short functions of the lane `serial`
    """

    __slots__ = ("boxes",)

    def __init__(
        self,
        boxes: Sequence[Transaction[..., Any]],
        rows: list[tuple[Callable[..., Any], Row]],
        done: Callable[[Job], None],
        *,
        submitted_ns: int = 0,
    ) -> None:
        super().__init__(several, [], "serial", done, submitted_ns=submitted_ns)
        self.boxes = boxes
        self.rows = rows
        self.callers = len(rows)

    @property
    def is_mixed(self) -> bool:
        return True

    def label_of(self, index: int) -> str:
        return self.boxes[index].name

    def transactions(self) -> dict[str, Transaction[..., Any]]:
        return {box.name: box for box in self.boxes}

    def runs(self, places: Sequence[int] | None) -> list[tuple[str, list[Any]]]:
        boxes, calls = self.boxes, self.rows
        if places is not None:
            boxes, calls = [boxes[place] for place in places], [calls[place] for place in places]
        runs: list[tuple[str, list[Any]]] = []
        last: Transaction[..., Any] | None = None
        rows: list[Row] = []
        for box, (_, row) in zip(boxes, calls, strict=True):
            if box is last:
                rows.append(row)
            else:
                last, rows = box, [row]
                runs.append((box.name, rows))
        return runs

    def rest(self, at: int) -> Job:
        rest = Medley(self.boxes[at:], self.rows[at:], self.done, submitted_ns=self.submitted_ns)
        rest.offset = self.offset + at
        self.boxes, self.rows = self.boxes[:at], self.rows[:at]
        self.callers = len(self.rows)
        return rest
