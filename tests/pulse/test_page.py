"""What the pages get: columns that tell gap from silence, exact rectangles, a stream that resumes, the mesh."""

from __future__ import annotations

import json

import pytest
from _clock import HOUR_START_NS, fake_clock

from boxwork.clock import SECOND_NS
from boxwork.errors import NotFound
from boxwork.pulse import Pulse, page
from boxwork.pulse.interval import HOUR_NS
from boxwork.pulse.sinks.memory import MemorySink
from boxwork.testing.clock import FakeClock


@pytest.fixture
def filled() -> tuple[Pulse, FakeClock]:
    clock = fake_clock()
    pulse = Pulse(clock=clock, threaded=False)
    series = pulse.series("path", src="ny4", dst="cme")
    for second in range(60):
        if second % 10 != 5:
            for value in range(1, 11):
                series.record(value * 1000 * (second + 1))
        clock.advance(SECOND_NS)
        pulse.tick()
    return pulse, clock


NAME = "path{dst=cme,src=ny4}"


def test_history_is_the_stored_intervals_one_after_the_other(filled: tuple[Pulse, FakeClock]) -> None:
    pulse, clock = filled
    data = page.history(pulse, NAME, HOUR_START_NS, clock.now_ns())
    width, intervals = page.parse_history(data)
    found = list(intervals)
    assert (SECOND_NS, 60, 540) == (width, len(found), sum(one.histogram.count for one in found))
    assert len(data) < 60 * 200


def test_a_long_range_takes_wider_columns(filled: tuple[Pulse, FakeClock]) -> None:
    pulse, clock = filled
    (info,) = pulse.catalog()
    assert SECOND_NS == page.width_for(info, 0, 900 * SECOND_NS)
    assert 10 * SECOND_NS == page.width_for(info, 0, 901 * SECOND_NS)
    assert HOUR_NS * 10 == page.width_for(info, 0, 365 * 24 * HOUR_NS)
    width, intervals = page.parse_history(page.history(pulse, NAME, clock.now_ns() - HOUR_NS, clock.now_ns()))
    assert (10 * SECOND_NS, 540) == (width, sum(one.histogram.count for one in intervals))


def test_columns_say_why_they_look_as_they_do(filled: tuple[Pulse, FakeClock]) -> None:
    pulse, clock = filled
    pulse.series("path", src="ny4", dst="cme").lose(4)
    clock.advance(SECOND_NS)
    pulse.tick()
    clock.advance(300_000_000)
    clock.step(HOUR_NS)
    pulse.tick()
    found = page.columns(pulse, NAME, HOUR_START_NS, clock.now_ns(), columns_max=10_000)["columns"]
    states = [column["state"] for column in found]
    assert ["seen", "silence", "loss", "clock step"] == [states[0], states[5], states[60], states[61]]
    assert None is found[5]["quantiles"]
    json.dumps(found)
    with pytest.raises(NotFound, match="pulse top"):
        page.columns(pulse, "nobody", 0, 1)


def test_a_rectangle_has_its_own_exact_quantiles(filled: tuple[Pulse, FakeClock]) -> None:
    pulse, _ = filled
    ten = HOUR_START_NS + 10 * SECOND_NS
    whole = page.rectangle(pulse, NAME, ten, ten + SECOND_NS)
    assert (10, 1.0, 110_000) == (whole["count"], whole["share"], whole["max"])
    part = page.rectangle(pulse, NAME, ten, ten + SECOND_NS, 50_000, 100_000)
    assert (5, 0.5) == (part["count"], part["share"])
    assert part["quantiles"]["0.5"] == pytest.approx(77_000, rel=0.006)


def test_the_percentile_plot_ends_where_the_samples_do(filled: tuple[Pulse, FakeClock]) -> None:
    pulse, clock = filled
    plot = page.percentiles(pulse, NAME, HOUR_START_NS, clock.now_ns())
    xs = [x for x, _ in plot["points"]]
    assert 1.0 == xs[0]
    assert 540 <= max(xs) <= 1080
    assert sorted(y for _, y in plot["points"]) == [y for _, y in plot["points"]]
    assert [] == page.percentiles(pulse, "nobody", 0, 10)["points"]


