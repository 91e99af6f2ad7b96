"""Ticks, rollups, clocks that jump, sinks that fail: driven by a clock of our own, without a thread."""

from __future__ import annotations

import numpy as np
import pytest
from _clock import HOUR_START_NS, fake_clock

from boxwork.clock import MILLISECOND_NS, SECOND_NS
from boxwork.pulse import Pulse
from boxwork.pulse import interval as marks
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import HOUR_NS, Interval
from boxwork.pulse.sinks.memory import MemorySink
from boxwork.pulse.sinks.sink import Row
from boxwork.testing.clock import FakeClock


class ListSink:
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def write(self, rows: list[Row]) -> None:
        self.rows += rows

    def close(self) -> None:
        pass

    def of(self, width_ns: int) -> list[Interval]:
        return [
            row.interval
            for row in self.rows
            if row.interval.width_ns == width_ns and not row.interval.flags & marks.UNFINISHED
        ]


def manual(**options: object) -> tuple[Pulse, FakeClock, ListSink]:
    clock, sink = fake_clock(), ListSink()
    return Pulse(sink, clock=clock, threaded=False, **options), clock, sink  # type: ignore[arg-type]


def test_rollups_equal_the_histogram_of_all_their_samples_bit_for_bit() -> None:
    pulse, clock, sink = manual()
    chance = np.random.default_rng(3)
    series = pulse.series("path")
    kept: list[np.ndarray] = []
    for _ in range(3600):
        values = np.int64(chance.normal(3e5, 4e5, 5))
        kept.append(values)
        series.record_array(values)
        clock.advance(SECOND_NS)
        pulse.tick()
    for width in (1, 10, 60, 3600):
        rows = sink.of(width * SECOND_NS)
        assert 3600 // width == len(rows)
        for place, row in enumerate(rows):
            direct = Histogram(np.concatenate(kept[place * width : (place + 1) * width]))
            assert direct == row.histogram
            assert width * SECOND_NS == row.covered_ns
            assert HOUR_START_NS + place * width * SECOND_NS == row.start_ns


def test_silence_is_written_and_said_to_be_silence() -> None:
    pulse, clock, sink = manual()
    pulse.series("quiet")
    for _ in range(10):
        clock.advance(SECOND_NS)
        pulse.tick()
    assert 10 == len(sink.of(SECOND_NS))
    (ten,) = sink.of(10 * SECOND_NS)
    assert (10 * SECOND_NS, 10 * SECOND_NS, 0) == (ten.covered_ns, ten.silent_ns, ten.lost)


def test_the_first_interval_is_marked_and_covers_only_what_was_seen() -> None:
    pulse, clock, sink = manual()
    clock.advance(300 * MILLISECOND_NS)
    pulse.series("path").record(1)
    clock.advance(700 * MILLISECOND_NS)
    pulse.tick()
    clock.advance(SECOND_NS)
    pulse.tick()
    first, second = sink.of(SECOND_NS)
    assert (700 * MILLISECOND_NS, marks.STARTED) == (first.covered_ns, first.flags)
    assert (SECOND_NS, 0) == (second.covered_ns, second.flags)


def test_each_series_may_have_its_own_interval() -> None:
    pulse, clock, sink = manual()
    pulse.series("fast", interval_seconds=0.1)
    pulse.series("slow", interval_seconds=60)
    for _ in range(20):
        clock.advance(100 * MILLISECOND_NS)
        pulse.tick()
    assert (20, 0) == (len(sink.of(100 * MILLISECOND_NS)), len(sink.of(60 * SECOND_NS)))
    for _ in range(59):
        clock.advance(SECOND_NS)
        pulse.tick()
    assert {"fast", "slow"} == {row.series.name.name for row in sink.rows if row.interval.width_ns == 60 * SECOND_NS}


@pytest.mark.parametrize("jump_ns", [-2 * SECOND_NS, HOUR_NS, -HOUR_NS, 60 * MILLISECOND_NS])
def test_a_clock_step_begins_an_epoch_and_overwrites_no_slot(jump_ns: int) -> None:
    pulse, clock, sink = manual()
    series = pulse.series("path")
    recorded = 0
    for turn in range(40):
        series.record(turn - 20)
        recorded += 1
        clock.advance(500 * MILLISECOND_NS)
        if turn == 20:
            clock.step(jump_ns)
        pulse.tick()
    pulse.close()
    rows = sink.of(SECOND_NS)
    assert recorded == sum(row.histogram.count for row in rows)
    assert len(rows) == len({(row.start_ns, row.epoch) for row in rows})
    assert 2 == len({row.epoch for row in rows})
    assert 1 == sum(bool(row.flags & marks.CLOCK_STEP) for row in rows)
    assert 20 * SECOND_NS == sum(row.covered_ns for row in rows)
    for width in (10, 60, 3600):
        assert recorded == sum(row.histogram.count for row in sink.of(width * SECOND_NS))


