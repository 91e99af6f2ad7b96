"""Live by server-sent events: finished intervals as they are finished, with resume.

Each event carries `id:` the start of its last interval; a browser that comes back (a laptop slept, the network was
away) sends it as Last-Event-ID and gets what it missed, from memory or from the history.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from boxwork.clock import monotonic_ns
from boxwork.pulse.page import Follower, Tick
from boxwork.pulse.recorder import Pulse
from boxwork.serve.pulse.overview import STEP_NS, Overview

# An event at least this often: the page moves on though nothing was finished, and a broken line shows.  Unit: seconds.
BEAT_S = 1.0
# The browser comes back after this.  Unit: milliseconds.
RETRY_MS = 1000
# Intervals of one event; a long sleep is told in several.  Unit: intervals, about 500 bytes each.
TICKS_MAX = 300


def event(data: Any, *, kind: str = "", name: str = "") -> bytes:
    head = (f"event: {kind}\n" if kind else "") + (f"id: {name}\n" if name else "")
    return head.encode() + b"data: " + msgspec.json.encode(data, enc_hook=str) + b"\n\n"


def tick_event(ticks: list[Tick], now_ns: int) -> bytes:
    """`now` is the server's clock in milliseconds: a page has no other to name its columns by."""
    shown = [{"s": str(tick.series), "b": base64.b64encode(tick.interval.to_bytes()).decode()} for tick in ticks]
    return event({"now": now_ns / 1e6, "ticks": shown}, name=ticks[-1].id if ticks else "")


async def events(
    pulse: Pulse,
    pattern: str,
    after_ns: int | None,
    in_thread: Any,
    overview: Overview | None,
    alarms: Callable[[], dict[str, Any]] | None,
    ended: Callable[[], bool],
) -> AsyncIterator[bytes]:
    """The body of a stream, until the client leaves or `ended`."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended; the aggregator goes on
            loop.call_soon_threadsafe(woken.set)

    yield f"retry: {RETRY_MS}\n\n".encode()
    follower = Follower(pulse, pattern, after_ns=after_ns, wake=wake) if pattern else None
    sent_ns = shown_ns = -(2**62)
    try:
        while not ended():
            ticks = await in_thread(follower.poll) if follower is not None else []
            for start in range(0, len(ticks), TICKS_MAX):
                yield tick_event(ticks[start : start + TICKS_MAX], pulse.clock.now_ns())
                sent_ns = monotonic_ns()
            if monotonic_ns() - sent_ns >= BEAT_S * 0.9e9:
                yield tick_event([], pulse.clock.now_ns())
                sent_ns = monotonic_ns()
            if overview is not None and monotonic_ns() - shown_ns >= STEP_NS:
                shown_ns = monotonic_ns()
                rows = await in_thread(overview.look)
                yield event({"series": rows, "total": overview.total}, kind="overview")
            if alarms is not None:
                yield event(alarms(), kind="rules")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), BEAT_S)
            woken.clear()
    finally:
        if follower is not None:
            follower.close()
