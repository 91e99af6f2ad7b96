"""One flight per key: in a process, between processes, and when its runner dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path

import pytest

from boxwork.box import derivation
from boxwork.derive.flights import Flight, FlightLocks, Flights
from boxwork.errors import Busy, DerivationFailed, Timeout
from boxwork.testing.clock import FakeClock
from tests.derive.node import count_line, node, runs

HERE = str(Path(__file__).parents[2])
KEY = bytes(range(32))


@derivation
def slow(counter: str, seconds: float) -> bytes:
    count_line(counter)
    time.sleep(seconds)
    return b"done"


@derivation(worker="thread")
def slow_in_thread(counter: str, seconds: float) -> bytes:
    count_line(counter)
    time.sleep(seconds)
    return b"done"


@derivation
def gated(counter: str, gate: str) -> bytes:
    """Runs until the file `gate` is there."""
    count_line(counter)
    while not os.path.exists(gate):
        time.sleep(0.002)
    return b"done"


@derivation
def broken(counter: str) -> bytes:
    count_line(counter)
    raise KeyError("no such page")


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.002)


def test_two_callers_of_one_key_compute_once(tmp_path: Path) -> None:
    counter = tmp_path / "runs"
    with node(tmp_path / "data") as work:
        answers: list[bytes] = []
        ask = {"counter": str(counter), "seconds": 0.1}
        threads = [threading.Thread(target=lambda: answers.append(work.call(slow, ask))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [b"done"] * 8 == answers
        assert 1 == runs(counter)


STAMPEDE = """
import sys, threading
sys.path.insert(0, {here!r})
from pathlib import Path
from tests.derive.node import node
from tests.derive.test_flights import slow
root, counter, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
with node(root) as work:
    answers = []
    ready = threading.Barrier(65)
    def ask():
        ready.wait()
        answers.append(work.call(slow, {{"counter": counter, "seconds": seconds}}))
    threads = [threading.Thread(target=ask) for _ in range(64)]
    for thread in threads: thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    ready.wait()
    for thread in threads: thread.join()
    assert answers == [b"done"] * 64
"""


def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code.format(here=HERE), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_64_threads_in_each_of_4_processes_compute_once(tmp_path: Path) -> None:
    counter = tmp_path / "runs"
    processes = [start(STAMPEDE, tmp_path / "data", counter, 0.3) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [0] * 4 == [process.returncode for process in processes]
    assert 1 == runs(counter)


RUNNER = """
import os, sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from tests.derive.node import node
from tests.derive.test_flights import gated
with node(Path(sys.argv[1])) as work:
    if sys.argv[3] == "forking":
        import threading
        def fork():
            while not os.path.exists(sys.argv[2]): time.sleep(0.001)
            child = os.fork()
            if child == 0:
                time.sleep(20); os._exit(0)
            print(child, flush=True)
        threading.Thread(target=fork, daemon=True).start()
    work.call(gated, {{"counter": sys.argv[2], "gate": sys.argv[2] + ".gate"}})
