"""A crowd of simulated hosts behaves like agents, as far as a server can see."""

from __future__ import annotations

import asyncio

import pytest

from boxwork import errors
from boxwork.packs.fleet.simulator import Crowd, Event, Order
from tests.packs.fleet.agent._server import Server


def test_a_crowd_takes_versions_and_reports_them(server: Server) -> None:
    """One name, as the test's server has one host; each of its questions carries what it has."""
    events: list[Event] = []
    server.say(server.desired({"etc/a": b"1"}, host="web-00000"))

    async def go() -> None:
        order = Order(url=server.url, hosts=1, prefix="web-", wait_s=0.2, ramp_s=0.0, bad={"2": "it is bad"})
        task = asyncio.ensure_future(Crowd(order, events.append).run())
        await until(lambda: kinds() == ["asked", "applied"])
        server.say(server.desired({"etc/a": b"2"}, host="web-00000"))
        await until(lambda: kinds() == ["asked", "applied", "failed"])
        server.say(server.desired({"etc/a": b"3"}, host="web-00000"))
        await until(lambda: kinds() == ["asked", "applied", "failed", "applied"])
        task.cancel()

    def kinds() -> list[str]:
        return [event.event for event in events]

    async def until(true: object) -> None:
        for _ in range(500):
            if true():  # type: ignore[operator]
                return
            await asyncio.sleep(0.01)
        raise AssertionError(events)

    asyncio.run(go())
    assert [3, 3, 3] == [event.blobs for event in events[1:]]
    assert [("applied", 1), ("failed", 1), ("applied", 3)] == [(r.state, r.position) for r in server.reports]
    assert server.asked[0] == ""
    assert server.asked[-1] != ""


def test_an_address_that_cannot_be_asked_is_named() -> None:
    with pytest.raises(errors.BadInput, match="write http://name:port"):
        Crowd(Order(url="ftp://x", hosts=1), lambda event: None)
