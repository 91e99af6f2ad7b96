"""The list of series with figures of the last minute and a sparkline: made once for all who look, and not before.

Figures of a minute are merges, so they are made from the history, not from ticks; a step of the sparkline is
questioned once and then kept.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Any

from boxwork.clock import SECOND_NS
from boxwork.pulse.query import WRITTEN_AFTER_NS
from boxwork.pulse.recorder import Pulse
from boxwork.pulse.series_name import SeriesName
from boxwork.pulse.sinks.sink import SeriesInfo

# The figures are renewed at most this often: 60 series cost about 10 ms of CPU.  Unit: nanoseconds.
STEP_NS = 2 * SECOND_NS
WINDOW_NS = 60 * SECOND_NS
SPARKS = WINDOW_NS // STEP_NS
# Steps of the past that one look adds: the first look must not ask 30 times.  Unit: steps, some 10 ms each.
PAST_STEPS = 5
# Nobody reads a longer list; the busiest come first.  Unit: series.
SERIES_MAX = 500


class Overview:
    """Ask `look()`, from any thread."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._lock = threading.Lock()
        self._made_ns = -(2**62)
        self._rows: list[dict[str, Any]] = []
        #: How many series there are; the rows are those of the busiest.
        self.total = 0
        self._steps: deque[tuple[int, dict[SeriesName, float]]] = deque(maxlen=SPARKS)

    def look(self, *, past: bool = True) -> list[dict[str, Any]]:
        """One row for each series: quantiles and count of the last minute, `spark` is p99 by steps of 2 s.

        Without `past` the sparklines are as far as they are: for the first paint of a page.
        """
        with self._lock:
            now = self._pulse.clock.monotonic_ns()
            if now - self._made_ns >= STEP_NS * 0.9:
                self._rows = self._make(past)
                if past:
                    self._made_ns = self._pulse.clock.monotonic_ns()
            return self._rows

    def _make(self, past: bool) -> list[dict[str, Any]]:
        reader, now = self._pulse.reader, self._pulse.clock.now_ns()
        infos = [info for info in reader.catalog() if not info.name.name.startswith("machine.")]
        if not infos:
            return []
        if past:
            # A step is kept as it was found: what others record of its last second has to be there.
            self._advance(infos, (now - WRITTEN_AFTER_NS) // STEP_NS * STEP_NS)
        unknown = [None] * (SPARKS - len(self._steps))
        rows: list[dict[str, Any]] = []
        for info, answer in zip(infos, reader.query_each(infos, now - WINDOW_NS, now), strict=True):
            histogram = answer.histogram
            p50, p99 = (None, None) if histogram.empty else histogram.quantiles((0.5, 0.99))
            rows.append(
                {
                    "series": str(info.name),
                    "name": info.name.name,
                    "labels": dict(info.name.labels),
                    "unit": info.unit,
                    "count": histogram.count,
                    "p50": p50,
                    "p99": p99,
                    "lost": answer.coverage.lost,
                    "coverage": answer.coverage.ratio,
                    "negative": histogram.negative_fraction,
                    "spark": [*unknown, *(step.get(info.name) for _, step in self._steps)],
                }
            )
        self.total = len(rows)
        rows.sort(key=lambda row: -row["count"])
        return rows[:SERIES_MAX]

    def _advance(self, infos: list[SeriesInfo], upto: int) -> None:
        """Add the steps that ended since the last look, and some of those before the first one."""
        if self._steps and not upto - WINDOW_NS <= self._steps[-1][0] < upto:
            self._steps.clear()  # nobody looked for a minute, or the wall clock jumped
        for start in range(self._steps[-1][0] + STEP_NS if self._steps else upto - STEP_NS, upto, STEP_NS):
            self._steps.append((start, self._step(infos, start)))
        for _ in range(min(PAST_STEPS, SPARKS - len(self._steps))):
            start = self._steps[0][0] - STEP_NS
            self._steps.appendleft((start, self._step(infos, start)))

    def _step(self, infos: list[SeriesInfo], start_ns: int) -> dict[SeriesName, float]:
        answers = self._pulse.reader.query_each(infos, start_ns, start_ns + STEP_NS)
        values = {info.name: answer.histogram.quantile(0.99) for info, answer in zip(infos, answers, strict=True)}
        return {name: value for name, value in values.items() if not math.isnan(value)}
