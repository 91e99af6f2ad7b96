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


def test_the_fields_of_a_message_are_read() -> None:
    data = protobuf.number(1, 300) + protobuf.text(2, "no") + protobuf.fixed64(3, 7) + protobuf.number(99, 0)
    assert [(1, 300), (2, b"no"), (3, b"\x07" + bytes(7)), (99, 0)] == list(protobuf.fields(data))


@pytest.mark.parametrize("data", [b"\x08", b"\x08\xff", b"\x12\x05ab", b"\x0b", b'{"a": 1}', b"\x08" + b"\xff" * 20])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="does not end|ends behind its message|is no field"):
        list(protobuf.fields(data))


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
