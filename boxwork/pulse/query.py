"""Asking: any range of time, any set of series → one histogram and an account of what was seen.

A range is covered by the coarsest intervals that fit: at most 168 for an arbitrary day at 1 s.  A coarse interval
that is missing, or in which a run covers less than its width (it was restarted or killed, the hour is not over), is
replaced by the finer ones under it, for each run that they saw more of; so a lost rollup costs time and never truth.
"""

from __future__ import annotations

import contextlib
import queue
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput
from boxwork.pulse import interval as marks
from boxwork.pulse.aggregator import Aggregator, Listener
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import CLOCK_ERROR_UNKNOWN, HEADER, Interval, header_of
from boxwork.pulse.series_name import Pattern, SeriesName
from boxwork.pulse.sinks.sink import History, Request, Row, SeriesInfo

# An interval that lacks no more than this share of its width is complete: closing and opening takes microseconds.
COMPLETE = 0.999
# What another process records is in the history when its interval is over, and a little later: until then it is
# neither seen nor a gap.  Source: FRESH_NS of the Redis sink, and the way there.  Unit: nanoseconds.
WRITTEN_AFTER_NS = SECOND_NS // 2
# Three fields of an interval's header, which is all that choosing takes.
EPOCH, START, COVERED = struct.Struct("<4xI"), struct.Struct("<16xq"), struct.Struct("<24xQ")

_Slots: TypeAlias = dict[int, list[bytes]]  # start → the blobs of its runs


@dataclass(slots=True)
class Coverage:
    """How much of a range was seen.  Of several series the times add up, and so does `range_ns`."""

    range_ns: int = 0
    covered_ns: int = 0
    silent_ns: int = 0
    lost: int = 0
    runs: int = 0
    clock_steps: int = 0
    clock_error_us: int | None = None
    flags: int = 0
    epochs: set[int] = field(default_factory=set, repr=False)

    @property
    def ratio(self) -> float:
        """The share of the range that was seen, silence included: 1.0 is all of it."""
        return min(1.0, self.covered_ns / self.range_ns) if self.range_ns else 0.0

    @property
    def gap_ns(self) -> int:
        """Time of which nothing is known: nobody was there to record."""
        return max(0, self.range_ns - self.covered_ns)

    def as_json(self) -> dict[str, Any]:
        return {
            "range_ns": self.range_ns,
            "covered_ns": self.covered_ns,
            "silent_ns": self.silent_ns,
            "gap_ns": self.gap_ns,
            "ratio": self.ratio,
            "lost": self.lost,
            "runs": self.runs,
            "clock_steps": self.clock_steps,
            "clock_error_us": self.clock_error_us,
            "late": bool(self.flags & marks.LATE),
            "coalesced": bool(self.flags & marks.COALESCED),
        }


@dataclass(slots=True)
class Answer:
    """What a chart, an alert and the API alike are made of."""

    histogram: Histogram
    coverage: Coverage
    series: tuple[SeriesName, ...]

    def __iter__(self) -> Iterator[Any]:
        """`histogram, coverage = pulse.query(…)`"""
        return iter((self.histogram, self.coverage))

    def as_json(self, quantiles: Sequence[float] = (0.5, 0.9, 0.99, 0.999)) -> dict[str, Any]:
        histogram = self.histogram
        count = histogram.count
        values = histogram.quantiles(quantiles) if count else [None] * len(quantiles)
        return {
            "count": count,
            "sum": histogram.sum,
            "min": histogram.minimum if count else None,
            "max": histogram.maximum if count else None,
            "mean": histogram.mean if count else None,
            "negative_fraction": histogram.negative_fraction,
            "quantiles": {f"{share:g}": value for share, value in zip(quantiles, values, strict=True)},
            "coverage": self.coverage.as_json(),
            "series": [str(name) for name in self.series],
        }


