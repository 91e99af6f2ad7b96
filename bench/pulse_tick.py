"""How long does a tick hold up the live page, and what is the longest that its thread does at a stretch?

The page as it is, on a real node, in Chromium: one tick a second, and nothing quicker, since a tick a second finds
caches that others have filled.  A series of some 160 occupied buckets an interval is shown; columns before the node
began are given to the page as a stream would, so that all of a view is drawn.

    tick      by the page's own clock: from the event of the stream until everything is said and drawn that the page's
              thread says and draws (`pulse.tick`)
    longest   the longest task of that thread in each second, whatever it was for: frames, the list, the collector; by
              the clock, and as `used` of the processor
    draw      the same tick in the thread that draws
    behind    from the event until it has been drawn

The browser's trace of its tasks runs beside all of it.  `python bench/pulse_tick.py [seconds a view]`
"""

from __future__ import annotations

import base64
import collections
import contextlib
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from _report import report

import boxwork
from boxwork.clock import MILLISECOND_NS, SECOND_NS
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import Interval
from boxwork.testing.chromium import CHROMIUM_FLAGS
from boxwork.testing.served import served

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 200
VIEWS = {"1m": (1, 60), "15m": (1, 900), "1d": (60, 1440)}  # seconds of a column, columns
# What the page does in its first seconds is no tick: modules, fonts, the first picture.
SETTLED_S = 6
RECORD_EVERY_S = 0.1
KEEP_STREAM = "window.EventSource = class extends EventSource { constructor(url) { super(url); window.heard = this; } }"
# When each began, on the clock that page and worker share, and how long it took.
ENTRIES = (
    "name => performance.getEntriesByName(name).map(one => [performance.timeOrigin + one.startTime, one.duration])"
)
MAIN_THREAD = "CrRendererMain"


def samples(rng: Any, count: int) -> Any:
    return rng.lognormal(12, 0.35, count).astype(np.int64)


@contextlib.contextmanager
def fed(work: Any) -> Iterator[None]:
    """A series to which a thread adds a hundred samples ten times a second."""
    series, rng, stop = work.pulse.series("feed", venue="cme"), np.random.default_rng(1), threading.Event()

    def write() -> None:
        while not stop.wait(RECORD_EVERY_S):
            series.record_array(samples(rng, 100))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def before(end_ns: int, width_s: int, columns: int) -> str:
    """What a stream would bring for the whole of a view that ends there."""
    rng, width = np.random.default_rng(2), width_s * SECOND_NS
    first = (end_ns // width - columns) * width
    ticks = []
    for start in range(first, first + columns * width, width):
        one = Interval(start, width, 1, Histogram(samples(rng, 1000)), covered_ns=width)
        ticks.append({"s": "feed{venue=cme}", "b": base64.b64encode(one.to_bytes()).decode()})
    return json.dumps({"now": end_ns / MILLISECOND_NS, "ticks": ticks})


def measured(browser: Any, work: Any, url: str, name: str) -> dict[str, list[float]]:
    """Milliseconds of each tick, of each second's longest task, and of each drawing."""
    page = browser.new_page(viewport={"width": 1360, "height": 900})
    page.add_init_script(KEEP_STREAM)
    page.goto(f"{url}/pulse?series=feed%7Bvenue%3Dcme%7D&range={name}")
    page.wait_for_function("() => document.getElementById('line-text').textContent === 'Live'")
    page.evaluate("data => heard.onmessage({ data })", before(work.clock.now_ns(), *VIEWS[name]))
    page.wait_for_timeout(SETTLED_S * 1000)
    ticked = "performance.getEntriesByName('pulse.tick').length"
    drawn = "performance.getEntriesByName('pulse.draw').length"
    there, drawn_before = page.evaluate(ticked), [worker.evaluate(drawn) for worker in page.workers]
    browser.start_tracing(page=page, categories=["toplevel", "blink.user_timing"])
    page.wait_for_timeout(SECONDS * 1000)
    trace = json.loads(browser.stop_tracing())["traceEvents"]
    ticks = page.evaluate(ENTRIES, "pulse.tick")[there:]
    draws = [
        one
        for worker, before in zip(page.workers, drawn_before, strict=True)
        for one in worker.evaluate(ENTRIES, "pulse.draw")[before:]
    ]
    found = {name: [duration for _, duration in entries] for name, entries in (("tick", ticks), ("draw", draws))}
    found["longest"], found["longest_used"] = longest(trace, "dur"), longest(trace, "tdur")
    found["behind"] = [
        min(ends) - start for start, _ in ticks if (ends := [at + took for at, took in draws if at > start])
    ]
    page.close()
    return found


def longest(events: list[dict[str, Any]], measure: str) -> list[float]:
    """The longest task of each second of the thread that ticks, in milliseconds, `dur` by the clock or `tdur`."""
    process = next(event["pid"] for event in events if event["name"] == "pulse.tick")
    thread = next(
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["pid"] == process and event["args"]["name"] == MAIN_THREAD
    )
    worst: dict[int, float] = collections.defaultdict(float)
    for event in events:
        if event["ph"] == "X" and (event["pid"], event["tid"]) == thread and "tdur" in event:
            second = event["ts"] // 1_000_000
            worst[second] = max(worst[second], event[measure] / 1000)
    # The first and the last second are parts of one.
    return [worst[second] for second in sorted(worst)[1:-1]]


def share(times: list[float], of_hundred: int) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, len(ordered) * of_hundred // 100)]


def main() -> None:
    from playwright.sync_api import sync_playwright

    with boxwork.open(tempfile.mkdtemp()) as work, fed(work), served(work) as server, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM_FLAGS))
        for name, (_, columns) in VIEWS.items():
            for what, times in measured(browser, work, server.url, name).items():
                report(
                    name=f"pulse.page.{what}.{columns}",
                    value=share(times, 99),
                    unit="ms",
                    p50=round(share(times, 50), 2),
                    p90=round(share(times, 90), 2),
                    most=round(max(times), 2),
                    seconds=len(times),
                )
        browser.close()


if __name__ == "__main__":
    main()
