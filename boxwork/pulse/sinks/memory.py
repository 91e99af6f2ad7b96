"""Intervals kept in this process: the default of a `Pulse()`, gone when it ends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from boxwork.clock import SECOND_NS
from boxwork.pulse.interval import DAY_NS, HOUR_NS, MINUTE_NS
from boxwork.pulse.series_name import SeriesName
from boxwork.pulse.sinks.sink import Request, Row, SeriesInfo
from boxwork.settings import MiB

# How long intervals of a width are kept: enough for a page to draw 900 columns at each zoom.  Unit: nanoseconds.
KEPT_NS = ((SECOND_NS, 900 * SECOND_NS), (10 * SECOND_NS, 6 * HOUR_NS), (MINUTE_NS, DAY_NS), (HOUR_NS, 40 * DAY_NS))
# All blobs together; above it the oldest of the finest width go first.  A busy series takes 2 MiB when all is full.
BYTES_MAX = 128 * MiB
# Python's own cost of a kept blob: bytes object, key tuple and dict entry.  Unit: bytes.  Source: sys.getsizeof.
OVERHEAD = 250

_Slot = tuple[int, int]  # start, epoch


class MemorySink:
    """Rings of encoded intervals, one for each series and width, bounded in time and in bytes together."""

    def __init__(self, *, bytes_max: int = BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.bytes_held = 0
        self._lock = threading.Lock()
        self._infos: dict[SeriesName, SeriesInfo] = {}
        self._rings: dict[tuple[SeriesName, int], dict[_Slot, bytes]] = {}
        # Arrival order per width, to find the oldest; an entry whose blob is gone is skipped.
        self._arrivals: dict[int, deque[tuple[SeriesName, _Slot]]] = {}

    def write(self, rows: Sequence[Row]) -> None:
        with self._lock:
            for row in rows:
                interval, name = row.interval, row.series.name
                self._infos[name] = row.series
                ring = self._rings.setdefault((name, interval.width_ns), {})
                slot = (interval.start_ns, interval.epoch)
                previous = ring.get(slot)
                ring[slot] = row.blob
                self.bytes_held += len(row.blob) + OVERHEAD
                if previous is not None:
                    self.bytes_held -= len(previous) + OVERHEAD
                else:
                    self._arrivals.setdefault(interval.width_ns, deque()).append((name, slot))
                horizon = interval.start_ns - kept_ns(interval.width_ns)
                while ring:  # dicts keep the order of arrival, so the first is the oldest
                    first = next(iter(ring))
                    if first[0] >= horizon:
                        break
                    self.bytes_held -= len(ring.pop(first)) + OVERHEAD
            while self.bytes_held > self.bytes_max and self._drop_oldest():
                pass
            for width, arrivals in self._arrivals.items():
                while arrivals and arrivals[0][1] not in self._rings.get((arrivals[0][0], width), {}):
                    arrivals.popleft()

    def _drop_oldest(self) -> bool:
        for width in sorted(self._arrivals):
            arrivals = self._arrivals[width]
            while arrivals:
                name, slot = arrivals.popleft()
                blob = self._rings[name, width].pop(slot, None)
                if blob is not None:
                    self.bytes_held -= len(blob) + OVERHEAD
                    return True
        return False

    def catalog(self) -> list[SeriesInfo]:
        with self._lock:
            return list(self._infos.values())

    def read(self, requests: Sequence[Request]) -> list[list[bytes]]:
        with self._lock:
            return [self._read_one(request) for request in requests]

    def _read_one(self, request: Request) -> list[bytes]:
        ring = self._rings.get((request.series, request.width_ns), {})
        return [blob for (start, _), blob in ring.items() if request.start_ns <= start < request.end_ns]

    def close(self) -> None:
        """Nothing to do: what is held stays readable."""


def kept_ns(width_ns: int) -> int:
    """How long the memory keeps intervals of this width."""
    for upto, kept in KEPT_NS:
        if width_ns <= upto:
            return kept
    return KEPT_NS[-1][1]
