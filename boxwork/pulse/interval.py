"""What a series writes once per interval: a histogram and an account of the time it stands for.

Four things that a chart must not confuse are four things here: a *gap* is the absence of an interval, *silence* is
an interval without samples, *loss* is counted in `lost`, and a *clock step* ends an epoch.  Slots of one series are
named by (start, epoch), so a wall clock that jumps back, or a second run of the same process, never overwrites.

Binary format 1, little endian, 48 bytes, then the histogram (`histogram.py`; nothing when silent):

    u8 version=1 · u8 flags · u16 zero · u32 epoch · u32 width ms · u32 clock error us · i64 start ns ·
    u64 covered ns · u64 silent ns · u64 lost
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from boxwork.clock import MILLISECOND_NS, SECOND_NS
from boxwork.errors import BadInput, FormatError
from boxwork.pulse.histogram import Histogram

VERSION = 1
HEADER = struct.Struct("<BBHIIIqQQQ")

# Flags; a rollup carries those of all its parts.
STARTED = 1  # the first interval of a run: an unfinished one before it was cut short by a crash
ENDED = 2  # the last interval of a run that closed in order
CLOCK_STEP = 4  # the wall clock jumped: this interval was closed early and the next one has a new epoch
LATE = 8  # the aggregator woke more than one interval late: which slot a sample belongs to is uncertain
COALESCED = 16  # a sink was away for so long that finer intervals were merged into this one
INTENDED = 32  # samples count from the intended time, not from the actual start
UNFINISHED = 64  # a rollup written with its first part, to be replaced: it says that a run was there, should it crash

CLOCK_ERROR_UNKNOWN = 0xFFFFFFFF
MINUTE_NS, HOUR_NS, DAY_NS = 60 * SECOND_NS, 3600 * SECOND_NS, 86400 * SECOND_NS

# The finest an aggregator can keep aligned beside a busy interpreter, and the coarsest rollup.  Unit: nanoseconds.
WIDTH_MIN, WIDTH_MAX = 100 * MILLISECOND_NS, HOUR_NS
ROLLUPS = (SECOND_NS, 10 * SECOND_NS, MINUTE_NS, HOUR_NS)


def ladder(width_ns: int) -> tuple[int, ...]:
    """The widths a series of this interval is kept in, each a multiple of the one before, ending with an hour."""
    if not WIDTH_MIN <= width_ns <= WIDTH_MAX or HOUR_NS % width_ns or width_ns % MILLISECOND_NS:
        raise BadInput(
            f"an interval of {width_ns / SECOND_NS:g} s cannot be used: it must lie between 0.1 s and 3600 s and divide"
            " an hour, for example 0.1, 0.25, 1, 5, 10, 60 or 3600"
        )
    steps = [width_ns]
    for rollup in ROLLUPS:
        if rollup > steps[-1] and rollup % steps[-1] == 0:
            steps.append(rollup)
    return tuple(steps)


@dataclass(slots=True)
class Interval:
    """One slot of one series: `start_ns` is wall time, a multiple of `width_ns`; `covered_ns` of it were seen."""

    start_ns: int
    width_ns: int
    epoch: int
    histogram: Histogram = field(default_factory=Histogram)
    covered_ns: int = 0
    silent_ns: int = 0
    lost: int = 0
    flags: int = 0
    clock_error_us: int = CLOCK_ERROR_UNKNOWN

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.width_ns

    def absorb(self, finer: Interval) -> None:
        """Add a finer interval (or another run's of the same slot) to this one."""
        self.histogram.merge(finer.histogram)
        self._account(finer)

    def _account(self, finer: Interval) -> None:
        self.covered_ns += finer.covered_ns
        self.silent_ns += finer.silent_ns
        self.lost += finer.lost
        self.flags |= finer.flags
        if self.clock_error_us == CLOCK_ERROR_UNKNOWN:
            self.clock_error_us = finer.clock_error_us
        elif finer.clock_error_us != CLOCK_ERROR_UNKNOWN:
            self.clock_error_us = max(self.clock_error_us, finer.clock_error_us)

    def to_bytes(self) -> bytes:
        return (
            HEADER.pack(
                VERSION,
                self.flags,
                0,
                self.epoch,
                self.width_ns // MILLISECOND_NS,
                self.clock_error_us,
                self.start_ns,
                self.covered_ns,
                self.silent_ns,
                self.lost,
            )
            + self.histogram.to_bytes()
        )

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Interval:
        interval = header_of(data)
        interval.histogram.merge_bytes(memoryview(data)[HEADER.size :])
        return interval


def header_of(data: bytes | memoryview) -> Interval:
    """An interval whose histogram is left empty: what coverage needs, at a tenth of the cost."""
    try:
        version, flags, _, epoch, width_ms, error_us, start, covered, silent, lost = HEADER.unpack_from(data)
    except struct.error as reason:
        raise FormatError(f"an interval of {len(data)} bytes is cut short: it has at least {HEADER.size}") from reason
    if version != VERSION:
        raise FormatError(f"this interval has format {version}; this version of Boxwork reads format {VERSION}")
    return Interval(start, width_ms * MILLISECOND_NS, epoch, Histogram(), covered, silent, lost, flags, error_us)
