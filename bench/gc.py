"""Does a sweep of many blobs hurt those who read and write meanwhile?

Fills a directory with small blobs (one in fifty is a file), half of them reachable, all older than the grace.  A reader
process asks for reachable ones, a writer process puts, pins, reads back and unpins; first without a sweep, then
while a third process sweeps.  Reports missing blobs, the readers' p99 with and without, and how long the sweep took.

    python bench/gc.py --blobs 1000000        (also prints a tenth of it, for the slope)
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from _report import report

from boxwork.clock import SECOND_NS, SystemClock, monotonic_ns
from boxwork.content.content import Content
from boxwork.content.sweep import Sweep
from boxwork.errors import BoxworkError
from boxwork.keys import Ref, ref_of
from boxwork.testing.clock import FakeClock
from boxwork.testing.stores import content_settings

spawn = multiprocessing.get_context("spawn")


def blob(number: int) -> bytes:
    text = b"blob %d " % number
    return text * 3000 if number % 50 == 0 else text * 8


def open_content(root: Path, clock: Any = None) -> Content:
    return Content(root, content_settings(), clock or SystemClock())


def fill(root: Path, blobs: int) -> None:
    """Everything was put three weeks ago; the even ones are reachable."""
    clock = FakeClock(SystemClock().now_ns() - 21 * 86_400 * SECOND_NS)
    with contextlib.closing(open_content(root, clock)) as content:
        for start in range(0, blobs, 5000):
            batch = [blob(number) for number in range(start, min(start + 5000, blobs))]
            content.put_many(batch, durable=start % 10_000 == 0)


def read(root: Path, blobs: int, stop: Event, answers: Any) -> None:
    """Latencies of gets of reachable blobs, a pause after each thousand; whatever is missing or wrong is counted."""
    content = open_content(root)
    wanted = [(ref_of(blob(number)), len(blob(number))) for number in range(0, blobs, max(2, blobs // 20_000 * 2))]
    latencies: list[int] = []
    bad = 0
    get, record = content.get, latencies.append
    while not stop.is_set():
        for ref, size in wanted:
            start = monotonic_ns()
            try:
                data = get(ref)
            except BoxworkError:
                data = b""
            record(monotonic_ns() - start)
            bad += len(data) != size
        time.sleep(0.001)
    latencies.sort()
    answers.put(("read", bad, len(latencies), latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]))
    content.close()


def write(root: Path, first: int, stop: Event, answers: Any) -> None:
    """Put (every second time a blob that the sweep is about to take, from `first` on), pin, read back, unpin."""
    content, bad, turn = open_content(root), 0, 0
    latencies = []
    while not stop.is_set():
        turn += 1
        data = blob(first + turn) if turn % 2 else b"%d %d" % (first, turn) * 100
        start = monotonic_ns()
        ref = content.put(data, durable=turn % 4 != 0)
        latencies.append(monotonic_ns() - start)
        try:
            content.pin(ref, "writer")
            bad += content.get(ref) != data
            content.unpin("writer")
        except BoxworkError:
            bad += 1
        time.sleep(0.002)
    latencies.sort()
    answers.put(("write", bad, len(latencies), latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]))
    content.close()


def sweep(root: Path, blobs: int, answers: Any) -> None:
    os.nice(10)  # whoever waits for an answer goes first
    content = open_content(root)

    def roots() -> Iterator[tuple[str, Ref]]:
        return (("even", ref_of(blob(number))) for number in range(0, blobs, 2))

    content.add_roots(roots)
    start = monotonic_ns()
    swept = Sweep(content).run()
    answers.put(("sweep", swept.deleted, swept.seen, monotonic_ns() - start, 0))
    content.close()


def phase(root: Path, blobs: int, *, sweeping: bool, seconds: float = 6.0) -> dict[str, tuple[int, ...]]:
    stop, answers = spawn.Event(), spawn.Queue()
    workers = [
        spawn.Process(target=read, args=(root, blobs, stop, answers)),
        spawn.Process(target=write, args=(root, blobs // 2 if sweeping else 0, stop, answers)),
    ]
    for worker in workers:
        worker.start()
    time.sleep(1.5)
    found: dict[str, tuple[int, ...]] = {}
    if sweeping:
        sweeper = spawn.Process(target=sweep, args=(root, blobs, answers))
        sweeper.start()
        kind, *numbers = answers.get(timeout=600)
        found[kind] = tuple(numbers)
        sweeper.join()
    else:
        time.sleep(seconds)
    stop.set()
    for _ in workers:
        kind, *numbers = answers.get(timeout=60)
        found[kind] = tuple(numbers)
    for worker in workers:
        worker.join()
    return found


def run(blobs: int) -> float:
    with tempfile.TemporaryDirectory(prefix="boxwork-gc-", dir=os.environ.get("BENCH_DIR")) as name:
        root = Path(name)
        fill(root, blobs)
        quiet = phase(root, blobs, sweeping=False)
        busy = phase(root, blobs, sweeping=True)
    missing = quiet["read"][0] + quiet["write"][0] + busy["read"][0] + busy["write"][0]
    deleted, seen, duration_ns, _ = busy["sweep"]
    size = f"{blobs:,} blobs"
    report(name=f"gc.missing ({size}, {deleted:,} deleted)", value=missing, unit="blobs", peer="goal", peer_value=0)
    report(
        name=f"gc.get_p50 ({size})",
        value=busy["read"][2] / 1000,
        unit="us",
        peer="without a sweep",
        peer_value=quiet["read"][2] / 1000,
    )
    report(
        name=f"gc.get_p99 ({size})",
        value=busy["read"][3] / 1000,
        unit="us",
        peer="without a sweep",
        peer_value=quiet["read"][3] / 1000,
    )
    report(
        name=f"gc.put_p99 ({size})",
        value=busy["write"][3] / 1000,
        unit="us",
        peer="without a sweep",
        peer_value=quiet["write"][3] / 1000,
    )
    report(name=f"gc.duration ({size}, {seen:,} seen)", value=duration_ns / 1e9, unit="s", peer="", peer_value=0)
    return duration_ns / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blobs", type=int, default=1_000_000)
    options = parser.parse_args()
    small, large = run(options.blobs // 10), run(options.blobs)
    slope = large / small
    report(name="gc.slope (duration of ten times the blobs)", value=slope, unit="x", peer="linear", peer_value=10)


if __name__ == "__main__":
    main()