def test_the_mesh_has_a_cell_for_each_path_and_the_offset_of_clocks() -> None:
    clock = fake_clock()
    pulse = Pulse(clock=clock, threaded=False)
    for second in range(30):
        pulse.series("path", src="a", dst="b", probe="agent").record(1000 + second)
        pulse.series("path", src="b", dst="a", probe="agent").record(2000)
        pulse.series("path.oneway", src="a", dst="b").record(5_000_400)
        pulse.series("path.oneway", src="b", dst="a").record(-4_999_600)
        clock.advance(SECOND_NS)
        pulse.tick()
    mesh = page.mesh(pulse, HOUR_START_NS, clock.now_ns(), sparks=3)
    assert ["a", "b"] == mesh["sites"]
    assert 2 == len(mesh["cells"])
    cell = next(cell for cell in mesh["cells"] if cell["src"] == "a")
    assert [1009, 1019, 1029] == [pytest.approx(value, rel=0.006) for value in cell["spark"]]
    assert 1.0 == cell["ratio"]
    (offset,) = page.clock_offsets(pulse, HOUR_START_NS, clock.now_ns())
    assert (5_000_000, 800) == (offset["offset_ns"], offset["round_trip_ns"])
    json.dumps(mesh)
    assert {"sites": [], "cells": []} == page.mesh(Pulse(threaded=False), 0, SECOND_NS)


def test_a_stream_resumes_where_it_was_and_repeats_nothing(filled: tuple[Pulse, FakeClock]) -> None:
    pulse, clock = filled
    series = pulse.series("path", src="ny4", dst="cme")
    with page.Follower(pulse, "path", after_ns=HOUR_START_NS + 40 * SECOND_NS) as follower:
        missed = follower.poll()
        assert [41 + k for k in range(19)] == [(int(t.id) - HOUR_START_NS) // SECOND_NS for t in missed]
        seen = []
        for _ in range(5):
            series.record(7)
            clock.advance(SECOND_NS)
            pulse.tick()
            seen += follower.poll()
        assert [60, 61, 62, 63, 64] == [(int(t.id) - HOUR_START_NS) // SECOND_NS for t in seen]
        assert 1 == seen[-1].as_json()["count"]
        json.dumps(seen[-1].as_json())


def test_a_stream_sees_what_other_processes_write() -> None:
    clock, shared = fake_clock(), MemorySink()
    writer = Pulse(shared, clock=clock, threaded=False)
    reader = Pulse(shared, clock=clock, threaded=False)
    woken: list[int] = []
    with page.Follower(reader, "path", wake=lambda: woken.append(1)) as follower:
        ids = []
        for second in range(6):
            writer.series("path").record(second)
            clock.advance(SECOND_NS)
            writer.tick()
            ids += [int(tick.id) for tick in follower.poll()]
        assert ids == [HOUR_START_NS + second * SECOND_NS for second in range(1, 6)]


def test_a_stream_wakes_its_reader() -> None:
    clock = fake_clock()
    pulse = Pulse(clock=clock, threaded=False)
    pulse.series("path")
    woken: list[int] = []
    with page.Follower(pulse, wake=lambda: woken.append(1)):
        clock.advance(SECOND_NS)
        pulse.tick()
    assert [1] == woken


def test_lists_for_the_pages() -> None:
    pulse = Pulse(threaded=False)
    pulse.series("machine.cpu", unit="ppm", what="busy").record(500_000)
    pulse.series("other")
    assert [("machine.cpu{what=busy}", "ppm", 500_000)] == [
        (one["series"], one["unit"], one["max"]) for one in page.machine(pulse)
    ]
    assert ["machine.cpu{what=busy}", "other"] == [one["series"] for one in page.catalog(pulse)]