def test_a_slow_drift_of_the_clocks_is_followed_without_an_epoch() -> None:
    pulse, clock, sink = manual()
    pulse.series("path")
    for _ in range(200):
        clock.advance(SECOND_NS)
        clock.step(500_000)
        pulse.tick()
    assert 1 == len({row.epoch for row in sink.of(SECOND_NS)})
    assert 200 * SECOND_NS <= sum(row.covered_ns for row in sink.of(SECOND_NS))


def test_a_late_tick_marks_the_slots_it_cannot_tell_apart() -> None:
    pulse, clock, sink = manual()
    series = pulse.series("path")
    pulse.tick()
    series.record(1)
    clock.advance(5 * SECOND_NS)
    pulse.tick()
    rows = sink.of(SECOND_NS)
    assert [1, 0, 0, 0, 0] == [row.histogram.count for row in rows]
    assert all(row.flags & marks.LATE for row in rows)
    assert 5 * SECOND_NS == sum(row.covered_ns for row in rows)
    clock.advance(HOUR_NS)
    pulse.tick()
    assert 5 + 61 == len(sink.of(SECOND_NS))  # after a long pause the rest is a gap, not an invention


def test_a_sink_or_listener_that_raises_harms_nobody() -> None:
    class Broken(ListSink):
        def write(self, rows: list[Row]) -> None:
            raise OSError("no disk")

    clock, good = fake_clock(), ListSink()
    pulse = Pulse(Broken(), good, clock=clock, threaded=False)
    pulse.listen(lambda rows: 1 / 0)
    seen: list[int] = []
    pulse.listen(lambda rows: seen.append(len(rows)))
    pulse.series("path").record(3)
    clock.advance(SECOND_NS)
    pulse.tick()
    assert (1, [4]) == (len(good.of(SECOND_NS)), seen)  # and three unfinished rollups
    assert 2 == pulse.aggregator.faults
    assert "division" in pulse.aggregator.last_fault


def test_loss_is_in_the_interval_and_is_not_silence() -> None:
    pulse, clock, sink = manual()
    pulse.series("path").lose(9)
    clock.advance(SECOND_NS)
    pulse.tick()
    (row,) = sink.of(SECOND_NS)
    assert (9, 0) == (row.lost, row.silent_ns)


def test_close_writes_unfinished_rollups_marked_as_the_end() -> None:
    pulse, clock, sink = manual()
    pulse.series("path").record(3)
    clock.advance(1500 * MILLISECOND_NS)
    pulse.tick()
    pulse.close()
    assert [1, 1, 1] == [sum(r.histogram.count for r in sink.of(w * SECOND_NS)) for w in (10, 60, 3600)]
    assert sink.of(SECOND_NS)[-1].flags & marks.ENDED
    assert 1500 * MILLISECOND_NS == sink.of(HOUR_NS)[0].covered_ns


def test_a_rollup_is_announced_with_its_first_part() -> None:
    pulse, clock, sink = manual()
    pulse.series("path").record(3)
    clock.advance(SECOND_NS)
    pulse.tick()
    announced = [row.interval for row in sink.rows if row.interval.flags & marks.UNFINISHED]
    assert [10, 60, 3600] == [one.width_ns // SECOND_NS for one in announced]
    assert all(one.histogram.count == 1 and one.covered_ns == SECOND_NS for one in announced)
    for _ in range(9):
        clock.advance(SECOND_NS)
        pulse.tick()
    (final,) = sink.of(10 * SECOND_NS)
    assert (10 * SECOND_NS, 1) == (final.covered_ns, announced[0].histogram.count)


def test_the_thread_ticks_by_itself() -> None:
    import time

    pulse = Pulse(MemorySink(), interval_seconds=0.1)
    pulse.series("path").record(5)
    deadline = time.monotonic() + 10
    while not pulse.history.catalog() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 1 == len(pulse.history.catalog())
    pulse.close()
    assert pulse.aggregator._thread is not None
    assert not pulse.aggregator._thread.is_alive()
