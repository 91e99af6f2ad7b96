"""A node with boxes of its own, and a real server on loopback in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

import boxwork
from boxwork.app.work import Work
from boxwork.box import derivation
from boxwork.pack import Pack
from boxwork.serve.server import Server
from boxwork.testing.served import served


@derivation
def shout(text: bytes, times: int = 1) -> bytes:
    """The text in capitals."""
    return text.upper() * times


@derivation
def fail(text: bytes) -> bytes:
    raise ValueError("this box always fails")


@pytest.fixture(scope="module")
def make_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Work]]:
    """A node with packs and settings of the test's own."""
    opened: list[Work] = []

    def make(packs: tuple[Pack, ...] = (), **settings: Any) -> Work:
        flags = {name.replace("__", "."): value for name, value in settings.items()}
        opened.append(boxwork.open(tmp_path_factory.mktemp("node") / "d", packs=packs, settings=flags))
        return opened[-1]

    yield make
    for work in opened:
        work.close()


@pytest.fixture
def work(make_work: Callable[..., Work]) -> Work:
    loud = Pack("loud", "Boxes for the tests.", boxes=(shout, fail))
    return make_work((loud,), serve__body_idle_s_max=2.0, serve__blob_bytes_max=3_000_000)


@pytest.fixture
def server(work: Work) -> Iterator[Server]:
    with served(work) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as session:
        yield session
