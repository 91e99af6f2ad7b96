"""The other half of recording: a thread that turns lists of samples into histograms, tick by tick.

Writers only append to a list.  The hand-over is `n = len(b); part = b[:n]; del b[:n]`: each step is atomic under the
interpreter lock, and because the list object is never exchanged, a late append can only land behind `n`.  Nothing is
lost, whatever the number of writers; there must be one drainer, hence the lock.

Slots are named by wall time and timed by the monotonic clock: `label = monotonic + offset`.  While the two clocks
drift by less than `STEP_NS` between ticks the offset follows; when they jump, every open slot is closed early, the
epoch changes, and new slots begin, so that no slot is ever written by two times.

Invariants, whenever the lock is free:
    sum of samples appended = in buffers + in open slots + in emitted rows + counted as lost
    a track's open slot contains the label of the last tick

This file is long because it is one machine: what one tick does to every series, and who may call it when.
"""

from __future__ import annotations

import logging
import math
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxwork.clock import MILLISECOND_NS, SECOND_NS, Clock
from boxwork.pulse import interval as marks
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import CLOCK_ERROR_UNKNOWN, Interval, ladder
from boxwork.pulse.series_name import SeriesName
from boxwork.pulse.sinks.sink import Row, SeriesInfo, Sink

log = logging.getLogger("boxwork.pulse")

# A difference of wall and monotonic clock that changes by more than this between two ticks is a step; NTP slews at
# most 0.5 ms a second.  Unit: nanoseconds.
STEP_NS = 50 * MILLISECOND_NS
# Buffers are looked at this often even when no slot ends, so that they stay short.  Unit: nanoseconds.
LOOK_NS = 250 * MILLISECOND_NS
# … and never more often than this, whatever intervals are mixed.  Unit: nanoseconds.
LOOK_NS_MIN = 25 * MILLISECOND_NS
# A buffer shorter than this waits for the end of its slot: draining 10 samples costs as much as 1,000.  Unit: samples.
EARLY_DRAIN = 8192
# One hand-over: copying, converting and deleting this many holds the interpreter lock for 0.5 ms; a recording thread
# then gets its turn.  Unit: samples.
HAND_OVER = 16_384
# More than this waiting in one series means that the aggregator is starved; the oldest are counted as lost.  It bounds
# a series at about 80 MB.  Unit: samples.
PENDING_MAX = 2_000_000
# After a pause (a debugger, a stopped process) at most this many slots are accounted for as late; the rest is a gap.
LATE_SLOTS_MAX = 60
# How long `close` waits for the thread: one write of a slow disk.  Unit: seconds.
JOIN_SECONDS = 5.0

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1

Listener = Callable[[Sequence[Row]], object]


@dataclass(slots=True)
class Chore:
    """Something small that runs in the aggregator's thread at a period."""

    period_ns: int
    run: Callable[[], object]
    due_ns: int = 0


class Track:
    """What the aggregator knows of one series."""

    __slots__ = (
        "announced",
        "arrays",
        "buffer",
        "flags",
        "info",
        "losses",
        "lost_total",
        "opened_ns",
        "rungs",
        "total",
        "widths",
    )

    def __init__(self, info: SeriesInfo, flags: int = 0) -> None:
        self.info = info
        self.widths = info.widths
        self.flags = flags
        self.buffer: list[int] = []
        self.arrays: list[npt.NDArray[np.int64]] = []
        self.losses: list[int] = []
        self.lost_total = 0
        self.total = Histogram()
        self.opened_ns = 0  # label from which on the open slot is covered
        self.rungs: list[Interval | None] = [None] * len(info.widths)
        self.announced: dict[int, tuple[int, int]] = {}  # width → the slot whose rollup is known to have begun

    def held_outside(self) -> bool:
        """Does anybody still hold `record`?  Then the buffer can still grow."""
        return sys.getrefcount(self.buffer) > 2  # this track and the argument


