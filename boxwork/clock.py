"""Time and chance as arguments.

The wall clock and randomness are read in this file and nowhere else (a test walks the source), so that a
simulation or a test is just another `Clock`.  All internal time is integer nanoseconds.
"""

from __future__ import annotations

import secrets
import time
from typing import Protocol

SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000

# Durations are measured with this one, directly: it is monotonic, and a call through an object costs 40 ns more.
monotonic_ns = time.perf_counter_ns
# What the calling thread has cost, in CPU time: waiting for a disk or a network is none.
thread_cpu_ns = time.thread_time_ns


class Clock(Protocol):
    """What the rest of Boxwork may know about time and chance."""

    def now_ns(self) -> int:
        """Wall time in nanoseconds since 1970-01-01 UTC; it may step backwards."""
        ...

    def monotonic_ns(self) -> int:
        """A time in nanoseconds that never goes back; only differences mean something."""
        ...

    def token(self, bytes_count: int = 16) -> str:
        """`bytes_count` unpredictable bytes, as lower-case hexadecimal."""
        ...


class SystemClock:
    """The clocks and the randomness of this machine."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return monotonic_ns()

    def token(self, bytes_count: int = 16) -> str:
        return secrets.token_hex(bytes_count)
