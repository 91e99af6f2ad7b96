"""The kernel tells how far its clock may be off, or that it does not know."""

from __future__ import annotations

from boxwork.pulse import Pulse
from boxwork.pulse.clock_quality import kernel_error_us
from boxwork.pulse.interval import CLOCK_ERROR_UNKNOWN


def test_the_answer_is_a_number_of_microseconds_or_unknown() -> None:
    assert 0 <= kernel_error_us()() <= CLOCK_ERROR_UNKNOWN


def test_the_error_is_carried_to_the_answer_of_a_query() -> None:
    pulse = Pulse(threaded=False, clock_error_us=lambda: 1500)
    pulse.series("path").record(1)
    pulse.close()
    assert 1500 == pulse.query("path", last_seconds=60).coverage.clock_error_us
