"""A job: one or many calls of one transaction on their way through the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from boxwork.errors import Refused
from boxwork.state.batch import stored_rows
from boxwork.state.order import Key
from boxwork.state.receipts import Receipt
from boxwork.state.values import thaw

if TYPE_CHECKING:
    from boxwork.state.tx import SnapshotTx
    from boxwork.transactions import Transaction


class Job:
    """Handed in by a caller, changed by the sequencer, handed back once through `done`.

    rows      inputs, one tuple a call; every call is a transaction of its own
    tx        an attempt that ran elsewhere, on a snapshot, with its answer in `answers`; None: run it here
    answers   per row what it returned, or the exception it raised (then the row is in `errors`)
    """

    __slots__ = (
        "abandoned",
        "answers",
        "box",
        "call",
        "callers",
        "done",
        "error",
        "errors",
        "first",
        "indexes",
        "keys",
        "lane",
        "losses",
        "lost",
        "lost_ns",
        "offset",
        "once",
        "receipt_at",
        "reservation",
        "rivals",
        "rows",
        "since",
        "submitted_ns",
        "thaws",
        "touched",
        "tx",
        "unchanged",
        "who",
    )

    def __init__(
        self,
        box: Transaction[..., Any],
        rows: list[tuple[Any, ...]],
        lane: str,
        done: Callable[[Job], None],
        *,
        once: str = "",
        who: str = "",
        unchanged: tuple[Key, ...] = (),
        since: int = 0,
        tx: SnapshotTx | None = None,
        submitted_ns: int = 0,
    ) -> None:
        self.box = box
        self.call = box.inputs.caller(box.function)
        self.rows, self.thaws = stored_rows(rows)
        self.lane = lane
        self.done = done
        self.once = once
        self.who = who
        self.unchanged = unchanged
        self.since = since
        self.tx = tx
        self.submitted_ns = submitted_ns
        self.offset = 0  # of its first row in what the caller gave, when that was too much for one batch
        self.clear()
        self.losses = 0
        self.callers = 1  # who wait for it, each with an answer of his own: so often is its time recorded
        self.lost_ns = 0
        self.rivals: list[tuple[Key, str]] = []
        self.reservation = 0  # the reservation under which this attempt ran
        self.touched: frozenset[Key] = frozenset()  # what it changed in the run that met a reservation
        self.abandoned = False  # whoever asked for a reservation has gone
        self.keys: frozenset[Key] | None = None  # asks for a reservation of these keys (empty: of everything)

    def clear(self) -> None:
        """As if it had never run."""
        self.answers: list[Any] = []
        self.errors: dict[int, BaseException] = {}
        self.error: BaseException | None = None  # of the whole job: nothing of it was committed, or nobody knows
        self.first = -1  # index in the entry of its first committed row
        self.indexes: dict[int, int] | None = None  # row -> index, when they do not follow each other
        self.receipt_at: tuple[int, int, bytes] | None = None  # epoch, version, digest
        self.lost: Lost | None = None  # the attempt found no place: run it again

    @property
    def label(self) -> str:
        """Who it is, for the others."""
        return f"{self.box.name} by {self.who}" if self.who else self.box.name

    @property
    def is_mixed(self) -> bool:
        """Are its rows calls of several transactions?  See `boxwork.state.medley`."""
        return False

    def label_of(self, index: int) -> str:
        """The label of one of its rows."""
        return self.label

    def transactions(self) -> dict[str, Transaction[..., Any]]:
        return {self.box.name: self.box}

    def runs(self, places: Sequence[int] | None) -> list[tuple[str, list[Any]]]:
        """Names and rows as they are recorded: all, or those at `places`."""
        rows = self.rows if places is None else [self.rows[place] for place in places]
        return [(self.box.name, rows)] if rows else []

    def arguments(self, index: int) -> tuple[Any, ...]:
        row = self.rows[index]
        return tuple(map(thaw, row)) if self.thaws else row

    def rest(self, at: int) -> Job:
        """Split: this job keeps the rows before `at`, a new one gets the others."""
        rest = Job(self.box, self.rows[at:], self.lane, self.done, who=self.who, submitted_ns=self.submitted_ns)
        rest.offset, rest.thaws = self.offset + at, self.thaws
        self.rows = self.rows[:at]
        if self.callers > 1:
            rest.callers, self.callers = len(rest.rows), len(self.rows)
        return rest

    def answer(self) -> Any:
        """What the single call returned; raises what it raised."""
        if self.error is not None:
            raise self.error
        if self.errors:
            raise self.errors[0]
        return self.answers[0]

    def receipt(self, row: int = 0) -> Receipt:
        assert self.receipt_at is not None
        epoch, version, digest = self.receipt_at
        if self.indexes is not None:
            return Receipt(epoch, version, self.indexes.get(row, -1), digest)
        if self.first < 0:
            return Receipt(epoch, version, -1, digest)
        return Receipt(epoch, version, self.first + row - sum(1 for index in self.errors if index < row), digest)

    @property
    def refusals(self) -> int:
        return sum(1 for error in self.errors.values() if isinstance(error, Refused)) if self.errors else 0


def as_answer(error: BaseException) -> BaseException:
    """An exception of a transaction, to be kept and raised where it was called.

    A traceback holds the frames it goes through, and these hold all their variables.  A refusal is an answer: it needs
    none.  Of the others the first frame, ours, is cut off: it holds the job, which holds the error.
    """
    trace = error.__traceback__
    return error.with_traceback(None if isinstance(error, Refused) or trace is None else trace.tb_next)


class Lost:
    """Why an attempt must run again: `key` was changed by `rival`."""

    __slots__ = ("key", "rival")

    def __init__(self, key: Key, rival: str) -> None:
        self.key = key
        self.rival = rival