"""


def takeover_s(folder: Path, kind: str) -> float:
    """Seconds from the death of a runner until the one that waited for it runs the box itself."""
    folder.mkdir()
    counter = folder / "runs"
    child = 0
    with node(folder / "data") as work, start(RUNNER, folder / "data", counter, kind) as runner:
        if kind == "forking":  # a child of the runner lives on, and must not keep its lock
            assert runner.stdout is not None
            child = int(runner.stdout.readline())
        wait_until(lambda: runs(counter) == 1)
        answer: list[bytes] = []
        ask = {"counter": str(counter), "gate": f"{counter}.gate"}
        waiter = threading.Thread(target=lambda: answer.append(work.call(gated, ask)))
        waiter.start()
        time.sleep(0.05)  # so that the waiter's pauses have grown to their longest
        runner.kill()
        killed = time.monotonic()
        try:
            wait_until(lambda: runs(counter) == 2, 5.0)
            elapsed = time.monotonic() - killed
        finally:
            Path(ask["gate"]).touch()
            waiter.join()
            if child:
                os.kill(child, signal.SIGKILL)
        assert [b"done"] == answer
    return elapsed


@pytest.mark.parametrize("kind", ["plain", "forking"])
def test_a_killed_runner_is_followed_within_50_ms(tmp_path: Path, kind: str) -> None:
    """The best of five: a busy machine may keep the processor from the dying and from the waiting one for longer."""
    times: list[float] = []
    while len(times) < 5 and min(times, default=1.0) >= 0.05:
        times.append(takeover_s(tmp_path / str(len(times)), kind))
    assert min(times) < 0.05


def test_a_failure_is_remembered_briefly_with_its_reason(tmp_path: Path) -> None:
    counter, clock = tmp_path / "runs", FakeClock()
    with node(tmp_path / "data", clock=clock) as work:
        for expected in (1, 1, 1):
            with pytest.raises(DerivationFailed, match="broken failed with KeyError: 'no such page'") as failure:
                work.call(broken, {"counter": str(counter)})
            assert isinstance(failure.value.__cause__, KeyError)
            assert expected == runs(counter)
        clock.advance(2_100_000_000)
        with pytest.raises(DerivationFailed):
            work.call(broken, {"counter": str(counter)})
        assert 2 == runs(counter)


def test_another_process_sees_the_failure(tmp_path: Path) -> None:
    counter = tmp_path / "runs"
    with node(tmp_path / "data", derive__failure_ttl_s=60) as work:
        with pytest.raises(DerivationFailed):
            work.call(broken, {"counter": str(counter)})
        code = """
import sys; sys.path.insert(0, {here!r})
from pathlib import Path
from tests.derive.node import node
from tests.derive.test_flights import broken
with node(Path(sys.argv[1]), derive__failure_ttl_s=60) as work:
    try: work.call(broken, {{"counter": sys.argv[2]}})
    except Exception as error: print(type(error).__name__, error, flush=True)
