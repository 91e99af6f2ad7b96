"""A clock that a test turns by hand."""

from __future__ import annotations

import itertools


class FakeClock:
    """Starts at `now_ns` and stands still until `advance`; its tokens are counted, so a run can be repeated."""

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = now_ns
        self._monotonic_ns = 0
        self._tokens = itertools.count(1)

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def token(self, bytes_count: int = 16) -> str:
        return f"{next(self._tokens):0{2 * bytes_count}x}"[-2 * bytes_count :]

    def advance(self, duration_ns: int) -> None:
        """Time passes."""
        self._now_ns += duration_ns
        self._monotonic_ns += duration_ns

    def step(self, difference_ns: int) -> None:
        """The wall clock is set, forward or back; the monotonic one does not notice."""
        self._now_ns += difference_ns