class Reader:
    """Reads a history, and what this process has not written yet."""

    def __init__(self, history: History, aggregator: Aggregator | None = None) -> None:
        self.history = history
        self._aggregator = aggregator

    def catalog(self) -> list[SeriesInfo]:
        found = {info.name: info for info in self.history.catalog()}
        for info in self._aggregator.infos() if self._aggregator is not None else ():
            known = found.get(info.name)
            if known is None or known.widths != info.widths:
                widths = set(info.widths) | set(known.widths if known is not None else ())
                found[info.name] = SeriesInfo(info.name, info.unit, tuple(sorted(widths)))
        return sorted(found.values(), key=lambda info: str(info.name))

    def matching(self, pattern: Pattern) -> list[SeriesInfo]:
        return [info for info in self.catalog() if pattern.matches(info.name)]

    def query(self, pattern: Pattern, start_ns: int, end_ns: int) -> Answer:
        infos = self.matching(pattern)
        answers = self.query_each(infos, start_ns, end_ns)
        if len(answers) == 1:
            return answers[0]
        whole = Answer(Histogram(), Coverage(), tuple(info.name for info in infos))
        for answer in answers:
            whole.histogram.merge(answer.histogram)
            _add_coverage(whole.coverage, answer.coverage)
        return whole

    def query_each(self, infos: Sequence[SeriesInfo], start_ns: int, end_ns: int) -> list[Answer]:
        """One answer for each series, with as few questions to the history as for one."""
        if end_ns <= start_ns:
            raise BadInput(f"a query ends after it begins; {start_ns} … {end_ns} does not")
        found = self._collect(infos, start_ns, end_ns)
        answers = []
        for place, info in enumerate(infos):
            low, high = _widened(info, start_ns, end_ns)
            answer = Answer(Histogram(), Coverage(), (info.name,))
            answer.histogram.merge_many(found[place], HEADER.size)
            for blob in found[place]:
                _account_blob(answer.coverage, blob)
            live = self._live(info, low, high)
            if live is not None:
                answer.histogram.merge(live.histogram)
                _account(answer.coverage, live)
            coverage = answer.coverage
            coverage.runs = len(coverage.epochs)
            if coverage.runs > 1:
                _count_once(coverage, [*map(header_of, found[place]), *([live] if live is not None else [])])
            coverage.range_ns = max(self._told_until(info, low, high) - low, min(coverage.covered_ns, high - low))
            answers.append(answer)
        return answers

    def columns(
        self, name: SeriesName, width_ns: int, start_ns: int, end_ns: int, *, unfinished: bool = True
    ) -> list[Interval]:
        """One interval per slot that is not a gap, in order of time: what a heatmap draws.

        A slot that was written by several runs is their sum.  Slots of a width that was never written, or has
        expired, are made of finer ones; the unfinished slot of this process comes last, if wanted.
        """
        info = next((known for known in self.catalog() if known.name == name), None)
        if info is None:
            return []
        finer = [width for width in info.widths if width_ns % width == 0]
        if not finer:
            raise BadInput(
                f"{name} has no intervals that make up {width_ns / 1e9:g} s: it has "
                f"{', '.join(f'{width / 1e9:g} s' for width in info.widths)}"
            )
        low, high = start_ns - start_ns % width_ns, end_ns + -end_ns % width_ns
        slots: dict[int, Interval] = {}
        levels = tuple(finer) if width_ns in finer else (*finer, width_ns)
        for blobs in self._collect([SeriesInfo(name, info.unit, levels)], low, high):
            for blob in blobs:
                _into(slots, Interval.from_bytes(blob), width_ns)
        live = self._live(info, low, high) if unfinished else None
        if live is not None:
            _into(slots, live, width_ns)
        for slot in slots.values():
            slot.covered_ns, slot.silent_ns = _seen_once(slot.covered_ns, slot.silent_ns, width_ns)
        return [slots[start] for start in sorted(slots)]

    def _live(self, info: SeriesInfo, low: int, high: int) -> Interval | None:
        if self._aggregator is None:
            return None
        slot = self._aggregator.open_slot(info.name)
        return slot if slot is not None and low <= slot.start_ns < high else None

    def _told_until(self, info: SeriesInfo, low: int, high: int) -> int:
        """The end of that part of [low, high) of which somebody can have told by now."""
        if self._aggregator is None:
            return high
        now, width = self._aggregator.clock.now_ns(), info.widths[0]
        if self._aggregator.records(info.name):
            return min(high, max(low, now))
        now -= WRITTEN_AFTER_NS
        return min(high, max(low + width, now - now % width))

    # --- covering a range

    def _collect(self, infos: Sequence[SeriesInfo], start_ns: int, end_ns: int) -> list[list[bytes]]:
        """For each series the blobs that stand for the range, each sample once."""
        covers: dict[tuple[int, ...], dict[int, list[tuple[int, int]]]] = {}
        for info in infos:
            if info.widths not in covers:
                covers[info.widths] = _cover(info.widths, *_widened(info, start_ns, end_ns))
        wanted = [covers[info.widths] for info in infos]
        chosen: list[list[bytes]] = [[] for _ in infos]
        pending: list[list[_Partial]] = [[] for _ in infos]
        # Everything that is wanted is asked at once; then, from coarse to fine, what each level turned out to lack is
        # asked of the next finer one, for all series in one question.
        rows = self._rows(
            infos,
            [
                (place, width, low, high)
                for place in range(len(infos))
                for width, ranges in wanted[place].items()
                for low, high in ranges
            ],
        )
        for width in sorted({width for info in infos for width in info.widths}, reverse=True):
            concerned = [place for place, info in enumerate(infos) if width in info.widths]
            more = [
                (place, width, low, high)
                for place in concerned
                if pending[place]
                for low, high in _joined((one.start_ns, one.end_ns) for one in _leaves(pending[place]))
            ]
            finer = self._rows(infos, more) if more else {}
            for place in concerned:
                finest = infos[place].widths[0] == width
                leaves = _leaves(pending[place])
                found = finer.get((place, width), {})
                starts = sorted(found)
                for partial in leaves:
                    _take(found, starts, partial.start_ns, partial.end_ns, width, finest, partial.finer, partial.within)
                found = rows.get((place, width), {})
                starts = sorted(found)
                for low, high in wanted[place].get(width, ()):
                    _take(found, starts, low, high, width, finest, chosen[place], pending[place])
        return [
            taken + [blob for partial in pending[place] for blob in partial.best()]
            for place, taken in enumerate(chosen)
        ]

    def _rows(
        self, infos: Sequence[SeriesInfo], asked: Sequence[tuple[int, int, int, int]]
    ) -> dict[tuple[int, int], _Slots]:
        """The blobs of each (place, width) by their start."""
        requests = [Request(infos[place].name, width, low, high) for place, width, low, high in asked]
        rows: dict[tuple[int, int], _Slots] = {}
        for (place, width, _, _), blobs in zip(asked, self.history.read(requests), strict=True):
            slots = rows.setdefault((place, width), {})
            for blob in blobs:
                (start,) = START.unpack_from(blob)
                slots.setdefault(start, []).append(blob)
        return rows


