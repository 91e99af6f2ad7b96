"""Bodies that a pack reads whole: nobody waits for one for ever, and none is larger than it may be."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import boxwork
from boxwork import Pack, whole_body
from boxwork.serve.server import Server
from boxwork.testing.served import served

BYTES_MAX = 3_000_000


async def measure(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await whole_body(request, BYTES_MAX))))


PACK = Pack("scales", "A test", routes=lambda work: [Route("/scales", measure, methods=["POST"])])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"serve.body_idle_s_max": "0.2"}
    with boxwork.open(tmp_path_factory.mktemp("data"), packs=[PACK], settings=settings) as work, served(work) as one:
        yield one


@pytest.mark.parametrize("size", [0, 1, BYTES_MAX])
def test_a_body_up_to_its_limit_is_read_whole(server: Server, size: int) -> None:
    assert str(size) == httpx.post(f"{server.url}/scales", content=b"x" * size).text


def test_a_larger_one_is_refused_also_when_it_does_not_say_how_large_it_is(server: Server) -> None:
    for content in (b"x" * (BYTES_MAX + 1), iter([b"x" * 1_000_000] * 4)):
        answer = httpx.post(f"{server.url}/scales", content=content)
        assert (413, "the limit is 3,000,000") == (answer.status_code, answer.json()["message"].partition("; ")[2])


def test_one_that_stops_in_the_middle_is_not_waited_for(server: Server) -> None:
    with socket.create_connection(server.url.removeprefix("http://").split(":"), 10) as raw:
        raw.sendall(b"POST /scales HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf")
        answer = raw.recv(4096)
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"4 bytes had come" in answer
