"""The shared fake clock, set to a whole hour, so that slots of every width begin together."""

from __future__ import annotations

from boxwork.clock import SECOND_NS
from boxwork.testing.clock import FakeClock

# 2023-11-14 22:00:00 UTC
HOUR_START_NS = 1_700_000_000 // 3600 * 3600 * SECOND_NS


def fake_clock() -> FakeClock:
    return FakeClock(now_ns=HOUR_START_NS)
