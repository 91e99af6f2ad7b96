"""The machine's figures, sampled once somebody wants them; the process table only while somebody looks."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any

from boxwork.clock import SECOND_NS
from boxwork.pulse.machine import Machine, ProcessTable
from boxwork.pulse.recorder import Pulse
from boxwork.pulse.series_name import Pattern

# A table that nobody asked for in this time is forgotten: its shares would be means of an hour.  Unit: nanoseconds.
FORGET_NS = 30 * SECOND_NS
PERIOD_SECONDS = 1.0
ALL = Pattern("machine.*")


class MachineView:
    """Figures by time, and the busiest processes."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._lock = threading.Lock()
        self._sampling = False
        self._table: ProcessTable | None = None
        self._looked_ns = 0

    def begin(self) -> None:
        """Sample from now on, unless the node does so already.  It ends with the pulse."""
        with self._lock:
            if not self._sampling and not any(ALL.matches(info.name) for info in self._pulse.aggregator.infos()):
                Machine(self._pulse).start(PERIOD_SECONDS)
            self._sampling = True

    def figures(self, start_ns: int, end_ns: int, width_ns: int) -> list[dict[str, Any]]:
        """Each series as [milliseconds, largest value] by slots of about `width_ns`."""
        self.begin()
        rows = []
        for info in self._pulse.reader.matching(ALL):
            width = next((width for width in info.widths if width >= width_ns), info.widths[-1])
            columns = self._pulse.reader.columns(info.name, width, start_ns, end_ns, unfinished=False)
            points = [[one.start_ns / 1e6, one.histogram.maximum] for one in columns if not one.histogram.empty]
            rows.append(
                {
                    "series": str(info.name),
                    "name": info.name.name,
                    "labels": dict(info.name.labels),
                    "unit": info.unit,
                    "points": points,
                }
            )
        return rows

    def processes(self, limit: int) -> list[dict[str, Any]]:
        with self._lock:
            now = self._pulse.clock.monotonic_ns()
            if self._table is None or now - self._looked_ns > FORGET_NS:
                self._table = ProcessTable(self._pulse.clock)
            self._looked_ns = now
            return [asdict(one) for one in self._table.look(limit)]
