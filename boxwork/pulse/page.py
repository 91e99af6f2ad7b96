"""What the pages need, as values: JSON-ready dictionaries and bytes, no HTTP and no HTML.

The same query stands behind charts, API and alerts (`query.py`); this file only shapes its answers.  A column of a
heatmap travels as the stored interval itself (`interval.py`, 48 bytes and the histogram), so history, live ticks and
the database speak one format and the page decodes one.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput, NotFound
from boxwork.pulse import interval as marks
from boxwork.pulse.interval import Interval
from boxwork.pulse.query import Live
from boxwork.pulse.recorder import Pulse
from boxwork.pulse.series_name import Pattern, SeriesName
from boxwork.pulse.sinks.sink import SeriesInfo

# A heatmap has no more columns than a wide screen has pixels to tell apart.
COLUMNS_MAX = 900
# After a sleep a page gets at most this many missed intervals of a series, then asks for its history anew.
RESUME_MAX = 3600
QUANTILES = (0.5, 0.9, 0.99, 0.999)
# Points of the percentile plot: eight for each halving of the tail, down to one in a million.
PLOT_POINTS = tuple(1 - 2 ** (-step / 8) for step in range(160))
LENGTH = struct.Struct("<I")


def width_for(info: SeriesInfo, start_ns: int, end_ns: int, columns_max: int = COLUMNS_MAX) -> int:
    """The finest width of a series that shows the range in so many columns; beyond hours, a multiple of an hour."""
    for width in info.widths:
        if (end_ns - start_ns) <= width * columns_max:
            return width
    coarsest = info.widths[-1]
    return coarsest * math.ceil((end_ns - start_ns) / (coarsest * columns_max))


def history(pulse: Pulse, series: str, start_ns: int, end_ns: int, *, columns_max: int = COLUMNS_MAX) -> bytes:
    """The columns of a heatmap: u64 width ns, then for each slot that is no gap u32 length and the interval."""
    info = _info(pulse, series)
    width = width_for(info, start_ns, end_ns, columns_max)
    parts = [struct.pack("<Q", width)]
    for column in pulse.reader.columns(info.name, width, start_ns, end_ns):
        blob = column.to_bytes()
        parts += [LENGTH.pack(len(blob)), blob]
    return b"".join(parts)


def columns(pulse: Pulse, series: str, start_ns: int, end_ns: int, *, columns_max: int = COLUMNS_MAX) -> dict[str, Any]:
    """The same as lines: quantiles and the state of each slot, for a chart without a heatmap or a script."""
    info = _info(pulse, series)
    width = width_for(info, start_ns, end_ns, columns_max)
    found = pulse.reader.columns(info.name, width, start_ns, end_ns)
    return {"series": str(info.name), "unit": info.unit, "width_ns": width, "columns": [_column(one) for one in found]}


def state(column: Interval) -> str:
    """Why a column looks as it does.  A slot that is not there at all is a gap."""
    if column.flags & marks.CLOCK_STEP:
        return "clock step"
    if column.lost:
        return "loss"
    if column.histogram.empty:
        return "silence" if column.silent_ns else "late"
    return "partial" if column.covered_ns < 0.99 * column.width_ns else "seen"


def _column(column: Interval) -> dict[str, Any]:
    histogram = column.histogram
    empty = histogram.empty
    return {
        "t": column.start_ns,
        "count": histogram.count,
        "state": state(column),
        "lost": column.lost,
        "covered": column.covered_ns / column.width_ns,
        "min": None if empty else histogram.minimum,
        "max": None if empty else histogram.maximum,
        "quantiles": None if empty else histogram.quantiles(QUANTILES),
        "negative": histogram.negative_fraction,
    }


def rectangle(
    pulse: Pulse, pattern: str, start_ns: int, end_ns: int, low: float = -math.inf, high: float = math.inf
) -> dict[str, Any]:
    """The exact quantiles of a brushed rectangle: a range of time and of values."""
    answer = pulse.query(pattern, start_ns, end_ns)
    whole = answer.histogram.count
    if not (math.isinf(low) and math.isinf(high)):
        answer.histogram = answer.histogram.between(low, high)
    shaped = answer.as_json(QUANTILES)
    shaped["share"] = answer.histogram.count / whole if whole else 0.0
    return shaped


def percentiles(pulse: Pulse, pattern: str, start_ns: int, end_ns: int) -> dict[str, Any]:
    """The percentile plot: x = 1 / (1 - q), so that each further nine takes the same space."""
    answer = pulse.query(pattern, start_ns, end_ns)
    count = answer.histogram.count
    shares = [share for share in PLOT_POINTS if count and 1 - share >= 1 / (2 * count)]
    values = answer.histogram.quantiles(shares) if shares else []
    return {
        "count": count,
        "coverage": answer.coverage.as_json(),
        "points": [[1 / (1 - share), value] for share, value in zip(shares, values, strict=True)],
    }


def mesh(
    pulse: Pulse, start_ns: int, end_ns: int, *, name: str = "path", sparks: int = 30, quantile: float = 0.99
) -> dict[str, Any]:
    """Sites and venues as a matrix: for each path its quantiles, loss, coverage and a sparkline of `quantile`."""
    infos = [info for info in pulse.reader.matching(Pattern(name)) if info.name.label("src") and info.name.label("dst")]
    if not infos:
        return {"sites": [], "cells": []}
    step = max(SECOND_NS, (end_ns - start_ns) // sparks)
    # One question for all paths and each step, as many as the sparkline has points.
    pieces = [pulse.reader.query_each(infos, at, min(end_ns, at + step)) for at in range(start_ns, end_ns, step)]
    cells = []
    for place, answer in enumerate(pulse.reader.query_each(infos, start_ns, end_ns)):
        (series,) = answer.series
        histogram = answer.histogram
        spark = [piece[place].histogram.quantile(quantile) for piece in pieces]
        cells.append(
            {
                "series": str(series),
                "src": series.label("src"),
                "dst": series.label("dst"),
                "probe": series.label("probe") or series.label("part"),
                "count": histogram.count,
                "quantiles": None if histogram.empty else histogram.quantiles(QUANTILES),
                "min": None if histogram.empty else histogram.minimum,
                "negative": histogram.negative_fraction,
                "lost": answer.coverage.lost,
                "ratio": answer.coverage.ratio,
                "clock_error_us": answer.coverage.clock_error_us,
                "spark": [None if math.isnan(value) else value for value in spark],
            }
        )
    sites = sorted({str(cell[end]) for cell in cells for end in ("src", "dst")})
    return {"sites": sites, "cells": cells}


def clock_offsets(pulse: Pulse, start_ns: int, end_ns: int) -> list[dict[str, Any]]:
    """For each pair with both ways measured: how far the clocks seem apart, from the fastest sample of each way.

    It assumes that the fastest ways take equally long; it is shown beside the figures, never applied to them.
    """
    infos = pulse.reader.matching(Pattern("path.oneway"))
    fastest = {
        (answer.series[0].label("src"), answer.series[0].label("dst")): answer.histogram.minimum
        for answer in (pulse.reader.query_each(infos, start_ns, end_ns) if infos else ())
        if not answer.histogram.empty
    }
    return [
        {
            "src": src,
            "dst": dst,
            "offset_ns": (there - fastest[dst, src]) // 2,
            "round_trip_ns": there + fastest[dst, src],
        }
        for (src, dst), there in sorted(fastest.items())
        if src < dst and (dst, src) in fastest
    ]


def machine(pulse: Pulse, last_seconds: float = 60.0) -> list[dict[str, Any]]:
    """The machine page: every figure with its middle, its worst and its unit."""
    end = pulse.clock.now_ns()
    infos = pulse.reader.matching(Pattern("machine.*"))
    answers = pulse.reader.query_each(infos, end - round(last_seconds * SECOND_NS), end) if infos else []
    return [
        {
            "series": str(info.name),
            "unit": info.unit,
            "p50": answer.histogram.quantile(0.5),
            "p99": answer.histogram.quantile(0.99),
            "max": answer.histogram.maximum,
        }
        for info, answer in zip(infos, answers, strict=True)
        if not answer.histogram.empty
    ]


@dataclass(frozen=True, slots=True)
class Tick:
    """One finished interval on its way to a page; `id` is what an event stream sends back when it resumes."""

    series: SeriesName
    interval: Interval

    @property
    def id(self) -> str:
        return str(self.interval.start_ns)

    def as_json(self) -> dict[str, Any]:
        return {
            "series": str(self.series),
            **_column(self.interval),
            "width_ns": self.interval.width_ns,
            "blob": base64.b64encode(self.interval.to_bytes()).decode(),
        }


class Follower:
    """The finest intervals of matching series as they are finished, beginning after `after_ns`.

    Series of this process come from its aggregator; those that other processes write are looked for in the history.
    `poll` never waits; `wake` is called (from the aggregator's thread) when there may be something to poll.
    """

    def __init__(
        self, pulse: Pulse, pattern: str = "*", *, after_ns: int | None = None, wake: Callable[[], object] | None = None
    ) -> None:
        self._pulse = pulse
        self._pattern = Pattern.parse(pattern)
        self._after = pulse.clock.now_ns() if after_ns is None else after_ns
        self._seen: dict[SeriesName, int] = {}
        self._live = Live(pulse.listen, self._pattern, 10_000)
        self._unlisten = pulse.listen(lambda rows: wake()) if wake is not None else None
        self._asked_ns = -(2**62)

    def poll(self) -> list[Tick]:
        """What was finished since the last call, in order of time; an interval comes once."""
        ticks: list[Tick] = []
        local: set[SeriesName] = set()
        for row in self._live.drain():
            name, one = row.series.name, row.interval
            if one.width_ns != row.series.widths[0]:
                continue
            if name not in self._seen:  # first its past, from the history, then what comes
                ticks += self._missed(row.series, one.start_ns)
            local.add(name)
            if one.start_ns > self._last(name) or one.flags & marks.CLOCK_STEP:
                self._seen[name] = one.start_ns
                ticks.append(Tick(name, one))
        now = self._pulse.clock.monotonic_ns()
        if now - self._asked_ns >= SECOND_NS:
            self._asked_ns = now
            wall = self._pulse.clock.now_ns()
            for info in self._pulse.reader.matching(self._pattern):
                if info.name not in local:
                    ticks += self._missed(info, wall - info.widths[0] + 1)
        return sorted(ticks, key=lambda tick: tick.interval.start_ns)

    def _last(self, name: SeriesName) -> int:
        return self._seen.get(name, self._after)

    def _missed(self, info: SeriesInfo, before_ns: int) -> list[Tick]:
        width = info.widths[0]
        start = max(self._last(info.name) + 1, before_ns - RESUME_MAX * width)
        start += -start % width
        if start >= before_ns:
            return []
        columns = self._pulse.reader.columns(info.name, width, start, before_ns, unfinished=False)
        found = [one for one in columns if one.start_ns < before_ns]
        if found:
            self._seen[info.name] = found[-1].start_ns
        return [Tick(info.name, one) for one in found]

    def close(self) -> None:
        self._live.close()
        if self._unlisten is not None:
            self._unlisten()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def catalog(pulse: Pulse) -> list[dict[str, Any]]:
    """Every series, for a list to choose from."""
    return [
        {
            "series": str(info.name),
            "name": info.name.name,
            "labels": dict(info.name.labels),
            "unit": info.unit,
            "width_ns": info.widths[0],
        }
        for info in pulse.catalog()
    ]


def parse_history(data: bytes) -> tuple[int, Iterator[Interval]]:
    """The inverse of `history`, as the page does it in its own language."""
    (width,) = struct.unpack_from("<Q", data)

    def intervals() -> Iterator[Interval]:
        position = 8
        while position < len(data):
            (length,) = LENGTH.unpack_from(data, position)
            yield Interval.from_bytes(data[position + 4 : position + 4 + length])
            position += 4 + length

    return width, intervals()


def _info(pulse: Pulse, series: str) -> SeriesInfo:
    name = SeriesName.parse(series)
    found: Sequence[SeriesInfo] = [info for info in pulse.catalog() if info.name == name]
    if not found:
        raise NotFound(f"there is no series {series!r}; `boxwork pulse top` lists them", series=series)
    if any("*" in value for _, value in name.labels):
        raise BadInput(f"{series!r} is a pattern; a heatmap shows one series")
    return found[0]
