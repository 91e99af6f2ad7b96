"""Reports of hosts on their way to the disk: whatever arrives during one write is the next one.

5,000 hosts that answer within a second are a handful of batches, one wake-up of the event loop each.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

from boxwork import errors
from boxwork.packs.fleet import decisions
from boxwork.packs.fleet.protocol import Report

# Reports of one batch: its write set stays under 1 MiB.  Unit: reports.
BATCH_MAX = 1_000

Handed: TypeAlias = "tuple[Sequence[Report], asyncio.Future[None]]"


class Reporting:
    """For one event loop; the writing is done by one thread that lives while there is something to write."""

    def __init__(self, work: Any, waiting_max: int) -> None:
        self.work = work
        self.waiting_max = waiting_max
        self._waiting: deque[Handed] = deque()
        self._count = 0
        self._lock = threading.Lock()
        self._is_writing = False

    def hand_in(self, reports: Sequence[Report]) -> asyncio.Future[None]:
        """Done when all of them are on disk.  Raises `Busy` when too many wait."""
        if self._count >= self.waiting_max:
            raise errors.Busy(f"{self.waiting_max:,} reports wait to be written (setting fleet.reports_max)")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((reports, future))
            self._count += len(reports)
            first, self._is_writing = not self._is_writing, True
        if first:
            loop.run_in_executor(None, self._write_all, loop)
        return future

    def _write_all(self, loop: asyncio.AbstractEventLoop) -> None:
        while batch := self._next_batch():
            fault: Exception | None = None
            answers: list[Any] = []
            try:
                answers = self.work.commit_many(
                    decisions.heard, [(decisions.spell(report),) for reports, _ in batch for report in reports]
                )
            except Exception as reason:  # it concerns everybody in the batch, and each is told
                fault = reason
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everybody who waited
                loop.call_soon_threadsafe(_answer, batch, answers, fault)

    def _next_batch(self) -> list[Handed]:
        batch: list[Handed] = []
        count = 0
        with self._lock:
            while self._waiting and (not batch or count + len(self._waiting[0][0]) <= BATCH_MAX):
                handed = self._waiting.popleft()
                batch.append(handed)
                count += len(handed[0])
            self._count -= count
            self._is_writing = bool(batch)
        return batch


def _answer(batch: list[Handed], answers: list[Any], fault: Exception | None) -> None:
    rest = iter(answers)
    for reports, future in batch:
        own = [fault] if fault else [next(rest) for _ in reports]
        reason = next((answer for answer in own if isinstance(answer, Exception)), None)
        if future.done():
            continue
        if reason is None:
            future.set_result(None)
        else:
            future.set_exception(reason)
