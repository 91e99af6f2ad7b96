"""Reports of hosts on their way to the disk: whatever arrives during one write is the next one.

5,000 hosts that answer within a second are a handful of batches, one wake-up of the event loop each.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import Any

from boxwork import errors
from boxwork.packs.fleet import decisions
from boxwork.packs.fleet.protocol import Report

# Reports of one batch: its write set stays under 1 MiB.  Unit: reports.
BATCH_MAX = 1_000


class Reporting:
    """For one event loop; the writing is done by one thread that lives while there is something to write."""

    def __init__(self, work: Any, waiting_max: int) -> None:
        self.work = work
        self.waiting_max = waiting_max
        self._waiting: deque[tuple[Report, asyncio.Future[None]]] = deque()
        self._lock = threading.Lock()
        self._is_writing = False

    async def write(self, report: Report) -> None:
        """Returns when it is on disk.  Raises `Busy` when too many wait."""
        if len(self._waiting) >= self.waiting_max:
            raise errors.Busy(f"{self.waiting_max:,} reports wait to be written (setting fleet.reports_max)")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((report, future))
            first, self._is_writing = not self._is_writing, True
        if first:
            loop.run_in_executor(None, self._write_all, loop)
        await future

    def _write_all(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            with self._lock:
                batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
                if not batch:
                    self._is_writing = False
                    return
            fault: Exception | None = None
            answers: list[Any] = [None] * len(batch)
            try:
                answers = self.work.commit_many(decisions.report, [(report,) for report, _ in batch])
            except Exception as reason:  # it concerns everybody in the batch, and each is told
                fault = reason
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everybody who waited
                loop.call_soon_threadsafe(_answer, batch, answers, fault)


def _answer(batch: list[tuple[Report, asyncio.Future[None]]], answers: list[Any], fault: Exception | None) -> None:
    for (_, future), answer in zip(batch, answers, strict=True):
        if future.done():
            continue
        reason = fault or (answer if isinstance(answer, Exception) else None)
        if reason is None:
            future.set_result(None)
        else:
            future.set_exception(reason)