@dataclass(slots=True)
class _Partial:
    """A slot whose own blobs do not cover it, waiting for what the finer levels have to say."""

    start_ns: int
    end_ns: int
    own: list[bytes]
    finer: list[bytes] = field(default_factory=list)
    within: list[_Partial] = field(default_factory=list)

    def best(self) -> list[bytes]:
        """For each run the blobs that saw more of it; of two runs rather the finer ones, which tell when they did."""
        below = self.finer + [blob for partial in self.within for blob in partial.best()]
        if not self.own:
            return below
        finer, own = _by_epoch(below), _by_epoch(self.own)
        best: list[bytes] = []
        for epoch in finer.keys() | own.keys():
            fine, coarse = finer.get(epoch, []), own.get(epoch, [])
            more = _seen(fine) - _seen(coarse)
            best += fine if more > 0 or (more == 0 and len(own) > 1) else coarse
        return best


def _take(
    rows: _Slots,
    starts: Sequence[int],
    low: int,
    high: int,
    width: int,
    finest: bool,
    into: list[bytes],
    open_slots: list[_Partial],
) -> None:
    """Put the complete slots of [low, high) into `into`, and what lacks something into `open_slots`."""
    hole = low
    for start in starts[bisect_left(starts, low) : bisect_left(starts, high)]:
        if finest:
            into += rows[start]
            continue
        if hole < start:
            open_slots.append(_Partial(hole, start, []))
        # Each run for itself: a complete one must not hide another that was cut short.
        if all(COVERED.unpack_from(blob)[0] >= COMPLETE * width for blob in rows[start]):
            into += rows[start]
        else:
            open_slots.append(_Partial(start, start + width, rows[start]))
        hole = start + width
    if hole < high and not finest:
        open_slots.append(_Partial(hole, high, []))


def _leaves(pending: Iterable[_Partial]) -> list[_Partial]:
    found = []
    for partial in pending:
        if partial.within:
            found += _leaves(partial.within)
        elif not partial.finer:
            found.append(partial)
    return found


def _seen(blobs: Iterable[bytes]) -> int:
    return sum(COVERED.unpack_from(blob)[0] for blob in blobs)


def _by_epoch(blobs: Iterable[bytes]) -> dict[int, list[bytes]]:
    runs: dict[int, list[bytes]] = {}
    for blob in blobs:
        runs.setdefault(EPOCH.unpack_from(blob)[0], []).append(blob)
    return runs


def _widened(info: SeriesInfo, start_ns: int, end_ns: int) -> tuple[int, int]:
    width = info.widths[0]
    return start_ns - start_ns % width, end_ns + -end_ns % width


def _cover(widths: Sequence[int], low: int, high: int) -> dict[int, list[tuple[int, int]]]:
    """[low, high) as ranges of slots, as coarse as they fit; each sample time is in exactly one of them."""
    ranges: dict[int, list[tuple[int, int]]] = {}
    for position, width in enumerate(widths):
        coarser = widths[position + 1] if position + 1 < len(widths) else None
        if coarser is None or coarser % width:
            _add_range(ranges, width, low, high)
            break
        inner_low, inner_high = low + -low % coarser, high - high % coarser
        if inner_low >= inner_high:
            _add_range(ranges, width, low, high)
            break
        _add_range(ranges, width, low, inner_low)
        _add_range(ranges, width, inner_high, high)
        low, high = inner_low, inner_high
    return ranges


