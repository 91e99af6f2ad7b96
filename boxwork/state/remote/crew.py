"""Threads for calls that may wait: made when there is something to do, gone when there is not, at most so many."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Crew:
    """`start` may be called by any thread.  What is started looks after its own errors."""

    def __init__(self, threads_max: int) -> None:
        self._threads_max = threads_max
        self._lock = threading.Lock()  # over the next two
        self._threads = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def start(self, work: Callable[[], None]) -> None:
        """Run it beside the others, as soon as one of the threads is free."""
        with self._lock:
            self._waiting.append(work)
            if self._threads == self._threads_max:
                return
            self._threads += 1
        threading.Thread(target=self._work, name="state-guest", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                work = self._waiting.popleft()
            work()
