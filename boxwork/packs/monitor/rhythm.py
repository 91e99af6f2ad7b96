"""When each check is due.  Pure: time is an argument.

Each check has a place within its interval that its name alone decides, so 200 checks of ten seconds are spread over
ten seconds, and after a restart they are where they were.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from boxwork import ref_of

SECOND_NS = 1_000_000_000
_SHARE = 1 << 32


def phase_ns(name: str, every_ns: int) -> int:
    """Where in its interval this check is due."""
    return int(ref_of(name.encode())[7:15], 16) * every_ns // _SHARE


def next_ns(name: str, every_ns: int, after_ns: int) -> int:
    """The first time after `after_ns` that is this check's."""
    phase = phase_ns(name, every_ns)
    return after_ns + every_ns - (after_ns - phase) % every_ns


class Rhythm:
    """The times of many checks.  A check that runs is not due again before it has ended."""

    def __init__(self) -> None:
        self._every: dict[str, int] = {}
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        self._running: dict[str, int] = {}
        self.missed = 0

    def take(self, intervals: Mapping[str, int], now_ns: int) -> None:
        """These are the checks now, with their intervals; a new one is due at its next place."""
        for name in self._every.keys() - intervals.keys():
            self._due.pop(name, None)
        for name, every in intervals.items():
            if self._every.get(name) != every and name not in self._running:
                self._set(name, next_ns(name, every, now_ns))
        self._every = dict(intervals)

    def _set(self, name: str, at_ns: int) -> None:
        self._due[name] = at_ns
        heapq.heappush(self._heap, (at_ns, name))

    def due(self, now_ns: int, free: int) -> list[tuple[str, int]]:
        """At most `free` checks that are to run now, with the time for which they were meant; they run from now on."""
        found: list[tuple[str, int]] = []
        while len(found) < free and self._heap and self._heap[0][0] <= now_ns:
            at_ns, name = heapq.heappop(self._heap)
            if self._due.get(name) == at_ns:  # else it was moved, or is gone
                del self._due[name]
                self._running[name] = at_ns
                found.append((name, at_ns))
        return found

    def waiting_ns(self, now_ns: int) -> int | None:
        """How long until something is due; None: nothing will be."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return max(0, self._heap[0][0] - now_ns) if self._heap else None

    def ended(self, name: str, now_ns: int, soon_ns: int = 0) -> None:
        """It has run; it is due at its next place, or in `soon_ns` if that is earlier (a state that is not certain)."""
        meant = self._running.pop(name, now_ns)
        every = self._every.get(name)
        if every is None:
            return
        at_ns = next_ns(name, every, now_ns)
        self.missed += max(0, (now_ns - meant) // every)
        if soon_ns:
            at_ns = min(at_ns, now_ns + soon_ns)
        self._set(name, at_ns)

    def hurry(self, name: str, now_ns: int) -> None:
        """It is due now, unless it runs just now."""
        if name in self._every and name not in self._running:
            self._set(name, now_ns)

    @property
    def running(self) -> int:
        return len(self._running)
