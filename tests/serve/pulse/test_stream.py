from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import httpx

from boxwork.clock import SECOND_NS
from boxwork.pulse import Pulse
from boxwork.pulse.interval import Interval
from boxwork.serve.pulse.overview import Overview
from boxwork.serve.pulse.stream import events
from boxwork.testing.clock import FakeClock
from boxwork.testing.served import served

FEED = "feed{venue=cme}"


async def direct(call: Callable[[], Any]) -> Any:
    return call()


def heard(pulse: Pulse, after_ns: int | None, *, count: int, overview: Overview | None = None) -> list[dict[str, str]]:
    """The first `count` events of a stream, each as its fields."""

    async def listen() -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        body = events(pulse, FEED, after_ns, direct, overview, None, lambda: len(found) >= count)
        async for piece in body:
            fields = dict(line.split(": ", 1) for line in piece.decode().strip().splitlines())
            if "data" in fields:
                found.append(fields)
            if len(found) >= count:
                break
        await body.aclose()  # type: ignore[attr-defined]
        return found

    return asyncio.run(asyncio.wait_for(listen(), 10))


def test_a_page_that_slept_gets_what_it_missed(pulse: Pulse, clock: FakeClock) -> None:
    last_seen = clock.now_ns() - 20 * SECOND_NS
    (told,) = heard(pulse, last_seen, count=1)
    data = json.loads(told["data"])
    starts = [Interval.from_bytes(base64.b64decode(one["b"])).start_ns for one in data["ticks"]]
    assert [last_seen + k * SECOND_NS for k in range(1, 20)] == starts
    assert str(starts[-1]) == told["id"]
    assert {FEED} == {one["s"] for one in data["ticks"]}
    # and from there on, nothing twice
    (again,) = heard(pulse, int(told["id"]), count=1)
    assert [] == json.loads(again["data"])["ticks"]


def test_a_stream_beats_though_nothing_happens(pulse: Pulse, clock: FakeClock) -> None:
    (beat,) = heard(pulse, None, count=1)
    assert {"now": clock.now_ns() / 1e6, "ticks": []} == json.loads(beat["data"])
    assert "id" not in beat


def test_the_list_comes_with_the_stream(pulse: Pulse) -> None:
    told = heard(pulse, None, count=2, overview=Overview(pulse))
    assert ["overview"] == [one["event"] for one in told if "event" in one]
    assert FEED in [row["series"] for row in json.loads(told[1]["data"])["series"]]


def test_a_listener_that_left_is_forgotten(pulse: Pulse) -> None:
    before = len(pulse.aggregator.listeners)
    heard(pulse, None, count=1)
    assert before == len(pulse.aggregator.listeners)


def test_a_browser_that_comes_back_says_where_it_was(app: Any, clock: FakeClock) -> None:
    headers = {"last-event-id": str(clock.now_ns() - 5 * SECOND_NS)}
    with (
        served(app.state.work, app) as server,
        httpx.stream("GET", f"{server.url}/pulse/live", params={"series": FEED}, headers=headers, timeout=10) as answer,
    ):
        assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
        lines = answer.iter_lines()
        told = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
    assert 4 == len(told["ticks"])
    # how long somebody looked is not a latency of this route
    assert not [info for info in app.pulse.catalog() if info.name.label("route") == "/pulse/live"]


def test_a_stream_ends_when_the_server_is_asked_to_stop(pulse: Pulse) -> None:
    async def listen() -> list[bytes]:
        return [piece async for piece in events(pulse, FEED, None, direct, None, None, lambda: True)]

    assert [b"retry: 1000\n\n"] == asyncio.run(listen())
