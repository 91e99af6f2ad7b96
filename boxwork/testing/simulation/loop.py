"""An event loop in virtual time: what happens at one moment happens in an order drawn from the seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, TypeAlias

# A process yields what it waits for: nanoseconds, or an event whose value it is sent.
Process: TypeAlias = "Generator[int | Event, Any, None]"


class Event:
    """Happens once, with a value."""

    __slots__ = ("_loop", "_waiting", "is_set", "value")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: list[Callable[[Any], None]] = []
        self.is_set = False
        self.value: Any = None

    def set(self, value: Any = None) -> None:
        if not self.is_set:
            self.is_set, self.value = True, value
            for resume in self._waiting:
                self._loop.after(0, partial(resume, value))

    def then(self, resume: Callable[[Any], None]) -> None:
        if self.is_set:
            self._loop.after(0, partial(resume, self.value))
        else:
            self._waiting.append(resume)


class Loop:
    """Also the clock of everything in it (`boxwork.clock.Clock`)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.elapsed_ns = 0
        self.events = 0
        self._heap: list[tuple[int, float, int, Callable[[], None]]] = []

    def after(self, delay_ns: int, action: Callable[[], None]) -> None:
        self.events += 1
        heapq.heappush(self._heap, (self.elapsed_ns + delay_ns, self.random.random(), self.events, action))

    def event(self) -> Event:
        return Event(self)

    def spawn(self, process: Process, is_alive: Callable[[], bool] = lambda: True) -> None:
        """Run a process until it ends, or until it is found dead when it would go on."""

        def step(value: Any = None) -> None:
            if not is_alive():
                process.close()
                return
            try:
                wanted = process.send(value)
            except StopIteration:
                return
            if isinstance(wanted, Event):
                wanted.then(step)
            else:
                self.after(wanted, step)

        self.after(0, step)

    def run(self, until_ns: int) -> None:
        while self._heap and self._heap[0][0] <= until_ns:
            self.elapsed_ns, _, _, action = heapq.heappop(self._heap)
            action()
        self.elapsed_ns = max(self.elapsed_ns, until_ns)

    # --- the clock

    def now_ns(self) -> int:
        return 1_700_000_000_000_000_000 + self.elapsed_ns

    def monotonic_ns(self) -> int:
        return self.elapsed_ns

    def token(self, bytes_count: int = 16) -> str:
        return self.random.getrandbits(8 * bytes_count).to_bytes(bytes_count, "big").hex()
