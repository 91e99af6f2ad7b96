"""Hosts that wait for news: no thread, task or timer for each, however many they are.

Whoever waits is let go at the first news for its host, when its time is over, or when the server stops.  Times are
looked at twice a second for all hosts together: 5,000 of them that ask every 30 s are two small crowds a second, and
not 170 timers, each of which finds the processor asleep and its caches cold.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from boxwork import errors

# How often somebody looks whose time is over, and whether the server stops.  Unit: seconds; a wait ends up to twice
# that early, and never late.
LOOK_S = 0.5
# Questions let go in one turn of the event loop: 1,000 answers are 0.2 s in which nobody else would be served.
# Unit: questions.
TURN_MAX = 200


class Waiter(Protocol):
    def let_go(self) -> None:
        """There is news, or no time left; called on the event loop, at least once, perhaps after `leave`."""


class Waiting:
    """Who waits on one event loop.  `wake` may be called by any thread; nobody is held once `is_over` says so."""

    def __init__(self, waiting_max: int, is_over: Callable[[], bool] = lambda: False) -> None:
        self.waiting_max = waiting_max
        self.is_over = is_over
        self.count = 0
        self._sentinel: asyncio.Task[None] | None = None
        self._held: dict[str, dict[Waiter, int | None]] = {}
        self._due: dict[int, dict[Waiter, None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._woken: dict[str, None] = {}
        self._is_called = False

    def begin(self) -> None:
        """From now on news reaches this loop: before anybody looks whether there is some, and then waits."""
        self._loop = asyncio.get_running_loop()

    @property
    def is_full(self) -> bool:
        return self.count >= self.waiting_max

    def hold(self, host: str, waiter: Waiter, wait_s: float | None = None) -> None:
        """`waiter` is let go at the next news for `host`; give it back with `leave`.  None: it looks after its time."""
        if self.is_full:
            raise errors.Busy(f"{self.waiting_max:,} hosts wait here already (setting fleet.waiting_max)")
        loop = self._loop = self._loop or asyncio.get_running_loop()
        if self._sentinel is None:
            self._sentinel = loop.create_task(self._watch_over())
        look: int | None = None
        if wait_s is not None:
            look = int((loop.time() + wait_s) / LOOK_S) - 1
            self._due.setdefault(look, {})[waiter] = None
        self._held.setdefault(host, {})[waiter] = look
        self.count += 1

    def leave(self, host: str, waiter: Waiter) -> None:
        """Nothing happens if it has left already."""
        held = self._held.get(host)
        if held is None or waiter not in held:
            return
        look = held.pop(waiter)
        self.count -= 1
        if not held:
            del self._held[host]
        if look is not None and (due := self._due.get(look)) is not None:
            del due[waiter]
            if not due:
                del self._due[look]

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
            for waiter in list(self._held.get(host, ())):
                waiter.let_go()
        if self._is_called and self._loop is not None:
            self._loop.call_soon(self._hand_out)

    async def _watch_over(self) -> None:
        """One task for all who wait, instead of one timer each."""
        loop = asyncio.get_running_loop()
        while self.count:
            await asyncio.sleep(LOOK_S)
            if self.is_over():
                self.wake(list(self._held))
            now = int(loop.time() / LOOK_S)
            late = [waiter for look in sorted(self._due) if look <= now for waiter in self._due[look]]
            for number, waiter in enumerate(late, 1):
                waiter.let_go()  # and it leaves
                if number % TURN_MAX == 0:
                    await asyncio.sleep(0)
        self._sentinel = None


class Limit:
    """A waiter around an `asyncio.timeout`: news is a limit that comes early."""

    def __init__(self, limit: asyncio.Timeout) -> None:
        self.limit = limit

    def let_go(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is over by itself
            self.limit.reschedule(asyncio.get_running_loop().time())
