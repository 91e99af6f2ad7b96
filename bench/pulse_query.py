"""How long does any day take: one path, 100 paths, from Redis and from the embedded history?"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _report import report

from boxwork.clock import SECOND_NS
from boxwork.pulse import Pulse
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import DAY_NS, HOUR_NS, Interval, ladder
from boxwork.pulse.series_name import Pattern, SeriesName
from boxwork.pulse.sinks.embedded import EmbeddedStore
from boxwork.pulse.sinks.redis import RedisSink
from boxwork.pulse.sinks.sink import Row, SeriesInfo
from boxwork.testing.clock import FakeClock

sys.path.append(str(Path(__file__).resolve().parent.parent))  # for the server of the tests
from tests.pulse._valkey import Server

PATHS = 100
START = 1_700_000_000 // 86_400 * 86_400 * SECOND_NS
SPAN = DAY_NS + 2 * HOUR_NS
ROUNDS = 9


def rows(path: int, width: int, blobs: list[tuple[Interval, bytes]], low: int, high: int) -> list[Row]:
    """Rows of one width, from a few prepared histograms: writing is not what is measured."""
    info = SeriesInfo(SeriesName.of("path", {"n": path}), "ns", ladder(SECOND_NS))
    made = []
    for slot in range(low, high, width):
        interval = Interval(slot, width, 1, blobs[slot // width % len(blobs)][0].histogram, width)
        made.append(Row(info, interval, interval.to_bytes()))
    return made


def prepared(samples: int) -> list[tuple[Interval, bytes]]:
    chance = np.random.default_rng(samples)
    return [(Interval(0, SECOND_NS, 1, Histogram(np.int64(chance.lognormal(11, 0.4, samples)))), b"") for _ in range(8)]


def fill(write: Callable[[list[Row]], object]) -> None:
    """A day and two hours of 100 paths in minutes and hours, and the finer ones at both ends."""
    seconds, tens, minutes, hours = (prepared(count) for count in (200, 1000, 3000, 20_000))
    for path in range(PATHS):
        batch = rows(path, HOUR_NS, hours, START, START + SPAN)
        batch += rows(path, 60 * SECOND_NS, minutes, START, START + SPAN)
        for edge in (START, START + DAY_NS):
            batch += rows(path, 10 * SECOND_NS, tens, edge, edge + HOUR_NS)
            batch += rows(path, SECOND_NS, seconds, edge, edge + 120 * SECOND_NS)
        write(batch)


def measure(pulse: Pulse, paths: int, low: int, high: int) -> float:
    infos = pulse.reader.matching(Pattern.parse("path"))[:paths]
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answers = pulse.reader.query_each(infos, START + low, START + high)
        times.append((time.perf_counter() - began) * 1000)
    assert all(answer.coverage.ratio == 1.0 for answer in answers), [answer.coverage.ratio for answer in answers][:5]
    return sorted(times)[ROUNDS // 2]


def brute(sink: object, low: int) -> float:
    """Merge all the minutes of a day, without rollups above them: what a plain list of histograms would cost."""
    from boxwork.pulse.sinks.sink import Request

    name = SeriesName.of("path", {"n": 0})
    began = time.perf_counter()
    (blobs,) = sink.read([Request(name, 60 * SECOND_NS, START + low, START + low + DAY_NS)])  # type: ignore[attr-defined]
    whole = Histogram()
    for blob in blobs:
        whole.merge(Interval.from_bytes(blob).histogram)
    return (time.perf_counter() - began) * 1000


def run(name: str, sink: object) -> None:
    pulse = Pulse(sink, threaded=False)  # type: ignore[arg-type]
    second = SECOND_NS
    slow = sorted(brute(sink, 0) for _ in range(3))[1]
    report(
        name=f"pulse.query.{name}.day.1_path.aligned",
        value=measure(pulse, 1, 0, DAY_NS),
        unit="ms",
        peer="1,440 minutes merged",
        peer_value=slow,
    )
    report(
        name=f"pulse.query.{name}.day.1_path.to_the_second",
        value=measure(pulse, 1, second, DAY_NS + 59 * second),
        unit="ms",
        peer="1,440 minutes merged",
        peer_value=slow,
    )
    report(name=f"pulse.query.{name}.day.100_paths.aligned", value=measure(pulse, 100, 0, DAY_NS), unit="ms")
    report(
        name=f"pulse.query.{name}.day.100_paths.to_the_second",
        value=measure(pulse, 100, second, DAY_NS + 59 * second),
        unit="ms",
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        clock = FakeClock(START + SPAN)
        store = EmbeddedStore(Path(directory) / "embedded", clock)
        fill(store.write)
        run("embedded", store)
        store.close()
        server = Server(Path(directory))
        try:
            sink = RedisSink(server.url, writer="bench")

            def write(batch: list[Row]) -> None:
                sink.write(batch)
                assert sink.flush(60)

            fill(write)
            sink.store._acknowledged.clear()  # type: ignore[attr-defined]
            run("redis", sink)
            sink.close()
        finally:
            server.kill()


if __name__ == "__main__":
    main()
