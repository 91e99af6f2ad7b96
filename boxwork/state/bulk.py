"""Many calls of one transaction, run as one and checked together.

A call by itself pays for the chance that it fails: its changes are kept apart until it has returned, and every key
and every tuple is looked at as it is put.  A run of calls pays once.  Changes go straight into those of the run, and
what was put is checked at its end, by loops in C.

What such a run cannot vouch for makes it *unsure*: a call that raised after it had changed something, a deletion, a
key or a value that is none.  Then nothing of it is kept, and the same calls run again one by one.  A transaction is a
function of what it reads, so nobody can tell the difference; that an unsure run is rare is what makes it worth it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import filterfalse
from typing import Any, TypeAlias

from boxwork.errors import BoxworkError
from boxwork.keys import draw
from boxwork.state.job import as_answer
from boxwork.state.order import Key, check_key, check_keys
from boxwork.state.snapshot import Base
from boxwork.state.tx import SerialTx
from boxwork.state.values import ABSENT, DELETED, SMALL, Packed, all_plain, freeze, unpack
from boxwork.state.writes import Kind, bound_check, check_amount, merged, number

Row: TypeAlias = tuple[Any, ...]
Loop: TypeAlias = "Callable[[BulkTx, Callable[..., Any], Iterator[Row], list[Any]], None]"

# Fewer calls than this run one by one.  Unit: calls.  Reason: the checks at the end of a run cost about 3 us.
RUN_MIN = 8
# So many are checked together, and run again together.  Unit: calls.  Reason: measured with likes, 64 at once cost
# 0.79 us each, 1024 0.66, 4096 0.63; more would only make a second run longer.
RUN_MAX = 4096
# In a run of so many, what was put is looked up among the parts of its inputs first.  Unit: calls.  Reason: making a
# set of the latter takes 3 us with 14 calls, as much as looking at what is in them.
KNOWN_MIN = 64


class BulkTx(SerialTx):
    """Runs one call after another on the changes of those before it, in `own`.  For one run.

    answers   of the calls so far; where one raised, its exception, which is also in `errors`
    unsure    what was run since the last `take` does not count
    ran       if it became unsure: how many calls were run, those included that do not count
    """

    __slots__ = ("_first", "_tuples", "_wrote", "answers", "errors", "ran", "unsure")

    def __init__(self, base: Base, data: dict[Key, Any], batch: dict[Key, Any], now_ns: int, seed: bytes) -> None:
        super().__init__(base, data, batch, now_ns, seed)
        self._first = 0  # the place of the first call
        self._tuples: list[tuple[Any, ...]] = []
        self._wrote = False
        self.answers: list[Any] = []
        self.errors: dict[int, BaseException] = {}
        self.unsure = False
        self.ran = 0

    def run(
        self, call: Callable[..., Any], rows: Sequence[Row], first: int, take: Callable[[dict[Key, Any]], None]
    ) -> bool:
        """Call it with each of the rows, from place `first` on; `take` gets the changes, some calls together.

        False: it became unsure.  Then `answers` and what was taken are of the calls before that.
        """
        self._first = first
        loop, answers = _LOOPS.get(len(rows[0]), _any), self.answers
        for at in range(0, len(rows), RUN_MAX):
            if not self._run(loop, call, rows[at : at + RUN_MAX]):
                self.ran = len(answers)
                del answers[at:]
                self.errors = {index: error for index, error in self.errors.items() if index < at}
                return False
            take(self.own)
            self.own.clear()
            self._tuples.clear()
        return True

    def _run(self, loop: Loop, call: Callable[..., Any], rows: Sequence[Row]) -> bool:
        answers, ahead = self.answers, iter(rows)
        while True:
            try:
                loop(self, call, ahead, answers)
            except BaseException as error:  # whatever it is, it is the caller's
                if self._wrote or self.unsure:
                    answers.append(error)
                    return False
                self.place = -1  # the next call has this one's place, and draws from its beginning
                self.errors[len(answers)] = as_answer(error)
                answers.append(error)
            else:
                return not self.unsure and self._is_sound(rows)

    def _is_sound(self, rows: Sequence[Row]) -> bool:
        """Is everything that was put what it must be?  `rows` are plain, and parts of them are put often."""
        try:
            check_keys(list(filterfalse(self._data.__contains__, self.own)))
        except BoxworkError:
            return False
        return all_plain(self._tuples, rows if len(rows) >= KNOWN_MIN else ())

    @property
    def committed(self) -> int:
        """How many calls have changed what they wanted to."""
        return len(self.answers) - len(self.errors)

    def _draw(self) -> bytes:
        place = self._first + self.committed
        if place != self.place:  # it draws for the first time
            self.place, self.drawn = place, 0
        self.drawn += 1
        return draw(self.seed, place, self.drawn)

    def _stored(self, key: Key) -> Any:
        value = self.own.get(key, ABSENT)
        if value is ABSENT:
            value = self._batch.get(key, ABSENT)
            if value is ABSENT:
                value = self._data.get(key, ABSENT)
        return value

    def get(self, key: Key, default: Any = None) -> Any:
        value = self.own.get(key, ABSENT)
        if value is ABSENT:
            value = self._batch.get(key, ABSENT)
            if value is ABSENT:
                value = self._data.get(key, ABSENT)
                if value is ABSENT:
                    check_key(key)
                    return default
        if value.__class__ is int:  # most are
            return value
        if value.__class__ is Packed:
            return unpack(value.payload)
        return default if value is DELETED else value

    def put(self, key: Key, value: Any) -> None:
        if value.__class__ is not int and value.__class__ not in SMALL:
            if value.__class__ is tuple:
                self._tuples.append(value)
            else:
                value = freeze(value)
        self._wrote = True
        self.own[key] = value

    def delete(self, key: Key) -> None:
        self.unsure = True  # whether it does anything depends on what this call alone has done
        super().delete(key)

    def add(self, key: Key, delta: int, min: int | None = None, max: int | None = None) -> None:
        before = self.own.get(key, ABSENT)
        if before is ABSENT:
            before = self._batch.get(key, ABSENT)
            if before is ABSENT:
                before = self._data.get(key, ABSENT)
                if before is ABSENT:
                    check_key(key)
        if delta.__class__ is not int:
            check_amount(key, delta)
        if before.__class__ is not int:
            before = number(key, before)
        if min is None and max is None:
            self._wrote = True
            self.own[key] = before + delta
            return
        after = before + delta
        bound_check(key, before, after, min, max)
        self._wrote = True
        self.own[key] = after

    def _merge(self, key: Key, kind: Kind, amount: Any) -> None:
        check_key(key)
        value = merged(key, self._stored(key), kind, amount)
        self._wrote = True
        self.own[key] = value


class AloneTx(BulkTx):
    """For a run before which nothing was changed that is not visible: there is one dict less to look into.

    The two methods of every call are written out for it; the rest looks into the empty dict (docs/decisions/0092).
    """

    __slots__ = ()

    def get(self, key: Key, default: Any = None) -> Any:
        value = self.own.get(key, ABSENT)
        if value is ABSENT:
            value = self._data.get(key, ABSENT)
            if value is ABSENT:
                check_key(key)
                return default
        if value.__class__ is int:
            return value
        if value.__class__ is Packed:
            return unpack(value.payload)
        return default if value is DELETED else value

    def add(self, key: Key, delta: int, min: int | None = None, max: int | None = None) -> None:
        before = self.own.get(key, ABSENT)
        if before is ABSENT:
            before = self._data.get(key, ABSENT)
            if before is ABSENT:
                check_key(key)
        if delta.__class__ is not int:
            check_amount(key, delta)
        if before.__class__ is not int:
            before = number(key, before)
        if min is None and max is None:
            self._wrote = True
            self.own[key] = before + delta
            return
        after = before + delta
        bound_check(key, before, after, min, max)
        self._wrote = True
        self.own[key] = after


# --- loops
#
# One for each number of inputs: a call with its inputs spelled out costs the interpreter half of one with `*row`.


def _none(tx: BulkTx, call: Callable[..., Any], rows: Iterator[Row], answers: list[Any]) -> None:
    for _ in rows:
        tx._wrote = False
        answers.append(call(tx))


def _one(tx: BulkTx, call: Callable[..., Any], rows: Iterator[Row], answers: list[Any]) -> None:
    for (a,) in rows:
        tx._wrote = False
        answers.append(call(tx, a))


def _two(tx: BulkTx, call: Callable[..., Any], rows: Iterator[Row], answers: list[Any]) -> None:
    for a, b in rows:
        tx._wrote = False
        answers.append(call(tx, a, b))


def _three(tx: BulkTx, call: Callable[..., Any], rows: Iterator[Row], answers: list[Any]) -> None:
    for a, b, c in rows:
        tx._wrote = False
        answers.append(call(tx, a, b, c))


def _four(tx: BulkTx, call: Callable[..., Any], rows: Iterator[Row], answers: list[Any]) -> None:
    for a, b, c, d in rows:
        tx._wrote = False
        answers.append(call(tx, a, b, c, d))


def _five(tx: BulkTx, call: Callable[..., Any], rows: Iterator[Row], answers: list[Any]) -> None:
    for a, b, c, d, e in rows:
        tx._wrote = False
        answers.append(call(tx, a, b, c, d, e))


def _any(tx: BulkTx, call: Callable[..., Any], rows: Iterator[Row], answers: list[Any]) -> None:
    for row in rows:
        tx._wrote = False
        answers.append(call(tx, *row))


_LOOPS = {0: _none, 1: _one, 2: _two, 3: _three, 4: _four, 5: _five}
