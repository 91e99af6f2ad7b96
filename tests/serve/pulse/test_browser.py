"""The pages in a real Chromium, fed by a real node."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import boxwork
from boxwork.clock import SECOND_NS
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import Interval
from boxwork.testing.served import served

pytestmark = pytest.mark.servers
FEED = "/pulse?series=feed%7Bvenue%3Dcme%7D"
KEEP_STREAM = "window.EventSource = class extends EventSource { constructor(url) { super(url); window.heard = this; } }"
# What a stream brought is given to the page, one event every 50 ms: what one leads to, its picture 25 ms later, is over
# when the next one comes.
TICKS = """async (events) => {
  heard.close();
  for (const data of events) {
    await new Promise((done) => setTimeout(done, 50));
    heard.onmessage({ data });
  }
}"""
BEGINNINGS = "name => performance.getEntriesByName(name).map((entry) => performance.timeOrigin + entry.startTime)"
DURATIONS = "name => performance.getEntriesByName(name).map((entry) => entry.duration)"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """A node with two series that somebody feeds, one of them with values below zero."""
    with boxwork.open(tmp_path_factory.mktemp("data")) as work:
        feed, path = work.pulse.series("feed", venue="cme"), work.pulse.series("path", src="ny4", dst="cme")
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.wait(0.02):
                number += 1
                feed.record(50_000 + 7_000 * (number % 60))
                path.record(-4_000 if number % 3 else 30_000)

        writer = threading.Thread(target=write)
        writer.start()
        with served(work) as server:
            yield work, server.url
        stop.set()
        writer.join()


Open = Callable[..., Any]


@pytest.fixture
def page(node: tuple[Any, str], open_page: Any) -> Open:
    """Open a path of the node."""

    def go(path: str, **options: Any) -> Any:
        one = open_page(allowed=("net::ERR",), viewport={"width": 1360, "height": 900}, **options)
        one.goto(node[1] + path)
        return one

    return go


def filled(page: Any, wanted: str = "Live") -> None:
    page.wait_for_function(f"() => document.getElementById('line-text').textContent === {wanted!r}")
    page.wait_for_function("() => /\\d/.test(document.getElementById('p99').textContent)")


def ticks(page: Any) -> int:
    return int(page.evaluate("performance.getEntriesByName('pulse.tick').length"))


def test_the_heatmap_is_live_and_shows_what_was_recorded(page: Open) -> None:
    one = page(FEED)
    filled(one)
    before = ticks(one)
    one.wait_for_function(f"() => performance.getEntriesByName('pulse.tick').length >= {before + 2}")
    # there is heat on the canvas, not only axes: many pixels of the accent's hue
    hot = one.evaluate("""() => {
      const { width, height } = document.getElementById('heatmap'), copy = new OffscreenCanvas(width, height).getContext('2d');
      copy.drawImage(document.getElementById('heatmap'), 0, 0);
      const { data } = copy.getImageData(0, 0, width, height);
      let hot = 0;
      for (let k = 0; k < data.length; k += 4) if (data[k + 2] > data[k] + 40 && data[k + 2] > data[k + 1] + 40) hot++;
      return hot;
    }""")  # noqa: E501
    assert hot > 500
    assert "feed" == one.inner_text("#title")
    assert one.inner_text("#p50").endswith("µs")


def test_a_rectangle_is_answered_by_the_server(page: Open) -> None:
    one = page(FEED)
    filled(one)
    box = one.locator("#chart").bounding_box()
    one.mouse.move(box["x"] + 500, box["y"] + 40)
    one.mouse.down()
    one.mouse.move(box["x"] + box["width"] - 140, box["y"] + box["height"] - 60, steps=4)
    one.mouse.up()
    one.wait_for_selector("#choice:not([hidden])")
    assert "p99.9" in one.inner_text("#choice-figures")
    assert "samples" in one.inner_text("#choice-count")
    asked = one.get_attribute("#choice-link", "href")
    assert "from=" in asked
    one.focus("#chart")
    one.keyboard.press("Escape")
    assert one.locator("#choice").is_hidden()


def test_the_keyboard_reads_and_selects_columns(page: Open) -> None:
    one = page(FEED)
    filled(one)
    one.focus("#chart")
    one.keyboard.press("ArrowLeft")
    assert "p99" in one.inner_text("#said")
    for _ in range(2):
        one.keyboard.press("Shift+ArrowLeft")
    one.wait_for_selector("#choice:not([hidden])")
    one.click("#table summary")
    one.wait_for_selector("#rows tr")
    assert "seen" in one.inner_text("#rows")


def test_a_page_that_was_away_has_no_hole(page: Open) -> None:
    """Pausing closes the stream; going on asks for all after the last interval, as a laptop does after a sleep."""
    one = page(FEED)
    filled(one)
    one.wait_for_timeout(1500)
    one.click("#pause")
    assert "Paused" == one.inner_text("#line-text")
    one.wait_for_timeout(4000)
    one.click("#pause")
    filled(one)
    one.wait_for_timeout(2500)
    one.click("#table summary")
    one.wait_for_selector("#rows tr")
    states = one.eval_on_selector_all("#rows tr", "rows => rows.slice(0, 8).map(row => row.children[1].textContent)")
    assert ["seen"] * 8 == states[:8] or {"seen", "partial"} >= set(states)


def test_values_below_zero_stand_below_a_line(page: Open) -> None:
    one = page("/pulse?series=path%7Bdst%3Dcme%2Csrc%3Dny4%7D")
    filled(one)
    one.wait_for_selector("#negative-box:not([hidden])")
    assert 60 < float(one.inner_text("#negative").removesuffix(" %")) < 72
    assert one.inner_text("#p50").startswith("−")


def test_the_paths_are_a_matrix_and_lead_to_the_heatmap(page: Open) -> None:
    one = page("/pulse/paths")
    one.wait_for_selector("#matrix a")
    assert "cme" in one.inner_text("#matrix thead")
    one.click("#matrix a")
    filled(one)
    assert "ny4 → cme" == one.inner_text("#title")


def test_the_machine_page_moves(page: Open) -> None:
    one = page("/pulse/machine")
    one.wait_for_function("() => document.querySelectorAll('.panel').length >= 4", timeout=20_000)
    one.wait_for_function("() => /%/.test(document.querySelector('.panel dd').textContent)", timeout=20_000)
    asked: list[str] = []
    one.on("request", lambda request: asked.append(request.url))
    one.wait_for_timeout(2500)
    assert not [url for url in asked if "processes" in url]
    one.click("#table summary")
    one.wait_for_selector("#rows tr")


def test_a_rule_that_fires_shows_itself_on_every_page_and_on_its_chart(page: Open, node: tuple[Any, str]) -> None:
    rule = node[0].alarms.add("slow feed: p99(feed) > 100us over 10s")
    try:
        one = page("/pulse/watch")
        one.wait_for_selector("li[data-condition=firing]", timeout=20_000)
        assert "slow feed" == one.inner_text("li[data-condition=firing] h2")
        assert "limit 100 µs" in one.inner_text("li[data-condition=firing] .now")
        one.wait_for_selector("#rows tr[data-kind=fired]")
        one.focus("li[data-condition=firing] a")
        one.keyboard.press("Enter")
        filled(one)
        assert "feed" == one.inner_text("#title")
        assert "1" == one.inner_text(".tabs .firing")
    finally:
        node[0].alarms.remove(rule)


def test_a_phone_sees_the_list_first_and_nothing_is_wider_than_it(node: tuple[Any, str], browser: Any) -> None:
    one = browser.new_page(viewport={"width": 390, "height": 800}, is_mobile=True, has_touch=True)
    one.goto(node[1] + "/pulse")
    one.wait_for_selector("a[data-series]")
    assert one.locator("#view").is_hidden()
    one.locator("a[data-series]").first.click()
    filled(one)
    assert one.evaluate("document.documentElement.scrollWidth") <= 390
    # a second kind of path, so that there is something to choose, and a rule to show
    node[0].pulse.series("path.oneway", src="ny4", dst="cme").record(30_000)
    rule = node[0].alarms.add("a name of some length: p99(feed{venue=cme}) > 100us over 10s for 1h")
    for path, shown in (("/paths", "#kind-box:not([hidden])"), ("/machine", ".panel"), ("/watch", ".rule h2")):
        one.goto(f"{node[1]}/pulse{path}")
        one.wait_for_selector(shown)
        assert one.evaluate("document.documentElement.scrollWidth") <= 390, path
    node[0].alarms.remove(rule)
    one.close()


def test_a_finger_reads_selects_and_scrolls(node: tuple[Any, str], browser: Any) -> None:
    one = browser.new_page(viewport={"width": 390, "height": 800}, is_mobile=True, has_touch=True)
    one.goto(node[1] + FEED)
    filled(one)
    touch = one.context.new_cdp_session(one)
    box = one.locator("#chart").bounding_box()
    left, middle = box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"]

    def moved(x: float, y: float) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": left, "y": middle}]})
        for step in range(1, 11):
            point = {"x": left + x * step / 10, "y": middle + y * step / 10}
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
            one.wait_for_timeout(16)
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    one.touchscreen.tap(left, middle)
    one.wait_for_selector("#tip:not([hidden])")
    assert "at " in one.inner_text("#tip")
    moved(80, 10)
    one.wait_for_selector("#choice:not([hidden])")
    chosen = one.inner_text("#choice-range")
    moved(4, -150)
    one.wait_for_function("() => scrollY > 80")
    assert chosen == one.inner_text("#choice-range")
    one.close()


def test_a_long_list_says_so_and_a_search_finds_the_rest(
    page: Open, node: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boxwork.serve.pulse.overview.SERIES_MAX", 1)
    node[0].pulse.series("seldom.seen", place="x" * 90).record(1)
    one = page("/pulse")
    one.wait_for_selector("#more:not([hidden])", timeout=20_000)
    assert "The busiest 1 of " in one.inner_text("#more")
    one.keyboard.press("/")
    one.keyboard.type("seldom xxx")
    one.get_by_text("seldom.seen{place=").click()
    one.wait_for_function("() => document.getElementById('title').textContent.startsWith('seldom.seen')")
    assert one.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_one_press_of_tab_passes_the_list_and_arrows_walk_in_it(page: Open) -> None:
    one = page(FEED)
    filled(one)
    one.wait_for_function("() => document.querySelectorAll('a[data-series]').length > 2")
    one.focus("#filter")
    one.keyboard.press("Tab")
    assert "feed{venue=cme}" == one.evaluate("document.activeElement.dataset.series")
    one.keyboard.press("ArrowUp")
    assert one.evaluate("document.activeElement.dataset.series") not in ("feed{venue=cme}", None)
    one.keyboard.press("Tab")
    assert "1m" == one.evaluate("document.activeElement.dataset.range")


def test_a_page_that_slept_for_hours_asks_for_all_of_it(node: tuple[Any, str], browser: Any) -> None:
    one = browser.new_page()
    one.add_init_script(KEEP_STREAM)
    one.goto(node[1] + FEED)
    filled(one)
    # The stream itself brings an hour of what was missed; the first thing heard is an hour and a half later.
    with one.expect_request("**/pulse/history?**"):
        one.evaluate("heard.onmessage({ data: JSON.stringify({ now: Date.now() + 5_400_000, ticks: [] }) })")
    filled(one)
    one.close()


def shares(times: list[float]) -> list[float]:
    """p50, p90 and p99."""
    ordered = sorted(times)
    return [ordered[len(ordered) * share // 100] for share in (50, 90, 99)]


def streamed(start_ns: int, width_ns: int, count: int, samples: int) -> list[dict[str, str]]:
    """Intervals of some 160 occupied buckets, as a stream brings them."""
    rng = np.random.default_rng(count)
    starts = range(start_ns, start_ns + count * width_ns, width_ns)
    made = (
        Interval(start, width_ns, 1, Histogram(rng.lognormal(12, 0.35, samples).astype(np.int64)), covered_ns=width_ns)
        for start in starts
    )
    return [{"s": "feed{venue=cme}", "b": base64.b64encode(one.to_bytes()).decode()} for one in made]


def heard(ticks: list[dict[str, str]], now_ns: int) -> str:
    return json.dumps({"now": now_ns / 1e6, "ticks": ticks})


def ticked(browser: Any, page: Any, events: list[str]) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds: of these ticks by the clock, of the processor for each, and for every task of the page's thread."""
    there = len(page.evaluate(DURATIONS, "pulse.tick"))
    browser.start_tracing(page=page, categories=["toplevel", "blink.user_timing"])
    page.evaluate(TICKS, events)
    trace = json.loads(browser.stop_tracing())["traceEvents"]
    ends = [event for event in trace if ("pulse.tick", "e") == (event["name"], event["ph"])]
    process = ends[0]["pid"]
    thread = next(
        event["tid"]
        for event in trace
        if ("thread_name", process) == (event["name"], event["pid"]) and "CrRendererMain" == event["args"]["name"]
    )
    # One that began before the trace ended may have no end in it.
    tasks = [
        event
        for event in trace
        if ("ThreadControllerImpl::RunTask", "X") == (event["name"], event["ph"])
        and (process, thread) == (event["pid"], event["tid"])
        and "tdur" in event
    ]
    of_ticks = [one for one in tasks if any(one["ts"] <= end["ts"] <= one["ts"] + one["dur"] for end in ends)]
    used, every = ([one["tdur"] / 1000 for one in some] for some in (of_ticks, tasks))
    return page.evaluate(DURATIONS, "pulse.tick")[there:], used, every


