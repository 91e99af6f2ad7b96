"""Recording: `record` is a bound `list.append`, and that is all that happens in the measured thread.

`Pulse` is the front of the package: it names series, owns the aggregator, and asks the history.

    pulse = Pulse()
    record = pulse.series("path", src="ny4", dst="cme").record
    record(nanoseconds)
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import inspect
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import numpy.typing as npt

from boxwork.clock import SECOND_NS, Clock, SystemClock, monotonic_ns
from boxwork.errors import BadInput, StorageError
from boxwork.pulse import interval as marks
from boxwork.pulse.aggregator import Aggregator, Chore, Listener, Track, swept_in_child
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import ladder
from boxwork.pulse.query import Answer, Live, Reader
from boxwork.pulse.series_name import Pattern, SeriesName
from boxwork.pulse.sinks.memory import MemorySink
from boxwork.pulse.sinks.sink import History, SeriesInfo, Sink
from boxwork.settings import Setting, Settings

P = ParamSpec("P")
R = TypeVar("R")

SETTINGS = (
    Setting(
        "pulse.interval_seconds",
        1.0,
        "s",
        "what a crash can lose and the finest a chart can show; 0.1 … 3600, a divisor of an hour; a series may differ",
    ),
    Setting(
        "pulse.series_max",
        10_000,
        "series",
        "each costs up to 12 KB and 25 us an interval; beyond it samples go to the series pulse.overflow",
    ),
    Setting(
        "pulse.history",
        "",
        "",
        "where histograms go and what the pages show: `redis://host:6379` is shared by nodes and agents of all hosts;"
        " empty is `pulse` in the data directory",
    ),
)


def history_of(settings: Settings, directory: Path) -> str:
    """Where the node in this data directory keeps its histograms, as `Pulse` takes it."""
    history = settings.text("pulse.history")
    if history and "://" not in history and not Path(history).is_absolute():
        raise BadInput(
            f"the setting pulse.history of {settings.where('pulse.history')} is {history!r}: write redis://host:port,"
            " or the path of a directory from the root on",
            setting="pulse.history",
        )
    return history or str(directory / "pulse")


# Arrays that may wait for the aggregator, which fetches them four times a second; more means that it is starved.
ARRAYS_MAX = 20_000

Record = Callable[[int], object]

_NS_PER_MS = 1e6


class Series:
    """One named stream of samples.  `record(ns)` never raises and never blocks; any sign is welcome."""

    __slots__ = ("__weakref__", "_aggregator", "_track", "info", "record")

    #: Count one sample.  Keep it in a local variable where nanoseconds matter.
    record: Record

    def __init__(self, aggregator: Aggregator, track: Track | None, info: SeriesInfo) -> None:
        self._aggregator = aggregator
        self._track = track
        self.info = info
        # After the end of a pulse samples fall into a deque of no length: as cheap as ever, and nothing grows.
        self.record = track.buffer.append if track is not None else deque[int](maxlen=0).append

    @property
    def name(self) -> SeriesName:
        return self.info.name

    def record_array(self, samples: npt.NDArray[np.int64]) -> None:
        """Count a whole array at 3 ns a sample.  The array must not change afterwards."""
        if self._track is not None and len(samples):
            if len(self._track.arrays) < ARRAYS_MAX:
                self._track.arrays.append(np.asarray(samples, np.int64))
            else:
                self.lose(len(samples))

    def lose(self, count: int) -> None:
        """Say that `count` samples are missing: they lower the trust in an interval, they never invent a value."""
        if self._track is not None and count > 0:
            self._track.losses.append(count)

    def since(self, began_ns: int) -> int:
        """Record the time from `began_ns` (of `boxwork.clock.monotonic_ns`) until now, and return it."""
        elapsed = monotonic_ns() - began_ns
        self.record(elapsed)
        return elapsed

    @contextlib.contextmanager
    def time(self) -> Iterator[None]:
        """Record how long the block took, also when it raises.  `since` is 400 ns cheaper."""
        began = monotonic_ns()
        try:
            yield
        finally:
            self.record(monotonic_ns() - began)

    def every(self, period_seconds: float) -> Pace:
        """A schedule of intended times, against coordinated omission: see `Pace`."""
        return Pace(self, round(period_seconds * SECOND_NS))

    # --- everything since this process began, samples of this moment included

    @property
    def histogram(self) -> Histogram:
        return self._aggregator.total(self._track)[0] if self._track is not None else Histogram()

    @property
    def count(self) -> int:
        return self.histogram.count

    @property
    def lost(self) -> int:
        return self._aggregator.total(self._track)[1] if self._track is not None else 0

    @property
    def p50_ms(self) -> float:
        return self.quantile_ms(0.5)

    @property
    def p99_ms(self) -> float:
        return self.quantile_ms(0.99)

    @property
    def p999_ms(self) -> float:
        return self.quantile_ms(0.999)

    def quantile_ms(self, share: float) -> float:
        """A quantile in milliseconds, for series that count nanoseconds; NaN without samples."""
        return self.histogram.quantile(share) / _NS_PER_MS

    def __repr__(self) -> str:
        return f"Series({self.info.name})"


class Pace:
    """Intended times at a fixed period; a late start is part of the latency, a missed one is counted as lost.

        pace = series.every(0.1)
        while True:
            intended = pace.next()          # where to be now; sleep until then
            probe()
            pace.done(intended)             # now - intended, so a stall of the caller shows

    A caller that is more than one period late has missed slots: they go to `lost`, no sample is made up for them,
    and nothing is ever corrected afterwards (correcting twice is the classic mistake).
    """

    def __init__(self, series: Series, period_ns: int, clock: Clock | None = None) -> None:
        if period_ns <= 0:
            raise BadInput(f"a pace needs a period above 0 s, not {period_ns / SECOND_NS:g} s")
        self.series = series
        self.period_ns = period_ns
        #: The clock of the intended times.
        self.now_ns = clock.monotonic_ns if clock is not None else monotonic_ns
        self._next = self.now_ns()
        if series._track is not None:
            series._track.flags |= marks.INTENDED

    def next(self) -> int:
        """The next intended time on the monotonic clock; it may lie in the past by less than a period."""
        behind = (self.now_ns() - self._next) // self.period_ns
        if behind > 0:
            self.series.lose(behind)
            self._next += behind * self.period_ns
        intended = self._next
        self._next += self.period_ns
        return intended

    def wait_seconds(self, intended_ns: int) -> float:
        """How long to sleep until `intended_ns`; 0 if it has passed."""
        return max(0, intended_ns - self.now_ns()) / SECOND_NS

    def done(self, intended_ns: int) -> int:
        elapsed = self.now_ns() - intended_ns
        self.series.record(elapsed)
        return elapsed


def timed(series: Series) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that records how long each call takes, in plain, async and generator functions alike."""
    record = series.record

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                began = monotonic_ns()
                try:
                    return await function(*args, **kwargs)
                finally:
                    record(monotonic_ns() - began)

            return cast(Callable[P, R], call_async)
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def call_generator(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
                began = monotonic_ns()
                try:
                    return (yield from function(*args, **kwargs))
                finally:
                    record(monotonic_ns() - began)

            return cast(Callable[P, R], call_generator)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            began = monotonic_ns()
            try:
                return function(*args, **kwargs)
            finally:
                record(monotonic_ns() - began)

        return call

    return wrap


class Pulse:
    """Live latency histograms: `series` to record, `query` to ask, `close` to flush.

    Without a sink the last hours stay in memory.  A sink is an object of `boxwork.pulse.sinks`, or a text:
    `redis://…` (or `rediss://`, `unix://`), or the path of a directory.  Several may be given; queries go to the
    first one that can be asked.  A pulse that is dropped without `close` ends by itself once no `record` of it is held.
    """

    def __init__(
        self,
        *sinks: Sink | str,
        interval_seconds: float = 1.0,
        writer: str = "",
        series_max: int = 10_000,
        clock: Clock | None = None,
        threaded: bool = True,
        clock_error_us: Callable[[], int] | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.interval_ns = round(interval_seconds * SECOND_NS)
        ladder(self.interval_ns)  # refuse a bad interval here and not at the first sample
        self.series_max = series_max
        opened = [_open_sink(sink, writer, self.clock) if isinstance(sink, str) else sink for sink in sinks]
        history = next((sink for sink in opened if isinstance(sink, History)), None)
        if history is None:
            history = MemorySink()
            opened.append(history)
        self.history: History = history
        self.aggregator = Aggregator(opened, self.clock, clock_error_us=clock_error_us)
        self._threaded = threaded
        self._lock = threading.Lock()
        self._series: dict[SeriesName, Series] = {}
        self._asked: dict[Any, Series] = {}
        self._reader = Reader(history, self.aggregator)
        _aggregators.add(self.aggregator)
        if threaded:
            weakref.finalize(self, self.aggregator.detach).atexit = False

    @classmethod
    def from_settings(cls, settings: Settings, *sinks: Sink | str, clock: Clock | None = None) -> Pulse:
        """A pulse as `boxwork.toml` wants it."""
        return cls(
            *sinks,
            clock=clock,
            interval_seconds=settings.number("pulse.interval_seconds"),
            series_max=settings.integer("pulse.series_max"),
        )

    # --- recording

    def series(
        self, name: str, /, *, interval_seconds: float | None = None, unit: str = "ns", **labels: object
    ) -> Series:
        """The series of this name and labels; made at the first call, the same object ever after.

        `interval_seconds` and `unit` hold from the first call on.  Labels are meant to be few and of few values.
        """
        # With the types, because 1, 1.0 and True are equal as keys and different as labels.
        asked = (name, *labels.items(), *map(type, labels.values()))
        try:
            return self._asked[asked]
        except (KeyError, TypeError):
            return self._make(asked, SeriesName.of(name, labels), interval_seconds, unit)

    def _make(self, asked: Any, name: SeriesName, interval_seconds: float | None, unit: str) -> Series:
        width_ns = self.interval_ns if interval_seconds is None else round(interval_seconds * SECOND_NS)
        widths = ladder(width_ns)
        with self._lock:
            series = self._series.get(name)
            if series is None:
                if self.aggregator.closed:
                    return Series(self.aggregator, None, SeriesInfo(name, unit, widths))
                if len(self._series) >= self.series_max:
                    name, unit, width_ns = OVERFLOW, "ns", self.interval_ns
                series = self._series.get(name)
            if series is None:
                track = self.aggregator.open_track(name, unit, width_ns)
                series = self._series[name] = Series(self.aggregator, track, track.info)
                if self._threaded:
                    self.aggregator.start()
            if len(self._asked) < 4 * self.series_max:  # spellings of one name, and names that overflowed
                with contextlib.suppress(TypeError):  # a label that cannot be hashed
                    self._asked[asked] = series
            return series

    def timed(self, name: str, /, **labels: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """`@pulse.timed("edge.thumb", size="s")` records how long each call of the function takes."""
        return timed(self.series(name, **labels))

    # --- asking

    def query(
        self,
        pattern: str | SeriesName,
        start_ns: int | None = None,
        end_ns: int | None = None,
        *,
        last_seconds: float | None = None,
        **labels: object,
    ) -> Answer:
        """All samples of the matching series in [start, end) as one histogram, and how much of that time was seen.

        Times are wall nanoseconds, widened to whole intervals; without them everything of the last hour, or of
        `last_seconds`.  `pattern` is `name`, `name{label=glob}`, or a name with labels as keywords.
        """
        end = self.clock.now_ns() if end_ns is None else end_ns
        past = round((3600.0 if last_seconds is None else last_seconds) * SECOND_NS)
        start = end - past if start_ns is None else start_ns
        return self._reader.query(Pattern.of(pattern, labels), start, end)

    @property
    def reader(self) -> Reader:
        """Queries in detail: many series at once, one column per interval, live intervals."""
        return self._reader

    def catalog(self) -> list[SeriesInfo]:
        """Every series of this process and of the history."""
        return self._reader.catalog()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(rows)` in the aggregator's thread after each tick; answers with how to stop it."""
        self.aggregator.listeners.append(listener)

        def stop() -> None:
            if listener in self.aggregator.listeners:
                self.aggregator.listeners.remove(listener)

        return stop

    def every(self, period_seconds: float, function: Callable[[], object]) -> Callable[[], None]:
        """Call a small function in the aggregator's thread at a period; answers with how to stop it."""
        chore = Chore(round(period_seconds * SECOND_NS), function)
        if chore.period_ns <= 0:
            raise BadInput(f"a period is above 0 s, not {period_seconds:g} s")
        self.aggregator.chores.append(chore)
        if self._threaded:
            self.aggregator.start()

        def stop() -> None:
            if chore in self.aggregator.chores:
                self.aggregator.chores.remove(chore)

        return stop

    def live(self, pattern: str = "*", *, rows_max: int = 10_000) -> Live:
        """A queue of finished intervals, for a page that follows: iterate over it, then `close` it."""
        return Live(self.listen, Pattern.parse(pattern), rows_max)

    # --- life

    def health(self) -> dict[str, Any]:
        """How the measuring itself is doing, for an admin page."""
        aggregator = self.aggregator
        return {
            "series": len(self._series),
            "series_max": self.series_max,
            "ticks": aggregator.ticks,
            "tick_ms_max": aggregator.tick_ns_max / _NS_PER_MS,
            "refused": aggregator.refused,
            "faults": aggregator.faults,
            "last_fault": aggregator.last_fault,
            "epoch": aggregator.epoch,
            "sinks": [
                {"kind": type(sink).__name__}
                | {
                    name: value
                    for name in ("waiting", "bytes_held", "coalesced", "dropped", "refused", "failures", "last_failure")
                    if (value := getattr(sink, name, None)) is not None
                }
                for sink in aggregator.sinks
            ],
        }

    def tick(self) -> None:
        """Do what is due now: what the thread does, for a `threaded=False` pulse in a simulation or test."""
        self.aggregator.run_chores()
        self.aggregator.tick()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Flush open intervals, close the sinks, end the thread; recording afterwards is harmless and forgotten."""
        with self._lock:
            self._series, self._asked = {}, {}
        self.aggregator.close(timeout_seconds)

    def __enter__(self) -> Pulse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


OVERFLOW = SeriesName("pulse.overflow")

_aggregators: weakref.WeakSet[Aggregator] = weakref.WeakSet()


def _open_sink(text: str, writer: str, clock: Clock) -> Sink:
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme in ("redis", "rediss", "unix", "valkey", "valkeys"):
        from boxwork.pulse.sinks.redis import RedisSink

        return RedisSink(text, writer=writer, clock=clock)
    if not scheme:
        try:
            from boxwork.pulse.sinks.embedded import EmbeddedSink
        except ModuleNotFoundError as reason:
            raise StorageError(f"a history in {text} needs {reason.name}: pip install boxwork") from reason

        return EmbeddedSink(text, clock=clock)
    raise BadInput(f"{text!r} is not a sink: use redis://host:port, unix:///path, or a directory")


@atexit.register
def _flush_at_exit() -> None:
    for aggregator in list(_aggregators):
        if aggregator.sinks:
            aggregator.close(2.0)


def _in_child() -> None:
    for aggregator in list(_aggregators):
        if not aggregator.closed:
            aggregator.forked()
    swept_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
