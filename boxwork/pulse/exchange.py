"""The histogram in other people's terms: OTLP exponential histograms and Prometheus native histograms.

Both are the same buckets: Prometheus' schema is our scale and its bucket i ours; OTLP counts from one less
(its bucket i is (base**i, base**(i+1)]).  Counts survive the way there and back; sums become floating point, and
Prometheus knows neither minimum nor maximum.

Sources: opentelemetry.io/docs/specs/otel/metrics/data-model (ExponentialHistogram), prometheus.io/docs/specs/
native_histograms.  Values are the samples' own unit (nanoseconds): another unit would move every bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boxwork.errors import BadInput
from boxwork.pulse.buckets import SCALE, Buckets, upper_bound
from boxwork.pulse.histogram import INDEX_MAX, Histogram


@dataclass(frozen=True, slots=True)
class Exponential:
    """An OTLP ExponentialHistogramDataPoint without its times; bucket counts are dense from `offset` on."""

    scale: int
    count: int
    sum: float
    minimum: float | None
    maximum: float | None
    zero_count: int
    positive_offset: int
    positive: tuple[int, ...]
    negative_offset: int
    negative: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Native:
    """A Prometheus native histogram: spans of (gap, length) over bucket indices, and deltas of their counts."""

    schema: int
    count: int
    sum: float
    zero_threshold: float
    zero_count: int
    positive_spans: tuple[tuple[int, int], ...]
    positive_deltas: tuple[int, ...]
    negative_spans: tuple[tuple[int, int], ...]
    negative_deltas: tuple[int, ...]


# Two spans cost more than the empty buckets between them while there are no more than this.  Prometheus does the same.
SPAN_GAP_MAX = 2
# Samples are integers, so anything that is not zero is at least one.
ZERO_THRESHOLD = 0.5


def to_otlp(histogram: Histogram) -> Exponential:
    positive_offset, positive = _dense(histogram.positive)
    negative_offset, negative = _dense(histogram.negative)
    empty = histogram.empty
    return Exponential(
        histogram.scale,
        histogram.count,
        float(histogram.sum),
        None if empty else float(histogram.minimum),
        None if empty else float(histogram.maximum),
        histogram.zero,
        positive_offset,
        positive,
        negative_offset,
        negative,
    )


def from_otlp(point: Exponential) -> Histogram:
    """The histogram; a scale finer than ours is merged down to it, exactly.  Without minimum or maximum the bounds
    of the outermost buckets stand in."""
    positive = _sparse(point.positive_offset + 1, point.positive)
    negative = _sparse(point.negative_offset + 1, point.negative)
    return _assembled(point.scale, positive, negative, point.zero_count, point.sum, point.minimum, point.maximum)


def to_prometheus(histogram: Histogram) -> Native:
    positive_spans, positive_deltas = _spans(histogram.positive)
    negative_spans, negative_deltas = _spans(histogram.negative)
    return Native(
        histogram.scale,
        histogram.count,
        float(histogram.sum),
        ZERO_THRESHOLD,
        histogram.zero,
        positive_spans,
        positive_deltas,
        negative_spans,
        negative_deltas,
    )


def from_prometheus(native: Native) -> Histogram:
    positive = _from_spans(native.positive_spans, native.positive_deltas)
    negative = _from_spans(native.negative_spans, native.negative_deltas)
    return _assembled(native.schema, positive, negative, native.zero_count, native.sum, None, None)


def _dense(side: Buckets) -> tuple[int, tuple[int, ...]]:
    indices, counts = side.sparse()
    if not len(indices):
        return 0, ()
    low = int(indices[0])
    dense = np.zeros(int(indices[-1]) - low + 1, np.int64)
    dense[indices - low] = counts
    return low - 1, tuple(dense.tolist())


def _sparse(low: int, counts: Sequence[int]) -> Buckets:
    side = Buckets()
    dense = np.asarray(counts, np.int64)
    if len(dense) and dense.any():
        places = np.flatnonzero(dense)
        if abs(low) > 1 << 40 or (dense < 0).any():
            raise BadInput(f"an exponential histogram with offset {low - 1} or a negative count cannot be read")
        side.add_sparse(places + low, dense[places])
    return side


def _spans(side: Buckets) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    indices, counts = side.sparse()
    spans: list[tuple[int, int]] = []
    deltas: list[int] = []
    previous_index, previous_count = None, 0
    for index, count in zip(indices.tolist(), counts.tolist(), strict=True):
        gap = index if previous_index is None else index - previous_index - 1
        if previous_index is None or gap > SPAN_GAP_MAX:
            spans.append((gap, 1))
        else:
            for _ in range(gap):
                deltas.append(-previous_count)
                previous_count = 0
            spans[-1] = (spans[-1][0], spans[-1][1] + gap + 1)
        deltas.append(count - previous_count)
        previous_index, previous_count = index, count
    return tuple(spans), tuple(deltas)


def _from_spans(spans: Sequence[tuple[int, int]], deltas: Sequence[int]) -> Buckets:
    if sum(length for _, length in spans) != len(deltas):
        raise BadInput(
            f"a native histogram has spans for {sum(length for _, length in spans)} buckets and {len(deltas)} counts"
        )
    indices: list[int] = []
    position = 0
    for gap, length in spans:
        position += gap
        indices.extend(range(position, position + length))
        position += length
    side = Buckets()
    counts = np.cumsum(np.asarray(deltas, np.int64))
    kept = counts != 0
    side.add_sparse(np.asarray(indices, np.int64)[kept], counts[kept])
    return side


def _assembled(
    scale: int,
    positive: Buckets,
    negative: Buckets,
    zero: int,
    total: float,
    minimum: float | None,
    maximum: float | None,
) -> Histogram:
    if scale > SCALE:
        positive, negative = positive.downscaled(scale - SCALE), negative.downscaled(scale - SCALE)
    for side in (positive, negative):
        if len(side.counts) and max(abs(side.base), abs(side.base + len(side.counts))) > INDEX_MAX:
            raise BadInput(f"a histogram of scale {scale} has buckets at {side.base}: no double is that far out")
    histogram = Histogram(scale=min(scale, SCALE))
    histogram.positive, histogram.negative, histogram.zero = positive, negative, zero
    if not histogram.empty:
        histogram.sum = round(total)
        low, high = _outermost(histogram)
        histogram.minimum = math.floor(low if minimum is None else minimum)
        histogram.maximum = math.ceil(high if maximum is None else maximum)
    return histogram


def _outermost(histogram: Histogram) -> tuple[float, float]:
    """Bounds that no sample lies outside of."""
    above, _ = histogram.positive.sparse()
    below, _ = histogram.negative.sparse()
    scale = histogram.scale
    step = 2.0 ** (-1.0 / 2.0**scale)
    if len(below):
        low = -upper_bound(int(below[-1]), scale)
    else:
        low = 0.0 if histogram.zero else upper_bound(int(above[0]), scale) * step
    if len(above):
        high = upper_bound(int(above[-1]), scale)
    else:
        high = 0.0 if histogram.zero else -upper_bound(int(below[0]), scale) * step
    return low, high
