"""What does recording one sample cost the measured thread?"""

from __future__ import annotations

import time
from collections.abc import Callable

from _report import report

from boxwork.pulse import Pulse

ROUNDS = 7


def cost(record: Callable[[int], object], count: int) -> float:
    """CPU nanoseconds for a call, the loop included."""
    values = [1000 + 7 * place for place in range(count)]
    began = time.process_time_ns()
    for value in values:
        record(value)
    return (time.process_time_ns() - began) / count


def peers() -> dict[str, tuple[Callable[[int], object], int]]:
    found: dict[str, tuple[Callable[[int], object], int]] = {}
    try:
        from ddsketch import DDSketch

        found["ddsketch"] = (DDSketch(0.0054).add, 50_000)
    except ImportError:
        pass
    try:
        from prometheus_client import CollectorRegistry, Histogram

        found["prometheus_client"] = (Histogram("a", "a", registry=CollectorRegistry()).observe, 50_000)
    except ImportError:
        pass
    try:
        from hdrh.histogram import HdrHistogram

        found["hdrhistogram"] = (HdrHistogram(1, 3_600_000_000_000, 2).record_value, 50_000)
    except ImportError:
        pass
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

        view = View(instrument_name="a", aggregation=ExponentialBucketHistogramAggregation())
        provider = MeterProvider([InMemoryMetricReader()], views=[view])
        found["opentelemetry"] = (provider.get_meter("m").create_histogram("a").record, 20_000)
    except ImportError:
        pass
    return found


def main() -> None:
    others = peers()
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in others}
    with Pulse() as pulse:
        series = pulse.series("bench")
        for _ in range(ROUNDS):
            ours.append(cost(series.record, 200_000))
            for name, (record, count) in others.items():
                theirs[name].append(cost(record, count))
        kept = series.count
    middle = sorted(ours)[ROUNDS // 2]
    assert kept == ROUNDS * 200_000, "samples were lost"
    for name, costs in theirs.items():
        report(name="pulse.record", value=middle, unit="ns", peer=name, peer_value=sorted(costs)[ROUNDS // 2])
    report(
        name="pulse.record",
        value=middle,
        unit="ns",
        peer="a call of an empty function",
        peer_value=sorted(cost(lambda value: None, 200_000) for _ in range(ROUNDS))[ROUNDS // 2],
    )


if __name__ == "__main__":
    main()