"""
        with start(code, tmp_path / "data", counter) as other:
            out = other.communicate(timeout=30)[0].decode()
        assert out.startswith("DerivationFailed broken failed with KeyError: 'no such page' (")
        assert 1 == runs(counter)


def test_a_failure_is_never_a_result(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ask = {"counter": str(tmp_path / "runs")}
        with pytest.raises(DerivationFailed):
            work.derive(broken, ask)
        assert work.remembered(broken, ask) is None
        assert [] == list(work.rows())


def test_a_box_that_asks_for_itself_is_told_so(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:

        @derivation
        def circle(n: int) -> int:
            return work.call(circle, {"n": n})

        with pytest.raises(DerivationFailed, match="circle asks for its own output"):
            work.call(circle, {"n": 1})


def test_two_boxes_in_threads_that_ask_for_each_other_are_told_so(tmp_path: Path) -> None:
    with node(tmp_path / "data", derive__wait_s_max=20.0) as work:

        @derivation(worker="thread")
        def one(n: int) -> int:
            return work.submit(two, {"n": n}, value=True).result(20)

        @derivation(worker="thread")
        def two(n: int) -> int:
            return work.call(one, {"n": n})

        started = time.monotonic()
        with pytest.raises(DerivationFailed, match="asks"):
            work.call(one, {"n": 1})
        assert time.monotonic() - started < 10


def test_a_box_may_ask_for_another(tmp_path: Path) -> None:
    with node(tmp_path / "data", derive__threads=1) as work:

        @derivation(worker="thread")
        def inner(n: int) -> int:
            return n + 1

        @derivation(worker="thread")
        def outer(n: int) -> int:
            return work.call(inner, {"n": n}) * 10

        assert 20 == work.call(outer, {"n": 1})  # one pool thread is enough: the inner box runs in it
        assert 20 == work.submit(outer, {"n": 1}, value=True).result(5)


def test_a_waiter_may_leave_and_the_output_is_kept(tmp_path: Path) -> None:
    counter = tmp_path / "runs"
    with node(tmp_path / "data") as work:
        ask = {"counter": str(counter), "seconds": 0.2}
        with pytest.raises(Timeout, match="slow_in_thread was not done after"):
            work.call(slow_in_thread, ask, timeout_s=0.02)
        wait_until(lambda: work.remembered(slow_in_thread, ask) is not None)
        assert 1 == runs(counter)


def test_a_cancelled_future_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ask = {"counter": str(tmp_path / "runs"), "seconds": 0.1}
        first, second = (work.submit(slow_in_thread, ask, value=True) for _ in range(2))
        assert first.cancel()
        assert b"done" == second.result(5)
        with pytest.raises(CancelledError):
            first.result(0)
        assert 1 == runs(tmp_path / "runs")


def test_a_submitted_hit_is_done_at_once(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ask = {"counter": str(tmp_path / "runs"), "seconds": 0.0}
        ref = work.derive(slow, ask)
        future = work.submit(slow, ask)
        assert isinstance(future, Future)
        assert future.done()
        assert ref == future.result()


def test_when_too_many_are_under_way_the_next_is_refused(tmp_path: Path) -> None:
    flights = Flights(FlightLocks.shared(tmp_path / "flights"), flights_max=1)
    flights.join(KEY, "one")
    with pytest.raises(Busy, match="1 derivations are under way"):
        flights.join(KEY[::-1], "two")
    flights.locks.close()


def test_the_last_one_to_leave_stops_the_worker(tmp_path: Path) -> None:
    flights = Flights(FlightLocks.shared(tmp_path / "flights"), flights_max=10)
    flight, mine = flights.join(KEY, "one")
    assert mine
    stopped: list[bool] = []
    flights.can_stop(flight, lambda: stopped.append(True))
    first, second = flights.watch(flight, None), flights.watch(flight, None)
    first.cancel()
    assert [] == stopped
    second.cancel()
    assert [True] == stopped
    assert flights.join(KEY, "one")[0] is not flight  # who comes now does not board an abandoned flight
    flights.locks.close()


def test_a_lock_is_held_once_in_a_process_and_free_after_unlock(tmp_path: Path) -> None:
    first, second = FlightLocks.shared(tmp_path / "flights"), FlightLocks.shared(tmp_path / "flights")
    assert first is second  # opened once: closing any descriptor of the file would drop all locks of the process
    assert first.try_lock(KEY)
    assert not second.try_lock(KEY)
    first.unlock(KEY)
    assert second.try_lock(KEY)
    second.unlock(KEY)
    first.close()
    second.close()


def test_a_forked_child_holds_no_lock(tmp_path: Path) -> None:
    locks = FlightLocks.shared(tmp_path / "flights")
    assert locks.try_lock(KEY)
    pid = os.fork()
    if pid == 0:
        held = FlightLocks.shared(tmp_path / "flights").try_lock(KEY)  # the parent's lock is not ours
        os._exit(1 if held else 0)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    locks.unlock(KEY)
    locks.close()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own answer to SIGINT: a program that a script starts in the background begins with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_run_is_nobodys_result(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:

        @derivation
        def interrupted(n: int) -> int:
            signal.raise_signal(signal.SIGINT)
            return n

        with pytest.raises(KeyboardInterrupt):
            work.call(interrupted, {"n": 1})
        assert work.remembered(interrupted, {"n": 1}) is None
        assert [] == work._flights.flying()


def test_a_circle_is_found_through_any_number_of_flights(tmp_path: Path) -> None:
    flights = Flights(FlightLocks.shared(tmp_path / "flights"), flights_max=10)
    a, b, c = (Flight(bytes([n]) * 32, name) for n, name in enumerate("abc"))
    flights.watch(b, a)
    flights.watch(c, b)
    with pytest.raises(DerivationFailed, match="c asks, while it runs, for a"):
        flights.watch(a, c)
    flights.locks.close()
