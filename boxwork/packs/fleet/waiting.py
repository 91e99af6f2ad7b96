"""Hosts that wait for news: no thread, task or timer beside the one of the question itself, however many they are.

A question is held by an `asyncio.timeout`, inside which it listens whether its host hangs up.  News is a limit that
comes early: so there are three ways out of the wait and one thing to wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable

from boxwork import errors

# How often somebody looks whether the server stops.  Unit: seconds; a restart is held up by no more.
LOOK_S = 0.5
# Questions let go in one turn of the event loop: 1,000 answers are 0.2 s in which nobody else would be served.
# Unit: questions.
TURN_MAX = 200


class Waiting:
    """Who waits on one event loop.  `wake` may be called by any thread; nobody is held once `is_over` says so."""

    def __init__(self, waiting_max: int, is_over: Callable[[], bool] = lambda: False) -> None:
        self.waiting_max = waiting_max
        self.is_over = is_over
        self.count = 0
        self._sentinel: asyncio.Task[None] | None = None
        self._held: dict[str, set[asyncio.Timeout]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._woken: dict[str, None] = {}
        self._is_called = False

    def hold(self, host: str, limit: asyncio.Timeout) -> None:
        """`limit` ends at the next news for `host`; give it back with `leave`."""
        if self.count >= self.waiting_max:
            raise errors.Busy(f"{self.waiting_max:,} hosts wait here already (setting fleet.waiting_max)")
        self._held.setdefault(host, set()).add(limit)
        self.count += 1
        if self._sentinel is None:
            self._loop = asyncio.get_running_loop()
            self._sentinel = self._loop.create_task(self._watch_over())

    def leave(self, host: str, limit: asyncio.Timeout) -> None:
        held = self._held.get(host)
        if held is not None and limit in held:
            held.discard(limit)
            self.count -= 1
            if not held:
                del self._held[host]

    def wake(self, hosts: Iterable[str]) -> None:
        """One call into the loop for all hosts that have news by then."""
        with self._lock:
            self._woken.update(dict.fromkeys(hosts))
            if self._is_called or self._loop is None:
                return
            self._is_called = True
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everybody who waited
            self._loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        with self._lock:
            turn = [host for host, _ in zip(self._woken, range(TURN_MAX), strict=False)]
            for host in turn:
                del self._woken[host]
            self._is_called = bool(self._woken)
        for host in turn:
            for limit in self._held.get(host, ()):
                end(limit)
        if self._is_called and self._loop is not None:
            self._loop.call_soon(self._hand_out)

    async def _watch_over(self) -> None:
        """One task for all who wait, instead of one timer each."""
        while self.count:
            await asyncio.sleep(LOOK_S)
            if self.is_over():
                self.wake(list(self._held))
        self._sentinel = None


def end(limit: asyncio.Timeout) -> None:
    """Let go of it now, on its own loop."""
    with contextlib.suppress(RuntimeError):  # it is over by itself
        limit.reschedule(asyncio.get_running_loop().time())
