"""What does it cost to hand a commit to the process that owns the facts, beside committing there?

Another process owns the facts; this one commits likes one after another, and with 16 threads.  Beside it the same by
the owner itself.  Both are durable before the answer.

    python bench/state_forward.py [--quick]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import boxwork
from bench._report import report
from bench._state import directory
from boxwork.testing.workloads import like

QUICK = "--quick" in sys.argv
ROUNDS = 3 if QUICK else 7
COMMITS = 100 if QUICK else 300
THREADS = 16

OWNER = """
import sys
import boxwork
from boxwork.testing.workloads import like
with boxwork.open(sys.argv[1]) as work:
    work.commit(like, post=0)
    print("ready", flush=True)
    sys.stdin.readline()
"""


def one_by_one(work: Any) -> float:
    """Microseconds of a commit."""
    times = []
    for number in range(COMMITS):
        begin = time.perf_counter_ns()
        work.commit(like, post=number)
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times) / 1e3


def together(work: Any) -> float:
    """Commits a second of all threads."""

    def press() -> None:
        for number in range(COMMITS):
            work.commit(like, post=number)

    threads = [threading.Thread(target=press) for _ in range(THREADS)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return THREADS * COMMITS / (time.perf_counter() - begin)


def owned(measure: Callable[[Any], float]) -> float:
    with directory() as path, boxwork.open(path / "data") as work:
        work.commit(like, post=0)
        return measure(work)


def handed_in(measure: Callable[[Any], float]) -> float:
    with directory() as path:
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(path / "data")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert owner.stdout is not None
            owner.stdout.readline()
            with boxwork.open(path / "data") as work:
                work.commit(like, post=0)
                if work.node.own_engine is not None:
                    raise SystemExit("this process owns the facts: the other one has ended")
                return measure(work)
        finally:
            owner.communicate("\n", timeout=30)


if __name__ == "__main__":
    for name, unit, measure in (("single", "us", one_by_one), ("16 threads", "commits/s", together)):
        rounds = [(handed_in(measure), owned(measure)) for _ in range(ROUNDS)]
        report(
            name=f"state.forward.{name}",
            value=statistics.median(row[0] for row in rounds),
            unit=unit,
            peer="the owner itself",
            peer_value=statistics.median(row[1] for row in rounds),
        )
