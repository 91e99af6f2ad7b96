"""Clocks: the machine's and the one a test turns keep the same promises."""

from __future__ import annotations

import re
import time

import pytest

from boxwork.clock import SECOND_NS, Clock, SystemClock, monotonic_ns
from boxwork.testing.clock import FakeClock


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()], ids=["system", "fake"])
def test_every_clock_keeps_the_promises(clock: Clock) -> None:
    assert isinstance(clock.now_ns(), int)
    assert clock.monotonic_ns() <= clock.monotonic_ns()
    assert re.fullmatch("[0-9a-f]{32}", clock.token())
    assert re.fullmatch("[0-9a-f]{8}", clock.token(4))
    assert 100 == len({clock.token() for _ in range(100)})


def test_the_clock_of_the_machine_is_the_machines() -> None:
    assert abs(SystemClock().now_ns() - time.time_ns()) < SECOND_NS
    before, now, after = time.perf_counter_ns(), monotonic_ns(), time.perf_counter_ns()
    assert before <= now <= after


def test_a_fake_clock_stands_still_until_it_is_turned() -> None:
    clock = FakeClock(now_ns=1000)
    assert (1000, 0) == (clock.now_ns(), clock.monotonic_ns())
    clock.advance(5)
    assert (1005, 5) == (clock.now_ns(), clock.monotonic_ns())


def test_setting_a_fake_clock_back_does_not_turn_time_back() -> None:
    clock = FakeClock(now_ns=1000)
    clock.step(-400)
    assert (600, 0) == (clock.now_ns(), clock.monotonic_ns())


def test_a_run_with_a_fake_clock_can_be_repeated() -> None:
    first, second = FakeClock(), FakeClock()
    assert [first.token() for _ in range(3)] == [second.token() for _ in range(3)]
