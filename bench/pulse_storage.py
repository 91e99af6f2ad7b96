"""How many bytes does a day of one series take, at one interval a second and 1,000 samples in each?"""

from __future__ import annotations

import base64

import numpy as np
from _report import report

from boxwork.clock import SECOND_NS
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import Interval
from boxwork.pulse.sinks.tile import pack, unpack

SECONDS, SAMPLES, DAY = 3600, 1_000, 86_400
MB = 1e6


def hour() -> tuple[list[Interval], list[np.ndarray]]:
    chance = np.random.default_rng(11)
    slots = [np.int64(chance.lognormal(11, 0.4, SAMPLES)) for _ in range(SECONDS)]
    return [Interval(n * SECOND_NS, SECOND_NS, 1, Histogram(one), SECOND_NS) for n, one in enumerate(slots)], slots


def main() -> None:
    intervals, slots = hour()
    raw = sum(len(one.to_bytes()) for one in intervals) / SECONDS
    tile = pack(intervals)
    assert [one.to_bytes() for one in unpack(tile)] == [one.to_bytes() for one in intervals]
    sealed = len(tile) / SECONDS
    samples = SAMPLES * 8
    peer = 0.0
    try:
        from hdrh.histogram import HdrHistogram

        sizes = []
        for one in slots[:60]:
            histogram = HdrHistogram(1, 3_600_000_000_000, 2)
            for value in one.tolist():
                histogram.record_value(value)
            sizes.append(len(base64.b64decode(histogram.encode())))
        peer = sum(sizes) / len(sizes)
    except ImportError:
        pass
    for name, size in (("raw", raw), ("sealed", sealed)):
        report(
            name=f"pulse.storage.{name}",
            value=size * DAY / MB,
            unit="MB a day",
            peer="HdrHistogram V2",
            peer_value=peer * DAY / MB or None,
            bytes_an_interval=round(size, 1),
        )
        report(
            name=f"pulse.storage.{name}",
            value=size * DAY / MB,
            unit="MB a day",
            peer="raw samples",
            peer_value=samples * DAY / MB,
        )
    silent = pack([Interval(n * SECOND_NS, SECOND_NS, 1, Histogram(), SECOND_NS, SECOND_NS) for n in range(SECONDS)])
    report(name="pulse.storage.silent_hour", value=len(silent), unit="bytes")


if __name__ == "__main__":
    main()
