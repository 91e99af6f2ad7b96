"""An interval is a histogram and an honest account of time."""

from __future__ import annotations

from pathlib import Path

import pytest
from _clock import HOUR_START_NS

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput, FormatError
from boxwork.pulse import interval as marks
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import Interval, header_of, ladder

GOLDEN = Path(__file__).parent / "golden" / "interval_1.hex"


def sample() -> Interval:
    return Interval(
        HOUR_START_NS,
        SECOND_NS,
        0xDEADBEEF,
        Histogram([-7, 0, 1_000_000]),
        999_000_000,
        5,
        3,
        marks.STARTED | marks.LATE,
        1500,
    )


def test_the_binary_format_is_the_golden_one() -> None:
    assert GOLDEN.read_text().strip() == sample().to_bytes().hex()
    assert sample() == Interval.from_bytes(bytes.fromhex(GOLDEN.read_text()))


def test_silence_takes_48_bytes() -> None:
    assert 48 == len(Interval(0, SECOND_NS, 1).to_bytes())


def test_a_header_alone_tells_the_coverage() -> None:
    header = header_of(sample().to_bytes())
    assert (999_000_000, 3, 0) == (header.covered_ns, header.lost, header.histogram.count)


def test_other_formats_and_cut_ones_are_refused() -> None:
    with pytest.raises(FormatError, match="cut short"):
        Interval.from_bytes(b"\1" * 47)
    with pytest.raises(FormatError, match="format 9"):
        Interval.from_bytes(b"\x09" + bytes(47))


def test_absorbing_adds_times_losses_and_flags_and_keeps_the_worst_clock() -> None:
    whole = Interval(HOUR_START_NS, 10 * SECOND_NS, 1)
    whole.absorb(sample())
    whole.absorb(sample())
    assert (6, 1_998_000_000, 6, 1500) == (whole.histogram.count, whole.covered_ns, whole.lost, whole.clock_error_us)
    assert marks.STARTED | marks.LATE == whole.flags


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [
        (0.1, (0.1, 1, 10, 60, 3600)),
        (1, (1, 10, 60, 3600)),
        (5, (5, 10, 60, 3600)),
        (15, (15, 60, 3600)),
        (3600, (3600,)),
        (0.25, (0.25, 1, 10, 60, 3600)),
        (60, (60, 3600)),
        (450, (450, 3600)),
    ],
)
def test_each_width_is_a_multiple_of_the_one_before(seconds: float, steps: tuple[float, ...]) -> None:
    assert tuple(round(step * SECOND_NS) for step in steps) == ladder(round(seconds * SECOND_NS))


@pytest.mark.parametrize("seconds", [0.05, 0, -1, 7, 7200])
def test_an_interval_that_does_not_divide_an_hour_is_refused(seconds: float) -> None:
    with pytest.raises(BadInput, match="divide"):
        ladder(round(seconds * SECOND_NS))
