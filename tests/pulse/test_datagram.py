"""The wire formats are the golden ones, and statsd lines mean what statsd says."""

from __future__ import annotations

import pytest

from boxwork.pulse import datagram
from boxwork.pulse.datagram import StatsdLine, packed, sample, statsd


def test_a_sample_is_the_golden_24_bytes() -> None:
    assert "b0500101070000000900000000000000ffffffffffffffff" == sample(7, 9, -1).hex()
    assert 24 == datagram.HEADER_TYPE.itemsize == datagram.HEADER.size


def test_a_packed_datagram_is_the_header_and_its_samples() -> None:
    golden = "b050010207000000090000000000000000000000000000000500000000000000feffffffffffffff"
    assert golden == packed(7, 9, [5, -2]).hex()
    assert len(packed(1, 0, [1] * datagram.PACKED_MAX)) <= 1472 - 48
    for wrong in ([], [1] * 171):
        with pytest.raises(ValueError, match="170"):
            packed(1, 0, wrong)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"page:320|ms", StatsdLine("page", {}, 320_000_000, 1)),
        (b"page:0.5|ms|@0.1|#route:/t,env:prod", StatsdLine("page", {"route": "/t", "env": "prod"}, 500_000, 10)),
        (b"size:7|h", StatsdLine("size", {}, 7, 1)),
        (b"size:-7|d", StatsdLine("size", {}, -7, 1)),
        (b"hits:1|c", None),
        (b"nonsense", None),
        (b"a:b|ms", None),
        (b":5|ms", None),
        (b"a:5|ms|@0", None),
        (b"a:nan|ms", None),
        (b"a:1e999|ms", None),
        (b"\xff\xfe:1|ms", None),
    ],
)
def test_a_statsd_line_is_a_timing_or_nothing(line: bytes, expected: StatsdLine | None) -> None:
    assert [expected] == list(statsd(line + b"\n"))


def test_a_text_holds_several_lines() -> None:
    assert 2 == len(list(statsd(b"a:1|ms\n\nb:2|ms")))
