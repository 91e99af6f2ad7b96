"""What the live page shows: the engine's counters as rates, once a second, made once for all who look.

Nothing is sampled while nobody looks, so the lines begin when the first page is opened.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from boxwork.clock import MILLISECOND_NS, SECOND_NS
from boxwork.serve.readable import readable
from boxwork.state.counters import LANES

STEP_NS = SECOND_NS
# Points of a line.  Unit: seconds.
KEPT = 120
# If nobody looked for so long, the line begins anew: a mean over minutes is no point of it.  Unit: nanoseconds.
FORGET_NS = 5 * SECOND_NS
# Of the lists.  Unit: rows.  Reason: as many as fit on a page.
HOT_SHOWN = 12
WAITS_SHOWN = 20
RECENT_SHOWN = 30
RATES = ("commits", "executions", "reruns", "aborts", "refusals", "failures", "waits", "lost_ns")


class Activity:
    """Ask `look()`, from any thread."""

    def __init__(self, work: Any) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._before: tuple[int, dict[str, Any]] | None = None
        self._looked: dict[str, Any] = {}
        self._points: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def look(self) -> dict[str, Any]:
        """The state of the engine, and as its `point` the rates of the second that has passed."""
        with self._lock:
            now = self._work.clock.monotonic_ns()
            if self._before is None or now - self._before[0] >= STEP_NS * 0.9:
                self._looked = self._make(now)
            return self._looked

    def past(self) -> list[dict[str, Any]]:
        """The points before, oldest first."""
        with self._lock:
            return list(self._points)

    def _make(self, now: int) -> dict[str, Any]:
        told = self._work.node.forwarding.numbers()
        numbers = told["numbers"]
        before, self._before = self._before, (now, numbers)
        if before is not None and now - before[0] > FORGET_NS:
            self._points.clear()
            before = None
        point = None
        if before is not None:
            point = _point(before[1], numbers, (now - before[0]) / SECOND_NS)
            point["at_ms"] = self._work.clock.now_ns() / MILLISECOND_NS
            self._points.append(point)
        written = sum(row["writes"] for row in numbers["hottest"]) or 1
        return {
            "owner": told["owner"],
            "version": numbers["version"],
            "facts": numbers["facts"],
            "queued": numbers["queued"],
            "in_flight": numbers["in_flight"],
            "snapshots": numbers["snapshots_open"],
            "watches": numbers["watches"],
            "reserved": numbers["waiting_for_reservations"],
            "lanes": {lane: {name: numbers["lanes"][lane][name] for name in RATES} for lane in LANES},
            "hottest": [
                {"key": row["key"], "share": row["writes"] / written} for row in numbers["hottest"][:HOT_SHOWN]
            ],
            "lock_waits": numbers["lock_waits"][:WAITS_SHOWN],
            "impure": numbers["impure"],
            "recent": [entry_shown(one) for one in told["recent"][:RECENT_SHOWN]],
            "point": point,
        }


def _point(before: dict[str, Any], after: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Rates a second between two looks.  A restart of the owner counts from nothing, so none is below zero."""

    def rate(old: float, new: float) -> float:
        return round(max(new - old, 0) / seconds, 3)

    lanes = {
        lane: {name: rate(before["lanes"][lane][name], after["lanes"][lane][name]) for name in RATES} for lane in LANES
    }
    batches, rows = rate(before["batches"], after["batches"]), rate(before["rows"], after["rows"])
    return {
        "lanes": lanes, "batches": batches, "rows": rows, "bytes": rate(before["bytes"], after["bytes"]),
        "batch": round(rows / batches, 2) if batches else 0,
    }  # fmt: skip


def entry_shown(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of the log as the pages get it."""
    shown = {key: value for key, value in entry.items() if key not in ("at_ns", "first")}
    shown["at_ms"] = entry["at_ns"] / MILLISECOND_NS
    shown["first"] = [
        {"receipt": call["receipt"], "name": call["name"], "inputs": readable(call["row"])}
        for call in entry.get("first", ())
    ]
    return shown
