"""What does the aggregator cost, and does it disturb the thread that records?"""

from __future__ import annotations

import time

import numpy as np
from _report import report

from boxwork.clock import SECOND_NS
from boxwork.pulse import Pulse
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import Interval
from boxwork.testing.clock import FakeClock


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def per_sample(count: int, rounds: int = 25) -> float:
    """Hand-over, conversion, buckets and encoding of one interval, CPU nanoseconds a sample."""
    values = [int(value) for value in np.random.default_rng(1).lognormal(11, 0.5, count)]
    pulse = Pulse(threaded=False)
    track = pulse.series("bench")._track
    assert track is not None
    costs = []
    for _ in range(rounds):
        track.buffer.extend(values)
        interval = Interval(0, SECOND_NS, 1)
        began = time.process_time_ns()
        pulse.aggregator._drain(track, interval)
        interval.to_bytes()
        costs.append((time.process_time_ns() - began) / count)
    return median(costs)


def many_series(series_count: int, samples: int, ticks: int = 12) -> float:
    """CPU milliseconds for a tick that closes every series, rollups and memory sink included."""
    clock = FakeClock(now_ns=1_700_000_000 // 3600 * 3600 * SECOND_NS)
    pulse = Pulse(clock=clock, threaded=False, series_max=series_count)
    values = [int(value) for value in np.random.default_rng(1).lognormal(11, 0.5, samples)]
    buffers = [pulse.series("bench", n=number)._track.buffer for number in range(series_count)]  # type: ignore[union-attr]
    costs = []
    for _ in range(ticks):
        for buffer in buffers:
            buffer.extend(values)
        clock.advance(SECOND_NS)
        began = time.process_time_ns()
        pulse.tick()
        costs.append((time.process_time_ns() - began) / 1e6)
    return sum(costs) / len(costs)


def disturbance(aggregating: bool, seconds: float = 3.0) -> list[float]:
    """How long a spinning thread that records 100,000 a second is held up: p99.9, p99.99 and the worst, microseconds.

    It looks at the clock all the time, so that neither the scheduler's wake-up nor a backlog is what is measured.
    """
    pulse = Pulse(interval_seconds=0.1, threaded=aggregating)
    record = pulse.series("bench").record
    held: list[int] = []
    note = held.append
    now = time.perf_counter_ns
    end = now() + int(seconds * 1e9)
    before = due = now()
    while before < end:
        at = now()
        if at >= due:
            record(at)
            note(at - before)
            due = at + 10_000
        before = at
    pulse.close()
    return [value / 1000 for value in Histogram(np.array(held)).quantiles((0.999, 0.9999, 1.0))]


def main() -> None:
    for count in (100, 1_000, 10_000):
        report(name=f"pulse.aggregate.{count}", value=per_sample(count), unit="ns")
    for samples in (0, 10, 100):
        report(name=f"pulse.tick.10000_series.{samples}_samples", value=many_series(10_000, samples), unit="ms")
    on, off = [], []
    for _ in range(3):
        off.append(disturbance(False))
        on.append(disturbance(True))
    for place, name in enumerate(("p99.9", "p99.99", "max")):
        report(
            name=f"pulse.disturbance.{name}",
            value=median([one[place] for one in on]),
            unit="us",
            peer="aggregator off",
            peer_value=median([one[place] for one in off]),
        )


if __name__ == "__main__":
    main()
