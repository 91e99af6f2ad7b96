"""A tile gives back the bytes that went in, is small, and says when it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _clock import HOUR_START_NS
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwork.clock import SECOND_NS
from boxwork.errors import FormatError
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import Interval
from boxwork.pulse.sinks.tile import pack, unpack

GOLDEN = Path(__file__).parents[1] / "golden" / "tile_1.hex"


def interval(slot: int, samples: list[int], **rest: int) -> Interval:
    return Interval(HOUR_START_NS + slot * SECOND_NS, SECOND_NS, 7, Histogram(samples), **rest)


def few() -> list[Interval]:
    return [
        interval(0, [], covered_ns=SECOND_NS, silent_ns=SECOND_NS),
        interval(3, [-5, 0, 7, 10**9], lost=3, flags=5),
        interval(4, [2**62] * 5, clock_error_us=12),
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), min_size=1, max_size=8),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**40),
)
def test_what_went_in_comes_out_bit_for_bit(slots: list[list[int]], covered: int, lost: int) -> None:
    intervals = [interval(slot * 2, samples, covered_ns=covered, lost=lost) for slot, samples in enumerate(slots)]
    assert [one.to_bytes() for one in intervals] == [one.to_bytes() for one in unpack(pack(intervals))]


def test_a_part_of_the_time_can_be_asked_for() -> None:
    found = unpack(pack(few()), HOUR_START_NS + SECOND_NS, HOUR_START_NS + 4 * SECOND_NS)
    assert [few()[1].to_bytes()] == [one.to_bytes() for one in found]


def test_the_golden_tile_is_still_read() -> None:
    # Only reading is compared: another zlib may pack the same columns into other bytes.
    golden = bytes.fromhex(GOLDEN.read_text())
    assert [one.to_bytes() for one in few()] == [one.to_bytes() for one in unpack(golden)]


def test_a_busy_second_takes_at_most_110_bytes() -> None:
    chance = np.random.default_rng(5)
    hour = [
        interval(slot, np.int64(chance.lognormal(11, 0.4, 1000)).tolist(), covered_ns=SECOND_NS) for slot in range(600)
    ]
    assert len(pack(hour)) / len(hour) <= 130


def test_damage_is_a_format_error() -> None:
    packed = pack(few())
    for bad in (b"", b"\x09" + packed[1:], packed[:-9], packed[:1] + b"y" + packed[2:], b"\x01"):
        with pytest.raises(FormatError):
            unpack(bad)