class Aggregator:
    """Drains the tracks, closes slots, feeds the rollups, hands rows to the sinks and to the listeners."""

    def __init__(self, sinks: Sequence[Sink], clock: Clock, *, clock_error_us: Callable[[], int] | None = None) -> None:
        self.sinks = list(sinks)
        self.clock = clock
        self.listeners: list[Listener] = []
        self.chores: list[Chore] = []
        self.faults = 0
        self.last_fault = ""
        self.refused = 0
        self.ticks = 0
        self.tick_ns_max = 0
        self.closed = False
        self._clock_error_us = clock_error_us or (lambda: CLOCK_ERROR_UNKNOWN)
        self._tracks: dict[SeriesName, Track] = {}
        self._arrivals: list[Track] = []
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._detached = False
        self._stop = False
        self._look_ns = LOOK_NS
        self.epoch = int(clock.token(4), 16)
        self._offset = clock.now_ns() - clock.monotonic_ns()

    # --- series

    def open_track(self, name: SeriesName, unit: str, width_ns: int, flags: int = 0) -> Track:
        """A new track; the caller sees to it that a name comes once.  It never waits for a tick."""
        track = Track(SeriesInfo(name, unit, ladder(width_ns)), flags | marks.STARTED)
        track.opened_ns = self.clock.monotonic_ns() + self._offset
        self._arrivals.append(track)
        look = max(LOOK_NS_MIN, math.gcd(self._look_ns, width_ns))
        if look < self._look_ns:
            self._look_ns = look
            self._wake.set()
        return track

    def _adopt(self) -> None:
        arrived = self._arrivals[: len(self._arrivals)]
        del self._arrivals[: len(arrived)]
        for track in arrived:
            self._tracks[track.info.name] = track
            self._open(track, track.opened_ns, track.flags)

    def _open(self, track: Track, label_ns: int, flags: int) -> None:
        width = track.widths[0]
        track.opened_ns = label_ns
        track.rungs[0] = Interval(label_ns - label_ns % width, width, self.epoch, flags=flags)

    # --- the thread

    def start(self) -> None:
        """Start the thread unless it runs."""
        if self._thread is None and not self.closed:
            self._thread = threading.Thread(target=self._run, name="boxwork-pulse", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stop:
            try:
                self.run_chores()
                wait_ns = self.tick()
            except Exception as reason:  # measuring never raises, and one bad tick must not be the last
                self._fault("a tick", reason)
                wait_ns = SECOND_NS
            if self._detached and not self._outside_holders():
                self.finish()
                return
            self._wake.wait(wait_ns / SECOND_NS)
            self._wake.clear()

    def run_chores(self) -> None:
        """Run what is due, outside the lock: a chore may ask and record, it must not wait."""
        now = self.clock.monotonic_ns()
        for chore in self.chores[:]:
            if now >= chore.due_ns:
                # The next multiple of the period, so that late chores do not drift and do not pile up.
                chore.due_ns = now + chore.period_ns - now % chore.period_ns
                try:
                    chore.run()
                except Exception as reason:
                    self._fault("a chore", reason)

    def detach(self) -> None:
        """The owner is gone: go on while somebody still holds a `record`, then finish."""
        self._detached = True
        self._wake.set()

    def close(self, timeout_seconds: float = JOIN_SECONDS) -> None:
        """Stop the thread, flush every open slot, close the sinks.  Recording afterwards is harmless and forgotten."""
        self._stop = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)
        self.finish(timeout_seconds)

    def finish(self, timeout_seconds: float = JOIN_SECONDS) -> None:
        if not self._lock.acquire(timeout=timeout_seconds):
            self._fault("close", TimeoutError(f"a sink did not return within {timeout_seconds} s"))
            return
        try:
            if self.closed:
                return
            self._adopt()
            self.closed = True
            self._emit(self._close_all(marks.ENDED))
            for sink in self.sinks:
                try:
                    sink.close()
                except Exception as reason:
                    self._fault("closing a sink", reason)
            sweep([track for track in self._tracks.values() if track.held_outside()])
        finally:
            self._lock.release()

    def forked(self) -> None:
        """In a forked child: what was recorded before belongs to the parent, and so do its sinks and threads."""
        self._lock = threading.RLock()
        self._wake = threading.Event()
        had_thread, self._thread = self._thread is not None, None
        self.sinks, self.listeners, self.chores = [], [], []
        self._adopt()
        self._new_epoch(self.clock.now_ns() - self.clock.monotonic_ns(), int(self.clock.token(4), 16))
        for track in self._tracks.values():
            track.buffer.clear()
            track.arrays.clear()
            track.losses.clear()
            track.total, track.lost_total = Histogram(), 0
            track.rungs = [None] * len(track.widths)
            self._open(track, self._label(), track.flags | marks.STARTED)
        if had_thread:
            self.start()  # somebody may hold a `record`, and its list must not grow without limit

    def _outside_holders(self) -> bool:
        with self._lock:
            self._adopt()
            return any(track.held_outside() for track in self._tracks.values())

    # --- ticks

    def _label(self) -> int:
        return self.clock.monotonic_ns() + self._offset

    def tick(self) -> int:
        """Close what is due; answers with the nanoseconds until something is due again."""
        began = self.clock.monotonic_ns()
        with self._lock:
            self._adopt()
            if self.closed:
                return SECOND_NS
            offset = self.clock.now_ns() - self.clock.monotonic_ns()
            rows: list[Row] = []
            if abs(offset - self._offset) > STEP_NS:
                rows += self._close_all(marks.CLOCK_STEP)
                self._new_epoch(offset, (self.epoch + 1) & 0xFFFFFFFF)
                for track in self._tracks.values():
                    self._open(track, self._label(), track.flags & marks.INTENDED)
            self._offset = offset
            label = self._label()
            for track in self._tracks.values():
                slot = track.rungs[0]
                assert slot is not None
                if label >= slot.end_ns:
                    self._turn(track, slot, label, rows)
                elif len(track.buffer) > EARLY_DRAIN or track.arrays:
                    self._drain(track, slot)
            self._emit(rows)
            label = self._label()
            look = self._look_ns
            self.ticks += 1
            self.tick_ns_max = max(self.tick_ns_max, self.clock.monotonic_ns() - began)
        # The next multiple of the shortest interval; a thousandth later, so that it has surely begun.
        return look - label % look + MILLISECOND_NS // 4

    def _new_epoch(self, offset: int, epoch: int) -> None:
        self._offset, self.epoch = offset, epoch

    def _turn(self, track: Track, slot: Interval, label: int, rows: list[Row]) -> None:
        """Close the open slot, account for slots that passed unseen, open the one that `label` is in."""
        self._drain(track, slot)
        width = slot.width_ns
        passed = (label - slot.start_ns) // width
        if passed > 1:
            slot.flags |= marks.LATE
        self._close(track, slot, slot.end_ns - track.opened_ns, rows)
        for step in range(1, min(passed, 1 + LATE_SLOTS_MAX)):
            # Its samples, if any, were counted in the first slot: covered, but neither silent nor exact in time.
            late = Interval(
                slot.start_ns + step * width,
                width,
                slot.epoch,
                covered_ns=width,
                flags=marks.LATE | track.flags & marks.INTENDED,
            )
            self._finish_slot(track, late, rows)
        self._open(track, slot.start_ns + passed * width, track.flags & marks.INTENDED)

    def _close(self, track: Track, slot: Interval, covered_ns: int, rows: list[Row]) -> None:
        slot.covered_ns = max(0, min(covered_ns, slot.width_ns))
        slot.clock_error_us = self._clock_error_us()
        if slot.histogram.empty:
            if not (slot.lost or slot.flags & marks.LATE):
                slot.silent_ns = slot.covered_ns
        else:
            track.total.merge(slot.histogram)
        track.lost_total += slot.lost
        self._finish_slot(track, slot, rows)

    def _finish_slot(self, track: Track, slot: Interval, rows: list[Row], level: int = 0) -> None:
        """Emit a slot and feed it to the next coarser one, which is emitted with its first and its last part."""
        track.rungs[level] = None
        rows.append(Row(track.info, slot, slot.to_bytes()))
        if level == 0:
            self._announce(track, slot, rows)
        level += 1
        if level == len(track.widths):
            return
        width = track.widths[level]
        start = slot.start_ns - slot.start_ns % width
        rung = track.rungs[level]
        if rung is not None and rung.start_ns != start:  # a gap swallowed its last part
            self._finish_slot(track, rung, rows, level)
            rung = None
        if rung is None:
            rung = track.rungs[level] = Interval(start, width, slot.epoch)
        rung.absorb(slot)
        if slot.end_ns == rung.end_ns:
            self._finish_slot(track, rung, rows, level)

    def _announce(self, track: Track, slot: Interval, rows: list[Row]) -> None:
        """Write each rollup that this slot begins with this slot alone, to be replaced when it is complete.

        Should this run be killed, its finer slots are then looked for, though another writer's rollup is complete.
        """
        for width in track.widths[1:]:
            start = slot.start_ns - slot.start_ns % width
            if track.announced.get(width) != (start, slot.epoch):
                track.announced[width] = (start, slot.epoch)
                mark = Interval(
                    start,
                    width,
                    slot.epoch,
                    slot.histogram,
                    slot.covered_ns,
                    slot.silent_ns,
                    slot.lost,
                    slot.flags | marks.UNFINISHED,
                    slot.clock_error_us,
                )
                rows.append(Row(track.info, mark, mark.to_bytes()))

    def _close_all(self, flags: int) -> list[Row]:
        rows: list[Row] = []
        label = self._label()
        for track in self._tracks.values():
            slot = track.rungs[0]
            assert slot is not None
            self._drain(track, slot)
            slot.flags |= flags
            self._close(track, slot, label - track.opened_ns, rows)
            for level in range(1, len(track.widths)):
                rung = track.rungs[level]
                if rung is not None:
                    self._finish_slot(track, rung, rows, level)
        return rows

    def _emit(self, rows: list[Row]) -> None:
        if not rows:
            return
        for sink in self.sinks:
            try:
                sink.write(rows)
            except Exception as reason:
                self._fault(type(sink).__name__, reason)
        for listener in self.listeners[:]:
            try:
                listener(rows)
            except Exception as reason:
                self._fault("a listener", reason)

    def _fault(self, what: str, reason: BaseException) -> None:
        self.faults += 1
        self.last_fault = f"{what}: {reason}"
        if self.faults & (self.faults - 1) == 0:  # the 1st, 2nd, 4th, 8th …: a broken sink must not flood the log
            log.warning("pulse: %s failed %d times: %s", what, self.faults, reason, exc_info=reason)

    # --- draining

    def _drain(self, track: Track, slot: Interval) -> None:
        buffer, losses = track.buffer, track.losses
        excess = len(buffer) - PENDING_MAX
        if excess > 0:
            del buffer[:excess]
            slot.lost += excess
        waiting = len(buffer)
        while waiting > 0:
            count = min(waiting, HAND_OVER)
            part = buffer[:count]
            del buffer[:count]
            slot.histogram.add(self._numbers(part, slot))
            waiting -= count
        if track.arrays:
            count = len(track.arrays)
            arrays = track.arrays[:count]
            del track.arrays[:count]
            slot.histogram.add(np.concatenate(arrays))
        if losses:
            count = len(losses)
            slot.lost += sum(losses[:count])
            del losses[:count]

    def _numbers(self, part: list[Any], slot: Interval) -> npt.NDArray[np.int64]:
        try:  # `pack` asks each number for its 64 bits, at 5 ns; NumPy takes 13 (bench/pulse_aggregate.py)
            return np.frombuffer(struct.pack(f"{len(part)}q", *part), np.int64)
        except struct.error:  # not all are whole numbers of 64 bits
            return self._odd_numbers(part, slot)

    def _odd_numbers(self, part: list[Any], slot: Interval) -> npt.NDArray[np.int64]:
        try:
            return np.fromiter(part, np.int64, len(part))
        except (TypeError, ValueError, OverflowError):
            numbers = [int(max(_INT64_MIN, min(_INT64_MAX, value))) for value in part if _is_number(value)]
            refused = len(part) - len(numbers)
            self.refused += refused
            slot.lost += refused
            return np.array(numbers, np.int64)

    # --- reading

    def total(self, track: Track) -> tuple[Histogram, int]:
        """Everything since the process began, samples of this moment included; and how many were lost."""
        with self._lock:
            self._adopt()
            total, lost = track.total.copy(), track.lost_total
            slot = track.rungs[0]
            if slot is not None:
                self._drain(track, slot)
                total.merge(slot.histogram)
                lost += slot.lost
            return total, lost

    def open_slot(self, name: SeriesName) -> Interval | None:
        """A copy of the unfinished interval, samples of this moment included."""
        with self._lock:
            self._adopt()
            track = self._tracks.get(name)
            slot = track.rungs[0] if track is not None else None
            if track is None or slot is None:
                return None
            self._drain(track, slot)
            covered = max(0, min(self._label() - track.opened_ns, slot.width_ns))
            silent = covered if slot.histogram.empty and not slot.lost else 0
            return Interval(
                slot.start_ns,
                slot.width_ns,
                slot.epoch,
                slot.histogram.copy(),
                covered,
                silent,
                slot.lost,
                slot.flags,
                self._clock_error_us(),
            )

    def records(self, name: SeriesName) -> bool:
        """Whether this process writes the series: then its intervals, the unfinished one too, are known at once."""
        return name in self._tracks

    def infos(self) -> list[SeriesInfo]:
        with self._lock:
            self._adopt()
            return [track.info for track in self._tracks.values()]

    def totals(self) -> list[tuple[SeriesInfo, Histogram, int]]:
        """All series with their histograms since the process began: what an exporter of counters wants."""
        with self._lock:
            self._adopt()
            return [(track.info, *self.total(track)) for track in self._tracks.values()]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value)


# --- after the end

_swept: list[Track] = []
_sweeper_lock = threading.Lock()
_sweeping = False


def sweep(tracks: list[Track]) -> None:
    """Keep lists of closed pulses empty while somebody still appends to them; one thread for the process."""
    global _sweeping
    if not tracks:
        return
    with _sweeper_lock:
        _swept.extend(tracks)
        if not _sweeping:
            _sweeping = True
            threading.Thread(target=_sweep, name="boxwork-pulse-sweep", daemon=True).start()


def _sweep() -> None:
    global _sweeping
    pause = threading.Event()
    while True:
        with _sweeper_lock:
            _swept[:] = [track for track in _swept if track.held_outside()]
            if not _swept:
                _sweeping = False
                return
            for track in _swept:
                track.buffer.clear()
                track.losses.clear()
                track.arrays.clear()
        pause.wait(1.0)


def swept_in_child() -> None:
    """After a fork the sweeping thread is gone; start another one if it had work."""
    global _sweeping, _sweeper_lock
    _sweeper_lock = threading.Lock()
    tracks, _sweeping = _swept[:], False
    _swept.clear()
    sweep(tracks)
