"""Any range, any pattern: the answer equals the samples, and the account of time is right."""

from __future__ import annotations

import itertools

import pytest
from _clock import HOUR_START_NS, fake_clock
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwork.clock import MILLISECOND_NS, SECOND_NS
from boxwork.errors import BadInput
from boxwork.pulse import Pulse
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import HOUR_NS
from boxwork.pulse.query import _cover
from boxwork.pulse.sinks.memory import MemorySink
from boxwork.pulse.sinks.sink import Request
from boxwork.testing.clock import FakeClock


def filled(seconds: int, *, sink: MemorySink | None = None, tail: bool = True) -> tuple[Pulse, FakeClock]:
    clock = fake_clock()
    pulse = Pulse(sink or MemorySink(), clock=clock, threaded=False)
    series = pulse.series("path", src="ny4", dst="cme")
    for second in range(seconds):
        series.record(second + 1)
        clock.advance(SECOND_NS)
        pulse.tick()
    if tail:
        series.record(10**9)
    return pulse, clock


@pytest.fixture(scope="module")
def two_hours() -> Pulse:
    sink = MemorySink()
    import boxwork.pulse.sinks.memory as memory

    kept, memory.KEPT_NS = memory.KEPT_NS, ((HOUR_NS, 40 * 24 * HOUR_NS),)
    try:
        return filled(7300, sink=sink)[0]
    finally:
        memory.KEPT_NS = kept


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 7299), st.integers(1, 7300))
def test_any_range_of_whole_seconds_gives_exactly_its_samples(two_hours: Pulse, low: int, length: int) -> None:
    high = min(7300, low + length)
    answer = two_hours.query("path", HOUR_START_NS + low * SECOND_NS, HOUR_START_NS + high * SECOND_NS)
    assert Histogram(range(low + 1, high + 1)) == answer.histogram
    assert (high - low) * SECOND_NS == answer.coverage.covered_ns == answer.coverage.range_ns
    assert 1.0 == answer.coverage.ratio


def test_the_unfinished_interval_is_part_of_the_answer(two_hours: Pulse) -> None:
    answer = two_hours.query("path", HOUR_START_NS, HOUR_START_NS + 7301 * SECOND_NS)
    assert (7301, 10**9) == (answer.histogram.count, answer.histogram.maximum)


