"""Recording is an append; nothing is lost, nothing grows, nothing raises."""

from __future__ import annotations

import asyncio
import functools
import gc
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _clock import fake_clock

from boxwork.errors import BadInput
from boxwork.pulse import Pulse
from boxwork.pulse.aggregator import PENDING_MAX
from boxwork.pulse.recorder import OVERFLOW, timed


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_drained(record: object) -> bool:
    return not record.__self__  # type: ignore[attr-defined]


def pulse_threads() -> int:
    return sum(thread.name == "boxwork-pulse" for thread in threading.enumerate())


def test_a_sample_shows_at_once_in_the_series() -> None:
    with Pulse() as pulse:
        series = pulse.series("derive.run", box="shout")
        assert series.count == 0
        assert math.isnan(series.p99_ms)
        series.record(5_000_000)
        assert series.count == 1
        assert series.p99_ms == pytest.approx(5.0, rel=0.0055)
        assert series.p50_ms == series.p999_ms


def test_the_same_name_and_labels_are_the_same_series_in_any_order() -> None:
    with Pulse() as pulse:
        assert pulse.series("path", a=1, b=2) is pulse.series("path", b=2, a="1")
        assert pulse.series("path", a=1) is not pulse.series("path", a=2)
        assert 3 == len({pulse.series("path", a=value) for value in (1, 1.0, True)})