def _add_range(ranges: dict[int, list[tuple[int, int]]], width: int, low: int, high: int) -> None:
    if low < high:
        ranges.setdefault(width, []).append((low, high))


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined


def _into(slots: dict[int, Interval], part: Interval, width_ns: int) -> None:
    start = part.start_ns - part.start_ns % width_ns
    slot = slots.get(start)
    if slot is None:
        slots[start] = slot = Interval(start, width_ns, part.epoch)
    slot.absorb(part)


def _account_blob(coverage: Coverage, blob: bytes) -> None:
    _, flags, _, epoch, _, error_us, _, covered, silent, lost = HEADER.unpack_from(blob)
    coverage.covered_ns += covered
    coverage.silent_ns += silent
    coverage.lost += lost
    coverage.flags |= flags
    coverage.epochs.add(epoch)
    if flags & marks.CLOCK_STEP:
        coverage.clock_steps += 1
    if error_us != CLOCK_ERROR_UNKNOWN:
        coverage.clock_error_us = max(coverage.clock_error_us or 0, error_us)


def _count_once(coverage: Coverage, parts: list[Interval]) -> None:
    """What two runs saw at the same time is one time seen: or a run that lives would hide the gap of one that died.

    Intervals that overlap have been seen for no longer than they reach together.
    """
    coverage.covered_ns = coverage.silent_ns = 0
    parts.sort(key=lambda part: part.start_ns)
    place = 0
    while place < len(parts):
        begin, end, covered, silent = parts[place].start_ns, parts[place].end_ns, 0, 0
        while place < len(parts) and parts[place].start_ns < end:
            part = parts[place]
            end, covered, silent = max(end, part.end_ns), covered + part.covered_ns, silent + part.silent_ns
            place += 1
        once = _seen_once(covered, silent, end - begin)
        coverage.covered_ns += once[0]
        coverage.silent_ns += once[1]


def _seen_once(covered_ns: int, silent_ns: int, width_ns: int) -> tuple[int, int]:
    """Covered and silent time of several runs in one width; silent is what nobody heard anything in."""
    once = min(covered_ns, width_ns)
    return once, max(0, silent_ns - (covered_ns - once))


def _account(coverage: Coverage, part: Interval) -> None:
    coverage.covered_ns += part.covered_ns
    coverage.silent_ns += part.silent_ns
    coverage.lost += part.lost
    coverage.flags |= part.flags
    coverage.epochs.add(part.epoch)
    if part.flags & marks.CLOCK_STEP:
        coverage.clock_steps += 1
    if part.clock_error_us != CLOCK_ERROR_UNKNOWN:
        coverage.clock_error_us = max(coverage.clock_error_us or 0, part.clock_error_us)


def _add_coverage(whole: Coverage, part: Coverage) -> None:
    whole.range_ns += part.range_ns
    whole.covered_ns += part.covered_ns
    whole.silent_ns += part.silent_ns
    whole.lost += part.lost
    whole.flags |= part.flags
    whole.runs = max(whole.runs, part.runs)
    whole.clock_steps = max(whole.clock_steps, part.clock_steps)
    if part.clock_error_us is not None:
        whole.clock_error_us = max(whole.clock_error_us or 0, part.clock_error_us)


class Live:
    """Finished intervals as they come, in a queue of limited length.  A reader that is too slow loses the oldest."""

    def __init__(self, listen: Callable[[Listener], Callable[[], None]], pattern: Pattern, rows_max: int) -> None:
        self.pattern = pattern
        self.dropped = 0
        self._queue: queue.Queue[Row] = queue.Queue(rows_max)
        self._matches: dict[SeriesName, bool] = {}
        self._stop = listen(self._take)

    def _take(self, rows: Sequence[Row]) -> None:
        for row in rows:
            name = row.series.name
            matches = self._matches.get(name)
            if matches is None:
                matches = self._matches[name] = self.pattern.matches(name)
            if matches:
                while True:
                    try:
                        self._queue.put_nowait(row)
                        break
                    except queue.Full:
                        self.dropped += 1
                        with contextlib.suppress(queue.Empty):
                            self._queue.get_nowait()

    def get(self, timeout_seconds: float | None = None) -> Row | None:
        """The next row; None when the time is over."""
        try:
            return self._queue.get(timeout=timeout_seconds)
        except queue.Empty:
            return None

    def drain(self) -> list[Row]:
        """All rows that wait, without waiting."""
        rows = []
        while True:
            try:
                rows.append(self._queue.get_nowait())
            except queue.Empty:
                return rows

    def close(self) -> None:
        self._stop()

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
