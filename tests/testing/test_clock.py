"""The clock that a test turns by hand."""

from boxwork.clock import Clock
from boxwork.testing.clock import FakeClock


def test_it_stands_still_until_it_is_turned():
    clock: Clock = FakeClock(now_ns=1000)
    assert (clock.now_ns(), clock.monotonic_ns()) == (1000, 0)
    clock.advance(5)
    assert (clock.now_ns(), clock.monotonic_ns()) == (1005, 5)


def test_setting_the_wall_clock_does_not_move_the_monotonic_one():
    clock = FakeClock(now_ns=1000)
    clock.step(-400)
    assert (clock.now_ns(), clock.monotonic_ns()) == (600, 0)


def test_its_tokens_differ_and_can_be_repeated():
    one, two = FakeClock(), FakeClock()
    tokens = [one.token(4) for _ in range(3)]
    assert tokens == [two.token(4) for _ in range(3)]
    assert len(set(tokens)) == 3
    assert all(len(token) == 8 for token in tokens)
