"""Other formats bring every bucket back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwork.errors import BadInput
from boxwork.pulse.exchange import Exponential, from_otlp, from_prometheus, to_otlp, to_prometheus
from boxwork.pulse.histogram import Histogram

samples = st.lists(st.one_of(st.integers(-(2**50), 2**50), st.integers(-9, 9)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(samples, st.integers(-4, 6))
def test_otlp_brings_the_same_histogram_back(values: list[int], scale: int) -> None:
    histogram = Histogram(values, scale=scale)
    if abs(histogram.sum) < 2**53:
        assert histogram == from_otlp(to_otlp(histogram))


@settings(max_examples=60, deadline=None)
@given(samples, st.integers(-4, 6))
def test_prometheus_brings_every_bucket_back(values: list[int], scale: int) -> None:
    histogram = Histogram(values, scale=scale)
    back = from_prometheus(to_prometheus(histogram))
    assert histogram.zero == back.zero
    for mine, theirs in ((histogram.positive, back.positive), (histogram.negative, back.negative)):
        assert [list(part) for part in mine.sparse()] == [list(part) for part in theirs.sparse()]
    if values:
        assert back.minimum <= histogram.minimum
        assert back.maximum >= histogram.maximum


def test_otlp_counts_buckets_from_one_less_than_prometheus() -> None:
    # 1 lies in Prometheus bucket 0, (2**(-1/64), 1], and in OTLP bucket -1.
    histogram = Histogram([1])
    assert (-1, (1,)) == (to_otlp(histogram).positive_offset, to_otlp(histogram).positive)
    assert ((0, 1),) == to_prometheus(histogram).positive_spans


def test_spans_are_as_prometheus_writes_them() -> None:
    native = to_prometheus(Histogram([1, 1, 2, 2, 2], scale=1))  # buckets 0 and 2 of two an octave, one empty between
    assert (((0, 3),), (2, -2, 3)) == (native.positive_spans, native.positive_deltas)


def test_a_finer_otlp_scale_is_merged_down_exactly() -> None:
    point = Exponential(8, 3, 6.0, None, None, 0, 511, (1, 0, 0, 2), 0, ())
    histogram = from_otlp(point)  # scale 8: buckets 512 … 515 of 256 an octave are (2**(511/256), 2**(515/256)]
    assert (6, [128, 129], [1, 2]) == (histogram.scale, *[part.tolist() for part in histogram.positive.sparse()])


def test_the_protobuf_library_reads_the_same_buckets() -> None:
    metrics = pytest.importorskip("opentelemetry.proto.metrics.v1.metrics_pb2")
    point = to_otlp(Histogram([-3, 0, 5, 5, 1000]))
    message = metrics.ExponentialHistogramDataPoint(
        scale=point.scale,
        count=point.count,
        zero_count=point.zero_count,
        sum=point.sum,
        positive={"offset": point.positive_offset, "bucket_counts": point.positive},
        negative={"offset": point.negative_offset, "bucket_counts": point.negative},
    )
    counts = list(message.positive.bucket_counts)
    base = 2 ** (2**-message.scale)
    place = next(i for i, count in enumerate(counts) if count == 2)
    assert base ** (message.positive.offset + place) < 5 <= base ** (message.positive.offset + place + 1)


def test_nonsense_is_refused() -> None:
    with pytest.raises(BadInput, match="spans"):
        from_prometheus(replace(to_prometheus(Histogram([1])), positive_deltas=(1, 2)))
    with pytest.raises(BadInput, match="scale"):
        from_otlp(Exponential(-9, 1, 1.0, None, None, 0, 0, (1,), 0, ()))