def test_a_tick_is_drawn_when_the_page_is_done_with_it(page: Open) -> None:
    """Else the thread that draws takes the processor from the page's own in the middle of the tick."""
    one = page(FEED)
    filled(one)
    before = ticks(one)
    one.wait_for_function(f"() => performance.getEntriesByName('pulse.tick').length >= {before + 4}")
    heard = one.evaluate(BEGINNINGS, "pulse.tick")
    drawn = [begin for worker in one.workers for begin in worker.evaluate(BEGINNINGS, "pulse.draw")]
    # From the first tick that each drawing has to draw.  A timer is never early; the two clocks agree within 1 ms.
    waits = [
        begin - min(told)
        for last, begin in itertools.pairwise(drawn)
        if (told := [tick for tick in heard if last < tick <= begin])
    ]
    assert len(waits) >= 2
    assert min(waits) >= 20


@pytest.mark.parametrize(("name", "width_s", "columns"), [("1m", 1, 60), ("15m", 1, 900), ("1d", 60, 1440)])
def test_a_tick_holds_the_page_up_for_less_than_two_milliseconds(
    node: tuple[Any, str], launch: Callable[..., Any], name: str, width_s: int, columns: int
) -> None:
    """From the event of the stream until the page's thread has done what it does for it.

    In one of five runs, 99 of 100 ticks use no more than 1.5 ms of the processor, and 90 take no more than 1 ms by the
    clock: by the clock a tick takes as long as others have the processor, so what the hundredth takes on a quiet
    machine is for `bench/pulse_tick.py`.
    And nothing was only put off: of all tasks of that thread meanwhile, what ticks lead to in its frames and what
    collects garbage included, no more than two use 4 ms.
    """
    browser = launch()
    page = browser.new_page(viewport={"width": 1360, "height": 900})
    page.add_init_script(KEEP_STREAM)
    page.goto(f"{node[1]}{FEED}&range={name}")
    filled(page)
    now, width = node[0].clock.now_ns() // SECOND_NS * SECOND_NS, width_s * SECOND_NS
    page.evaluate(TICKS, [heard(streamed((now // width - columns) * width, width, columns, 1000), now)])
    for _ in range(5):
        parts = streamed(now, SECOND_NS, 200, 300)
        events = [heard([part], now + (k + 1) * SECOND_NS) for k, part in enumerate(parts)]
        now += 200 * SECOND_NS
        there = [len(worker.evaluate(DURATIONS, "pulse.draw")) for worker in page.workers]
        clocked, used, every = ticked(browser, page, events)
        drawn = [
            took
            for worker, seen in zip(page.workers, there, strict=True)
            for took in worker.evaluate(DURATIONS, "pulse.draw")[seen:]
        ]
        told = [" / ".join(f"{one:.2f}" for one in shares(times)) for times in (clocked, used, drawn)]
        print(
            f"tick of {columns} columns, p50 / p90 / p99: {told[0]} ms by the clock, {told[1]} of CPU;"
            f" {told[2]} in the thread that draws; the longest tasks of the page's thread"
            f" {', '.join(f'{one:.2f}' for one in sorted(every)[-3:])} of CPU"
        )
        assert 200 == len(clocked)
        kept = shares(used)[2] <= 1.5 and shares(clocked)[1] <= 1.0 and sorted(every)[-3] <= 4.0
        if kept:
            break
    assert kept
    browser.close()


def test_two_series_of_one_name_do_not_look_the_same(page: Open) -> None:
    titles = page(FEED).evaluate(
        """async () => {
          const at = document.querySelector('link[href*="picture.js"]').href.replace('picture.js', '');
          const { title } = await import(at + 'format.js');
          const labels = [{}, { route: '/t' }, { route: '/t', method: 'GET' }, { src: 'ny4' }, { place: 'disk' },
            { status: '2xx' }];
          return ['page', 'http', 'path'].flatMap(name => labels.map(one => JSON.stringify(title(name, one))));
        }"""
    )
    assert len(titles) == len(set(titles))


def test_a_heading_says_each_thing_once(page: Open, node: tuple[Any, str]) -> None:
    node[0].pulse.series("probe", src="ny4", dst="cme", line="a").record(1_000_000)
    one = page("/pulse?series=probe%7Bdst%3Dcme%2Cline%3Da%2Csrc%3Dny4%7D")
    one.wait_for_function("() => document.getElementById('tags').children.length")
    assert ("ny4 → cme", ["probe", "a"]) == (one.inner_text("#title"), one.locator("#tags span").all_inner_texts())


def test_history_reaches_the_page_as_the_node_has_it(page: Open, node: tuple[Any, str]) -> None:
    """The page's decoder against the node's: count, quantiles and extremes of each column."""
    one = page(FEED)
    filled(one)
    end = node[0].clock.now_ns() // SECOND_NS * SECOND_NS - 2 * SECOND_NS
    expected = node[0].pulse.query("feed", end - 5 * SECOND_NS, end)
    found = one.evaluate(
        """async ([from, to]) => {
          const at = document.querySelector('link[href*="picture.js"]').href.replace('picture.js', '');
          const { decodeHistory, absorb, quantiles } = await import(at + 'interval.js');
          const reply = await fetch(`/pulse/history?series=feed%7Bvenue%3Dcme%7D&from=${from}&to=${to}`);
          const { columns } = decodeHistory(await reply.arrayBuffer());
          const whole = columns.reduce(absorb);
          return [whole.count, whole.min, whole.max, ...quantiles(whole, [0.5, 0.99])];
        }""",
        [str(end - 5 * SECOND_NS), str(end)],
    )
    histogram = expected.histogram
    assert [histogram.count, histogram.minimum, histogram.maximum] == found[:3]
    assert histogram.quantiles((0.5, 0.99)) == pytest.approx(found[3:], rel=1e-12)


def test_the_pages_are_made_of_nothing_from_elsewhere() -> None:
    static = Path(boxwork.__file__).parent / "serve" / "pulse" / "static"
    for file in static.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, file.name
        assert "https://" not in text, file.name
        assert len(text.splitlines()) < 500, file.name
