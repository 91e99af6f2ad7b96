"""Where intervals go, and where a query finds them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from boxwork.pulse.interval import Interval
from boxwork.pulse.series_name import SeriesName


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """What is known of a series beside its samples: the unit they count and the widths it is kept in, finest first."""

    name: SeriesName
    unit: str
    widths: tuple[int, ...]


class Row(NamedTuple):
    """One finished interval of one series; `blob` is `interval.to_bytes()`.  Nobody may change the interval."""

    series: SeriesInfo
    interval: Interval
    blob: bytes


class Request(NamedTuple):
    """All intervals of one width whose start lies in [start_ns, end_ns)."""

    series: SeriesName
    width_ns: int
    start_ns: int
    end_ns: int


class Sink(Protocol):
    """Takes finished intervals.

    `write` is called from the aggregator's thread, after each tick that finished any; it must return within
    milliseconds (a sink that may have to wait stands behind a `Spool`).  The same row may come twice: a row replaces
    one of equal series, width, start and epoch.  It may raise: the aggregator counts that and goes on.
    """

    def write(self, rows: Sequence[Row]) -> None: ...

    def close(self) -> None:
        """Store what is held back, within a few seconds, and let go.  Closing twice is not an error."""
        ...


@runtime_checkable
class History(Sink, Protocol):
    """A sink that can be asked."""

    def catalog(self) -> list[SeriesInfo]:
        """Every series that ever wrote here and is not forgotten."""
        ...

    def read(self, requests: Sequence[Request]) -> list[list[bytes]]:
        """For each request its intervals, encoded, in any order; what is unknown or expired is not there.

        Several epochs of a slot, or several writers, are several intervals.
        """
        ...