def test_several_writers_lose_nothing_in_the_hand_over() -> None:
    each, writers = 200_000, 3
    with Pulse(interval_seconds=0.1) as pulse:
        series = pulse.series("busy")

        def write(start: int) -> None:
            record = series.record
            for value in range(start, start + each):
                record(value)

        threads = [threading.Thread(target=write, args=(1 + k * each,)) for k in range(writers)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            pulse.tick()  # a second drainer beside the thread: the lock makes them one
        total = series.histogram
        assert (writers * each, sum(range(1, writers * each + 1))) == (total.count, total.sum)
        assert (1, writers * each) == (total.minimum, total.maximum)


def test_what_is_not_an_integer_is_counted_as_lost_and_never_raises() -> None:
    pulse = Pulse(threaded=False, clock=fake_clock())
    series = pulse.series("odd")
    for value in (None, "text", 1.5, math.nan, 2**80, -(2**80), object(), True):
        series.record(value)  # type: ignore[arg-type]
    assert (4, 4) == (series.count, series.lost)
    assert (-(2**63), 2**63 - 1) == (series.histogram.minimum, series.histogram.maximum)


def test_an_array_counts_as_its_samples() -> None:
    pulse = Pulse(threaded=False, clock=fake_clock())
    series = pulse.series("wire")
    series.record_array(np.arange(1, 1001))
    assert (1000, 500_500) == (series.count, series.histogram.sum)


def test_a_starved_aggregator_drops_the_oldest_and_says_how_many() -> None:
    pulse = Pulse(threaded=False, clock=fake_clock())
    series = pulse.series("flood")
    assert series._track is not None
    series._track.buffer.extend([7] * (PENDING_MAX + 5))
    assert (PENDING_MAX, 5) == (series.count, series.lost)


def test_too_many_series_share_one_that_says_so() -> None:
    pulse = Pulse(threaded=False, clock=fake_clock(), series_max=3)
    for number in range(10):
        pulse.series("user", id=number).record(1)
    assert 7 == pulse.series("user", id=9).count
    assert OVERFLOW == pulse.series("user", id=9).name


def test_pulses_that_are_dropped_leave_no_threads() -> None:
    before = pulse_threads()
    for _ in range(50):
        Pulse().series("x").record(1)
    gc.collect()
    assert eventually(lambda: pulse_threads() <= before)


def test_a_record_that_outlives_its_pulse_is_still_drained() -> None:
    record = Pulse(interval_seconds=0.1).series("kept").record
    gc.collect()
    for value in range(20_000):
        record(value)
    assert eventually(functools.partial(is_drained, record))
    threads = pulse_threads()
    del record
    assert eventually(lambda: pulse_threads() < threads)


def test_recording_after_close_is_harmless_and_does_not_grow() -> None:
    pulse = Pulse()
    series = pulse.series("late")
    record = series.record
    record(1)
    pulse.close()
    for value in range(10_000):
        record(value)
    assert eventually(lambda: len(record.__self__) == 0)  # type: ignore[attr-defined]
    pulse.series("new").record(5)
    assert 0 == pulse.series("new").count
    pulse.close()


def test_close_flushes_the_open_interval() -> None:
    pulse = Pulse(interval_seconds=3600)
    pulse.series("slow").record(42)
    pulse.close()
    assert 1 == pulse.query("slow").histogram.count


def test_a_timed_function_keeps_its_name_and_is_recorded_when_it_raises() -> None:
    with Pulse() as pulse:

        @pulse.timed("f", kind="plain")
        def divide(a: int, b: int) -> float:
            """Divides."""
            return a / b

        assert 2.0 == divide(4, 2)
        with pytest.raises(ZeroDivisionError):
            divide(1, 0)
        assert ("divide", "Divides.", 2) == (divide.__name__, divide.__doc__, pulse.series("f", kind="plain").count)


def test_a_timed_coroutine_and_generator_are_timed_until_their_end() -> None:
    with Pulse() as pulse:

        @timed(pulse.series("async"))
        async def wait() -> int:
            await asyncio.sleep(0.02)
            return 3

        @timed(pulse.series("generator"))
        def count() -> object:
            yield 1
            time.sleep(0.02)
            yield 2

        assert 3 == asyncio.run(wait())
        assert [1, 2] == list(count())
        assert pulse.series("async").p50_ms >= 19
        assert pulse.series("generator").p50_ms >= 19


def test_since_and_the_block_record_what_they_return() -> None:
    from boxwork.clock import monotonic_ns

    with Pulse() as pulse:
        series = pulse.series("block")
        elapsed = series.since(monotonic_ns() - 1_000_000)
        with series.time():
            pass
        assert elapsed >= 1_000_000
        assert 2 == series.count


def test_a_pace_counts_from_the_intended_time_and_loses_missed_slots() -> None:
    from boxwork.pulse.recorder import Pace

    clock = fake_clock()
    pulse = Pulse(threaded=False, clock=clock)
    series = pulse.series("probe")
    pace = Pace(series, 100_000_000, clock)
    first = pace.next()
    clock.advance(350_000_000)  # the first probe stalls for three and a half periods
    assert 350_000_000 == pace.done(first)
    second = pace.next()  # intended at 300 ms; those at 100 and 200 ms were missed
    assert 50_000_000 == clock.monotonic_ns() - second
    assert 2 == series.lost
    assert 1 == series.count
    with pytest.raises(BadInput, match="period"):
        series.every(0)


def test_a_bad_interval_is_refused_when_it_is_given() -> None:
    with pytest.raises(BadInput, match="divide an hour"):
        Pulse(interval_seconds=7)
    with pytest.raises(BadInput, match="not a sink"):
        Pulse("ftp://somewhere")


def test_a_forked_child_starts_from_nothing_and_drains_its_own() -> None:
    pulse = Pulse(interval_seconds=0.1)
    series = pulse.series("forked")
    series.record(1)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def child() -> None:
        inherited = series.count
        for value in range(1, 20_001):
            series.record(value)
        theirs.send((inherited, series.count, eventually(lambda: not series.record.__self__)))  # type: ignore[attr-defined]
        os._exit(0)

    process = context.Process(target=child)
    process.start()
    assert ours.poll(20)
    assert (0, 20_000, True) == ours.recv()
    process.join(10)
    assert 1 == series.count
    pulse.close()


def test_the_package_imports_numpy_alone() -> None:
    heavy = "lmdb redis valkey msgspec cyclopts rich asyncio psutil zstandard"
    code = f"import boxwork.pulse, sys; print([m for m in '{heavy}'.split() if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "[]" == ran.stdout.strip()
    ran = subprocess.run(
        [sys.executable, "-c", "from boxwork.pulse import Pulse\nPulse().series('x').record(1)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "" == ran.stderr


NUMPY_ALONE = """
import sys
from importlib.machinery import PathFinder

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        found = super().find_spec(name, path, target)
        if found and "site-packages" in str(found.origin) and name.partition(".")[0] not in ("numpy", "boxwork"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found

sys.meta_path[:] = [one for one in sys.meta_path if one is not PathFinder] + [Bare]
from boxwork.errors import StorageError
from boxwork.pulse import Pulse
from boxwork.pulse.agent import Agent
from boxwork.pulse.machine import Machine
from boxwork.pulse.sinks.prometheus import metrics
from boxwork.pulse.watch import Watch

with Pulse(threaded=False) as pulse, Agent("here", pulse=pulse, host="127.0.0.1", port=0, measured_port=0):
    Machine(pulse).sample()
    for number in range(1000):
        pulse.series("mine", kind="plain").record(number)
    print([event.kind for event in Watch(pulse, "p99(mine) > 900ns").look()], pulse.query("mine").histogram.count)
    assert metrics(pulse, "")[0]
for place in ("redis://127.0.0.1", "a directory"):
    try:
        Pulse(place)
    except StorageError as error:
        print(error)
"""


def test_everything_but_the_other_sinks_works_with_numpy_alone(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", NUMPY_ALONE], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    first, *advice = ran.stdout.splitlines()
    assert "['fired'] 1000" == first
    assert ["boxwork[redis]" in advice[0], "needs lmdb: pip install boxwork" in advice[1]] == [True, True]


def test_the_pulse_tells_how_it_is_doing() -> None:
    pulse = Pulse(threaded=False, clock=fake_clock())
    pulse.series("x").record("no number")  # type: ignore[arg-type]
    assert 0 == pulse.series("x").count
    health = pulse.health()
    assert (1, 1, 0) == (health["series"], health["refused"], health["faults"])
    assert ["MemorySink"] == [sink["kind"] for sink in health["sinks"]]