def test_a_day_needs_at_most_168_intervals() -> None:
    day = 86_400
    for low in (0, 1, 59, 3599):
        ranges = _cover((1, 10, 60, 3600), low, low + day)
        pieces = sum((high - start) // width for width, spans in ranges.items() for start, high in spans)
        assert pieces <= 168
        covered = sorted((start, high) for spans in ranges.values() for start, high in spans)
        assert (low, low + day) == (covered[0][0], covered[-1][1])
        assert all(left[1] == right[0] for left, right in itertools.pairwise(covered))


def test_a_lost_rollup_is_replaced_by_the_finer_ones() -> None:
    pulse, _ = filled(130, tail=False)
    sink = pulse.history
    assert isinstance(sink, MemorySink)
    name = pulse.series("path", src="ny4", dst="cme").name
    sink._rings[name, 60 * SECOND_NS].clear()
    del sink._rings[name, 10 * SECOND_NS][next(iter(sink._rings[name, 10 * SECOND_NS]))]
    answer = pulse.query("path", HOUR_START_NS, HOUR_START_NS + 120 * SECOND_NS)
    assert Histogram(range(1, 121)) == answer.histogram
    assert 1.0 == answer.coverage.ratio


def test_expired_fine_intervals_leave_the_coarse_ones_that_saw_more() -> None:
    pulse, _ = filled(130, tail=False)
    sink = pulse.history
    assert isinstance(sink, MemorySink)
    name = pulse.series("path", src="ny4", dst="cme").name
    sink._rings[name, SECOND_NS].clear()
    answer = pulse.query("path", HOUR_START_NS, HOUR_START_NS + 120 * SECOND_NS)
    assert 120 == answer.histogram.count


def test_a_writer_that_lives_does_not_hide_the_gap_of_both() -> None:
    """Two agents write the same series for the second half of a minute: half of it was seen, not all."""
    clock, sink = fake_clock(), MemorySink()
    clock.advance(30 * SECOND_NS)
    pulses = []
    for _ in range(2):
        pulses.append(Pulse(sink, clock=clock, threaded=False))
        clock.token(4)
    for second in range(30):
        for number, pulse in enumerate(pulses):
            series = pulse.series("path.oneway", src="a", dst="b")
            if second % 2 == number and second < 20:
                series.record(1000)
        clock.advance(SECOND_NS)
        for pulse in pulses:
            pulse.tick()
    for pulse in pulses:
        pulse.close()
    clock.advance(SECOND_NS)
    reader = Pulse(sink, clock=clock, threaded=False)
    answer = reader.query("path.oneway", HOUR_START_NS, HOUR_START_NS + 60 * SECOND_NS)
    coverage = answer.coverage
    assert (20, 2) == (answer.histogram.count, coverage.runs)
    assert 0.5 == pytest.approx(coverage.ratio, abs=0.001)
    assert 10 * SECOND_NS == pytest.approx(coverage.silent_ns, abs=SECOND_NS // 100)  # what neither heard anything in
    columns = reader.reader.columns(answer.series[0], SECOND_NS, HOUR_START_NS, HOUR_START_NS + 60 * SECOND_NS)
    assert [SECOND_NS] * 29 == [column.covered_ns for column in columns[1:]]


def test_a_restart_inside_a_minute_keeps_both_runs_and_shows_the_gap() -> None:
    sink, clock = MemorySink(), fake_clock()
    for run in range(2):
        pulse = Pulse(sink, clock=clock, threaded=False)
        clock.token(4)
        series = pulse.series("path")
        for second in range(20):
            series.record(1000 * run + second + 1)
            clock.advance(SECOND_NS)
            pulse.tick()
        if run == 1:
            pulse.close()  # the first run is killed: its rollups are never written
        clock.advance(7 * SECOND_NS)
    clock.advance(7 * SECOND_NS)
    reader = Pulse(sink, clock=clock, threaded=False)
    answer = reader.query("path", HOUR_START_NS, HOUR_START_NS + 60 * SECOND_NS)
    assert 40 == answer.histogram.count
    assert (40 * SECOND_NS, 20 * SECOND_NS, 2) == (
        answer.coverage.covered_ns,
        answer.coverage.gap_ns,
        answer.coverage.runs,
    )


def test_what_nobody_can_have_told_yet_is_no_gap() -> None:
    sink, clock = MemorySink(), fake_clock()
    writer, reader = (Pulse(sink, clock=clock, threaded=False) for _ in range(2))
    writer.series("path").record(1)
    for _ in range(20):
        clock.advance(SECOND_NS)
        writer.tick()
    clock.advance(SECOND_NS // 4)
    # The writer knows its unfinished interval; who reads knows that the last whole one may be on its way.
    for pulse in (writer, reader):
        coverage = pulse.query("path", last_seconds=10).coverage
        assert (1.0, 0) == (coverage.ratio, coverage.gap_ns), pulse
    # A writer that was killed is a gap as soon as its next interval is overdue, and time to come never is.
    clock.advance(2 * SECOND_NS)
    assert 1.0 > reader.query("path", last_seconds=10).coverage.ratio
    coverage = reader.query("path", clock.now_ns() - 5 * SECOND_NS, clock.now_ns() + 60 * SECOND_NS).coverage
    assert 5 * SECOND_NS >= coverage.gap_ns


def test_a_killed_writer_is_not_hidden_by_a_complete_one_beside_it() -> None:
    sink, clock = MemorySink(), fake_clock()
    steady = Pulse(sink, clock=clock, threaded=False)
    steady.series("path")
    clock.token(4)
    doomed = Pulse(sink, clock=clock, threaded=False)
    doomed.series("path").record(1)
    for second in range(120):
        clock.advance(SECOND_NS)
        steady.tick()
        if second < 37:
            doomed.tick()
            doomed.series("path").record(second)
    answer = steady.query("path", HOUR_START_NS, HOUR_START_NS + 120 * SECOND_NS)
    assert (37, 2) == (answer.histogram.count, answer.coverage.runs)
    assert 120 * SECOND_NS == answer.coverage.covered_ns == answer.coverage.range_ns
    columns = steady.reader.columns(answer.series[0], 60 * SECOND_NS, HOUR_START_NS, HOUR_START_NS + 120 * SECOND_NS)
    assert [37, 0] == [column.histogram.count for column in columns]


def test_a_pattern_sums_series_and_their_ranges() -> None:
    clock = fake_clock()
    pulse = Pulse(clock=clock, threaded=False)
    for dst in ("cme", "ld4", "ty3"):
        pulse.series("path", src="ny4", dst=dst).record(5)
    pulse.series("other").record(5)
    clock.advance(SECOND_NS)
    pulse.tick()
    histogram, coverage = pulse.query("path{src=ny4}", HOUR_START_NS, clock.now_ns())
    assert (3, 3 * SECOND_NS) == (histogram.count, coverage.range_ns)
    assert 1 == pulse.query("path", HOUR_START_NS, clock.now_ns(), dst="cme").histogram.count
    nobody = pulse.query("nobody", HOUR_START_NS, clock.now_ns())
    assert (0, 0.0, ()) == (nobody.histogram.count, nobody.coverage.ratio, nobody.series)


def test_columns_tell_gap_from_silence() -> None:
    clock = fake_clock()
    pulse = Pulse(clock=clock, threaded=False)
    series = pulse.series("path")
    series.record(5)
    for advance in (1, 1, 100, 1):
        clock.advance(advance * SECOND_NS)
        pulse.tick()
    columns = pulse.reader.columns(series.name, SECOND_NS, HOUR_START_NS, clock.now_ns())
    starts = [(column.start_ns - HOUR_START_NS) // SECOND_NS for column in columns]
    assert [0, 1, 2] == starts[:3]
    assert (0, SECOND_NS) == (columns[1].histogram.count, columns[1].silent_ns)
    assert 102 == starts[-1]
    assert 70 not in starts
    tens = pulse.reader.columns(series.name, 10 * SECOND_NS, HOUR_START_NS, clock.now_ns())
    assert 1 == tens[0].histogram.count
    with pytest.raises(BadInput, match="make up"):
        pulse.reader.columns(series.name, 500 * MILLISECOND_NS, HOUR_START_NS, clock.now_ns())


def test_an_answer_leaves_as_json() -> None:
    pulse, clock = filled(20)
    found = pulse.query("path", HOUR_START_NS, clock.now_ns()).as_json()
    assert (20, 1, 20, ["path{dst=cme,src=ny4}"]) == (found["count"], found["min"], found["max"], found["series"])
    assert 1.0 == found["coverage"]["ratio"]
    assert None is pulse.query("none", HOUR_START_NS, clock.now_ns()).as_json()["quantiles"]["0.99"]
    with pytest.raises(BadInput, match="ends after it begins"):
        pulse.query("path", 5, 5)


def test_a_live_queue_follows_and_drops_the_oldest_when_nobody_reads() -> None:
    clock = fake_clock()
    pulse = Pulse(clock=clock, threaded=False)
    pulse.series("path")
    pulse.series("other")
    with pulse.live("path", rows_max=5) as live:
        for _ in range(9):
            clock.advance(SECOND_NS)
            pulse.tick()
        rows = live.drain()
        assert (5, 9 + 3 - 5, {"path"}) == (len(rows), live.dropped, {row.series.name.name for row in rows})
        assert None is live.get(0.001)
    clock.advance(SECOND_NS)
    pulse.tick()
    assert [] == live.drain()


def test_a_memory_that_is_full_forgets_the_oldest_of_the_finest() -> None:
    pulse, _ = filled(300, sink=MemorySink(bytes_max=60_000))
    sink = pulse.history
    assert isinstance(sink, MemorySink)
    assert sink.bytes_held <= 60_000
    name = pulse.series("path", src="ny4", dst="cme").name
    ranges = [Request(name, width * SECOND_NS, 0, 2 * HOUR_START_NS) for width in (1, 10, 60, 3600)]
    ones, tens, minutes, hours = sink.read(ranges)
    assert len(ones) < 300
    assert (30, 5) == (len(tens), len(minutes))
    assert sink.bytes_held == sum(len(blob) + 250 for blob in (*ones, *tens, *minutes, *hours))
