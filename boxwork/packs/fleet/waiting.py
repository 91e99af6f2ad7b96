"""Hosts that wait for news: a future each and no thread, woken together, however many they are."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable

from boxwork import errors

# How often somebody looks whether the server stops.  Unit: seconds; a restart is held up by no more.
LOOK_S = 0.5


class Waiting:
    """Who waits on one event loop.  `wake` may be called by any thread; nobody is held once `is_over` says so."""

    def __init__(self, waiting_max: int, is_over: Callable[[], bool] = lambda: False) -> None:
        self.waiting_max = waiting_max
        self.is_over = is_over
        self._sentinel: asyncio.Task[None] | None = None
        self.count = 0
        self._futures: dict[str, set[asyncio.Future[None]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._woken: set[str] = set()
        self._is_called = False

    def hold(self, host: str) -> asyncio.Future[None]:
        """A future that is done at the next news for `host`; give it back with `leave`."""
        if self.count >= self.waiting_max:
            raise errors.Busy(f"{self.waiting_max:,} hosts wait here already (setting fleet.waiting_max)")
        self._loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = self._loop.create_future()
        self._futures.setdefault(host, set()).add(future)
        self.count += 1
        if self._sentinel is None:
            self._sentinel = self._loop.create_task(self._watch_over())
        return future

    def leave(self, host: str, future: asyncio.Future[None]) -> None:
        held = self._futures.get(host)
        if held is not None and future in held:
            held.discard(future)
            self.count -= 1
            if not held:
                del self._futures[host]

    def wake(self, hosts: Iterable[str]) -> None:
        """One call into the loop for all hosts that have news by then."""
        with self._lock:
            self._woken.update(hosts)
            if self._is_called or self._loop is None:
                return
            self._is_called = True
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everybody who waited
            self._loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        with self._lock:
            hosts, self._woken, self._is_called = self._woken, set(), False
        for host in hosts:
            for future in self._futures.get(host, ()):
                if not future.done():
                    future.set_result(None)

    async def _watch_over(self) -> None:
        """One task for all who wait, instead of one timer each."""
        while self.count:
            await asyncio.sleep(LOOK_S)
            if self.is_over():
                self.wake(list(self._futures))
        self._sentinel = None
