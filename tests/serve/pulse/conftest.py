"""A node with a pulse on a fake clock for the routes, and one with a real clock and a real server for the browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from boxwork.clock import SECOND_NS
from boxwork.live import limits as live_limits
from boxwork.pulse import Pulse
from boxwork.pulse.watch import Watch
from boxwork.serve.http import asgi
from boxwork.serve.limits import SETTINGS
from boxwork.settings import merge
from boxwork.testing.clock import FakeClock

START_NS = 1_700_000_000 * SECOND_NS


class Work:
    """As much of a node as the pulse pages see."""

    packs = ()

    def __init__(self, pulse: Pulse, root: Path) -> None:
        self.node = SimpleNamespace(root=root)
        self.boxes: dict[str, Any] = {}
        self.pulse = pulse
        self.alarms = Watch(pulse, "slow feed: p99(feed) > 50us over 5s", "lost(path) > 0")
        self.clock = pulse.clock
        self.settings = merge((*SETTINGS, *live_limits.SETTINGS), environment={})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(now_ns=START_NS)


@pytest.fixture
def pulse(clock: FakeClock) -> Iterator[Pulse]:
    """A minute of a series, with a loss in its last second, and a path with values below zero."""
    with Pulse(clock=clock, threaded=False) as one:
        series = one.series("feed", venue="cme")
        path = one.series("path", src="ny4", dst="cme", probe="tcp")
        for second in range(60):
            for sample in range(1, 11):
                series.record(sample * 10_000 + second)
            path.record(-500 if second % 2 else 9_000)
            if second == 59:
                series.lose(3)
            clock.advance(SECOND_NS)
            one.tick()
        yield one


@pytest.fixture
def app(pulse: Pulse, tmp_path: Path) -> Any:
    return asgi(Work(pulse, tmp_path))


@pytest.fixture
def client(app: Any) -> Ask:
    return Ask(app)


class Ask:
    """Requests straight into the application, without a socket; the edge still sees each of them."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def get(self, path: str, **options: Any) -> httpx.Response:
        import anyio

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as session:
                return await session.get(path, **options)

        return anyio.run(ask)
