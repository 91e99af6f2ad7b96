"""Stands before a history that may have to wait: keeps rows until they are taken, in bounded memory.

When the history stays away for long, resolution goes before counts: the oldest fine intervals are dropped once the
coarser interval that contains them is in the spool too (the aggregator made it, and it is exact), which is then
marked COALESCED.  Only when nothing but the coarsest is left are rows lost, and counted.

A history must therefore take the same row twice without harm.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from boxwork.clock import MILLISECOND_NS, SECOND_NS, monotonic_ns
from boxwork.pulse import interval as marks
from boxwork.pulse.interval import header_of
from boxwork.pulse.series_name import SeriesName
from boxwork.pulse.sinks.sink import History, Request, Row, SeriesInfo, Sink
from boxwork.settings import MiB

log = logging.getLogger("boxwork.pulse")

# What may wait while a history is away: about 150,000 rows, an hour of 40 busy series at 1 s.
BYTES_MAX = 64 * MiB
# Python's own cost of a waiting row.  Unit: bytes.
OVERHEAD = 400
# Rows handed over at once: a pipeline or transaction of about 0.5 MB.
BATCH = 1000
# First and longest pause before the next attempt.  Unit: seconds.
RETRY_FIRST, RETRY_MAX = 0.1, 5.0
# A history that let somebody wait this long for nothing is not asked again before this: the next who asks shall not
# wait, too, least of all the rules, which are judged where the intervals are made.  Longer than the writing thread
# takes between two attempts, so that in a process that writes it is the one who finds out.  Unit: nanoseconds.
SLOW_NS, ASK_AGAIN_NS = 100 * MILLISECOND_NS, 8 * SECOND_NS
# How often an idle history may tidy up.  Unit: seconds.
TIDY_SECONDS = 30.0
# How long `close` tries to hand over what waits.  Unit: seconds.
CLOSE_SECONDS = 3.0

T = TypeVar("T")
_Key = tuple[SeriesName, int, int, int]


class Store(Sink, Protocol):
    """What stands behind a spool; `write`, `tidy` and `close` are never called by two threads at once."""

    def tidy(self) -> None:
        """Seal, expire, compact: called now and then while nothing waits."""
        ...


class AskableStore(Store, History, Protocol):
    """A store that can be asked, from any thread."""


class Spool:
    """A sink whose `write` never waits."""

    def __init__(self, store: Store, *, bytes_max: int = BYTES_MAX) -> None:
        self.store = store
        self.bytes_max = bytes_max
        self.bytes_held = 0
        self.coalesced = 0
        self.dropped = 0
        self.failures = 0
        self.last_failure = ""
        #: Why the history does not answer; empty while it does.
        self.away = ""
        self._ask_again_ns = 0
        self._rows: dict[_Key, Row] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._handing = threading.Lock()
        self._closing = False
        self._owner = os.getpid()
        self._thread: threading.Thread | None = None

    # --- the aggregator's side

    def write(self, rows: Sequence[Row]) -> None:
        with self._lock:
            if self._closing:
                self.dropped += len(rows)
                return
            for row in rows:
                key = _key(row)
                before = self._rows.pop(key, None)
                if before is not None:
                    self.bytes_held -= _cost(before)
                self._rows[key] = row
                self.bytes_held += _cost(row)
            if self.bytes_held > self.bytes_max:
                self._coalesce()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="boxwork-pulse-spool", daemon=True)
                self._thread.start()
        self._wake.set()

    def _coalesce(self) -> None:
        """Free a tenth, from the finest and oldest; a row goes only if the coarser one around it is here."""
        goal = self.bytes_max * 9 // 10
        for _ in range(8):  # 1 s, 10 s, 1 min, 1 h: each turn may free the next width
            if self.bytes_held <= goal:
                return
            before = self.bytes_held
            for key in sorted(self._rows, key=lambda key: (key[1], key[2])):
                row = self._rows[key]
                name, width, start, epoch = key
                coarser = next((wider for wider in row.series.widths if wider > width), None)
                if coarser is None:
                    continue
                around = (name, coarser, start - start % coarser, epoch)
                keeper = self._rows.get(around)
                if keeper is None or keeper.interval.flags & marks.UNFINISHED:
                    continue
                if not keeper.interval.flags & marks.COALESCED:
                    keeper.interval.flags |= marks.COALESCED
                    self._rows[around] = Row(keeper.series, keeper.interval, keeper.interval.to_bytes())
                del self._rows[key]
                self.bytes_held -= _cost(row)
                self.coalesced += 1
                if self.bytes_held <= goal:
                    return
            if self.bytes_held == before:
                break
        while self.bytes_held > self.bytes_max:
            self.bytes_held -= _cost(self._rows.pop(next(iter(self._rows))))
            self.dropped += 1

    # --- the history's side

    def _run(self) -> None:
        pause, tidied = RETRY_FIRST, monotonic_ns()
        while not self._closing:
            self._wake.wait(TIDY_SECONDS)
            self._wake.clear()
            while self._rows and not self._closing:
                if self.hand_over():
                    pause = RETRY_FIRST
                else:
                    self._wake.wait(pause)
                    self._wake.clear()
                    pause = min(RETRY_MAX, pause * 2)
            if not self._closing and monotonic_ns() - tidied > TIDY_SECONDS * 1e9:
                tidied = monotonic_ns()
                began = monotonic_ns()
                try:
                    self.store.tidy()
                except Exception as reason:
                    self._failed("tidying", reason, began)

    def hand_over(self) -> bool:
        """Give one batch to the history; False if it did not take it."""
        with self._handing:
            with self._lock:
                batch = [row for _, row in zip(range(BATCH), self._rows.values(), strict=False)]
            if not batch:
                return True
            began = monotonic_ns()
            try:
                self.store.write(batch)
            except Exception as reason:
                self._failed("writing to", reason, began)
                return False
            self._answered()
            with self._lock:
                for row in batch:
                    key = _key(row)
                    if self._rows.get(key) is row:
                        del self._rows[key]
                        self.bytes_held -= _cost(row)
            return True

    def _answered(self) -> None:
        self.away, self._ask_again_ns = "", 0

    def _failed(self, what: str, reason: BaseException, began_ns: int) -> None:
        self.away = str(reason)
        if monotonic_ns() - began_ns > SLOW_NS:
            self._ask_again_ns = monotonic_ns() + ASK_AGAIN_NS
        self.failures += 1
        self.last_failure = f"{what}: {reason}"
        if self.failures & (self.failures - 1) == 0:  # 1st, 2nd, 4th …
            log.warning("pulse: %s %s failed %d times: %s", what, type(self.store).__name__, self.failures, reason)

    @property
    def waiting(self) -> int:
        """Rows that are not taken yet."""
        return len(self._rows)

    def flush(self, timeout_seconds: float = CLOSE_SECONDS) -> bool:
        """Hand over everything now; False if the history did not take all of it in time."""
        deadline = monotonic_ns() + round(timeout_seconds * 1e9)
        while self._rows:
            if not self.hand_over() or monotonic_ns() > deadline:
                return not self._rows
        return True

    def close(self) -> None:
        if os.getpid() != self._owner or self._closing:
            return
        self.flush()
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
        self.dropped += len(self._rows)
        with contextlib.suppress(Exception):
            self.store.close()


class HistorySpool(Spool):
    """The same before a store that can be asked: what waits is part of the answers."""

    def __init__(self, store: AskableStore, *, bytes_max: int = BYTES_MAX) -> None:
        super().__init__(store, bytes_max=bytes_max)
        self.asked = store

    def catalog(self) -> list[SeriesInfo]:
        if os.getpid() != self._owner:
            return []
        with self._lock:
            waiting = {row.series.name: row.series for row in self._rows.values()}
        nobody: list[SeriesInfo] = []
        known = {info.name: info for info in self._ask(self.asked.catalog, nobody)}
        return list((waiting | known).values())

    def _ask(self, question: Callable[[], T], otherwise: T) -> T:
        if monotonic_ns() < self._ask_again_ns:
            return otherwise
        began = monotonic_ns()
        try:
            answer = question()
        except Exception as reason:
            self._failed("asking", reason, began)
            return otherwise
        self._answered()
        return answer

    def read(self, requests: Sequence[Request]) -> list[list[bytes]]:
        """What the history has, with the waiting rows in place of their older selves.

        A history that is away answers nothing: what waits here is still an answer, with the coverage to show it.
        """
        if os.getpid() != self._owner:  # a forked child: connections and locks belong to the parent
            return [[] for _ in requests]
        with self._lock:
            waiting: dict[tuple[SeriesName, int], dict[tuple[int, int], bytes]] = {}
            for (name, width, start, epoch), row in self._rows.items():
                waiting.setdefault((name, width), {})[start, epoch] = row.blob
        nothing: list[list[bytes]] = [[] for _ in requests]
        answers = self._ask(lambda: self.asked.read(requests), nothing)
        for place, request in enumerate(requests):
            ours = waiting.get((request.series, request.width_ns))
            if not ours:
                continue
            slots = {(header.start_ns, header.epoch): blob for blob in answers[place] for header in (header_of(blob),)}
            slots |= {slot: blob for slot, blob in ours.items() if request.start_ns <= slot[0] < request.end_ns}
            answers[place] = list(slots.values())
        return answers


def _key(row: Row) -> _Key:
    return (row.series.name, row.interval.width_ns, row.interval.start_ns, row.interval.epoch)


def _cost(row: Row) -> int:
    return len(row.blob) + OVERHEAD
