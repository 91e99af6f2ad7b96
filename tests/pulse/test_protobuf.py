"""What is written is what the protobuf library would write."""

from __future__ import annotations

import pytest

from boxwork.pulse import protobuf


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (-1, "ffffffffffffffffff01")],
)
def test_varints_are_as_in_the_specification(value: int, encoded: str) -> None:
    assert encoded == protobuf.varint(value).hex()


@pytest.mark.parametrize(("value", "encoded"), [(0, 0), (-1, 1), (1, 2), (-2, 3), (2147483647, 4294967294)])
def test_zigzag_keeps_small_magnitudes_short(value: int, encoded: int) -> None:
    assert protobuf.varint(encoded) == protobuf.zigzag(value)


def test_a_data_point_is_read_back_field_by_field() -> None:
    metrics = pytest.importorskip("opentelemetry.proto.metrics.v1.metrics_pb2")
    data = b"".join(
        (
            protobuf.fixed64(4, 7),
            protobuf.double(5, -1.5),
            protobuf.signed(6, -3),
            protobuf.message(8, protobuf.signed(1, -200), protobuf.packed(2, [1, 0, 300])),
        )
    )
    point = metrics.ExponentialHistogramDataPoint.FromString(data)
    assert (7, -1.5, -3, -200, [1, 0, 300]) == (
        point.count,
        point.sum,
        point.scale,
        point.positive.offset,
        list(point.positive.bucket_counts),
    )
