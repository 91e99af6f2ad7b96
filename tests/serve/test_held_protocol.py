"""Questions that are held inside the server's protocol; what is not plain takes the long way, which says so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from boxwork.pack import Pack
from boxwork.serve.held_protocol import BODY_BYTES_MAX, Held, Line, Plain, judge
from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind
from tests.serve.test_hot_protocol import answer, connect

TOKEN = "Bearer friend"


class Keeper:
    """An endpoint that holds `wait=…` the short way until it is told to answer."""

    def __init__(self) -> None:
        self.waiters: list[Waiting] = []
        self.lost = 0
        self.loop: asyncio.AbstractEventLoop | None = None

    async def long(self, request: Request) -> Response:
        self.loop = asyncio.get_running_loop()
        request.app.state.held.offer("/keep/", self.ask)
        body = await request.body()
        return Response(body, 200, {"x-way": "long", "x-name": request.path_params["name"]})

    def ask(self, line: Line, asked: Plain) -> Waiting | None:
        if "wait=" not in asked.query:
            return None
        self.waiters.append(Waiting(self, line, asked))
        return self.waiters[-1]

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.002)

    def on_loop(self, call: Callable[[], None]) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(call)


class Waiting:
    def __init__(self, keeper: Keeper, line: Line, asked: Plain) -> None:
        self.keeper, self.line, self.asked = keeper, line, asked
        self.is_lost = False

    def lost(self) -> None:
        self.is_lost = True
        self.keeper.lost += 1

    def let_go(self) -> None:
        self.line.answer(b"200 OK", b"content-length: %d\r\n" % len(self.asked.body), self.asked.body)


def door(connection: Any) -> bool:
    return dict(connection.scope["headers"]).get(b"authorization") == TOKEN.encode()


@contextlib.contextmanager
def keeping(make_work: Any, **settings: Any) -> Iterator[tuple[Server, Keeper]]:
    keeper = Keeper()
    routes = [Route("/keep/{name}", keeper.long, methods=["GET", "POST"])]
    pack = Pack("keep", "For the test.", routes=lambda _: list(routes), door=lambda _: door)
    work = make_work((pack,), **settings)
    server = Server(asgi(work), bind("127.0.0.1", 0, 1), work.settings)
    server.start()
    httpx.get(f"{server.url}/keep/first").raise_for_status()
    yield server, keeper
    server.stop()


@pytest.fixture(scope="module")
def kept(make_work: Any) -> Iterator[tuple[Server, Keeper]]:
    with keeping(make_work, serve__keep_alive_s=1.0) as running:
        yield running


def question(body: bytes = b"[]", more: bytes = b"", host: bytes = b"127.0.0.1", query: bytes = b"wait=1") -> bytes:
    length = b"" if b"Content-Length" in more else b"Content-Length: %d\r\n" % len(body)
    return b"POST /keep/a?%s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n%s" % (query, host, more, length, body)


@contextlib.contextmanager
def held(kept: tuple[Server, Keeper], sent: bytes = question()) -> Iterator[tuple[socket.socket, Waiting]]:
    server, keeper = kept
    count = len(keeper.waiters)
    with connect(server) as raw:
        raw.sendall(sent)
        keeper.until(lambda: len(keeper.waiters) > count)
        yield raw, keeper.waiters[-1]


def test_a_question_is_held_and_answered_whole_again_and_again(kept: tuple[Server, Keeper]) -> None:
    keeper = kept[1]
    ids = set()
    with held(kept, question(b"one")) as (raw, waiter):
        for body in (b"one", b"two", b"three"):
            if body != b"one":
                count = len(keeper.waiters)
                raw.sendall(question(body))
                keeper.until(lambda count=count: len(keeper.waiters) > count)
            waiter = keeper.waiters[-1]
            assert ("/keep/a", "wait=1", body) == tuple(waiter.asked)
            keeper.on_loop(waiter.let_go)
            status, headers, said = answer(raw)
            assert (200, body) == (status, said)
            assert {"date", "x-request-id", "content-length"} <= headers.keys()
            assert "nosniff" == headers["x-content-type-options"]
            ids.add(headers["x-request-id"])
        assert 3 == len(ids)
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert 200 == answer(raw)[0]


def test_a_body_in_a_piece_of_its_own_is_waited_for(kept: tuple[Server, Keeper]) -> None:
    server, keeper = kept
    count = len(keeper.waiters)
    with connect(server) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.sendall(question(b"said")[:-4])
        time.sleep(0.05)
        assert count == len(keeper.waiters)
        raw.sendall(b"said")
        keeper.until(lambda: len(keeper.waiters) > count)
        keeper.on_loop(keeper.waiters[-1].let_go)
        assert b"said" == answer(raw)[2]


def test_a_body_in_many_pieces_takes_the_long_way(kept: tuple[Server, Keeper]) -> None:
    with connect(kept[0]) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (question(b"said")[:-4], b"s", b"ai", b"d"):
            raw.sendall(piece)
            time.sleep(0.03)
        status, headers, body = answer(raw)
        assert (200, "long", b"said") == (status, headers["x-way"], body)


def test_the_rest_of_a_body_that_does_not_come_is_waited_for_by_the_long_way(kept: tuple[Server, Keeper]) -> None:
    with connect(kept[0]) as raw:
        raw.sendall(question(b"said")[:-4])
        time.sleep(1.3)  # longer than an idle connection is kept
        raw.sendall(b"said")
        status, headers, body = answer(raw)
        assert (200, "long", b"said") == (status, headers["x-way"], body)


def test_bytes_behind_a_held_question_hand_both_to_the_long_way(kept: tuple[Server, Keeper]) -> None:
    with held(kept, question(b"one")) as (raw, waiter):
        raw.sendall(question(b"two"))
        assert [b"one", b"two"] == [answer(raw)[2] for _ in range(2)]
        assert waiter.is_lost
        kept[1].on_loop(waiter.let_go)  # too late: it answers nobody
        raw.settimeout(0.2)
        with pytest.raises(TimeoutError):
            raw.recv(1)


def test_two_questions_in_one_piece_take_the_long_way(kept: tuple[Server, Keeper]) -> None:
    with connect(kept[0]) as raw:
        raw.sendall(question(b"one") + question(b"two"))
        assert [(b"one", "long"), (b"two", "long")] == [
            (body, headers["x-way"]) for _, headers, body in (answer(raw), answer(raw))
        ]


def test_a_host_that_hangs_up_is_lost(kept: tuple[Server, Keeper]) -> None:
    with held(kept) as (_, waiter):
        assert not waiter.is_lost
    kept[1].until(lambda: waiter.is_lost)


def test_a_question_that_is_handed_back_is_answered_the_long_way(kept: tuple[Server, Keeper]) -> None:
    with held(kept, question(b"again")) as (raw, waiter):
        kept[1].on_loop(waiter.line.take_long_way)
        status, headers, body = answer(raw)
        assert (200, "long", b"again") == (status, headers["x-way"], body)


def test_what_its_endpoint_does_not_hold_takes_the_long_way(kept: tuple[Server, Keeper]) -> None:
    with connect(kept[0]) as raw:
        raw.sendall(question(b"x", query=b"now=1"))
        assert "long" == answer(raw)[1]["x-way"]


@pytest.mark.parametrize(
    "more",
    [
        b"Origin: http://127.0.0.1\r\n", b"Sec-Fetch-Site: none\r\n", b"X-Forwarded-For: 127.0.0.1\r\n",
        b"X-Request-Id: mine\r\n", b"Expect: 100-continue\r\n", b"Cookie: a=b\r\n", b"Connection: close\r\n",
    ],
)  # fmt: skip
def test_what_is_not_plain_takes_the_long_way(kept: tuple[Server, Keeper], more: bytes) -> None:
    with connect(kept[0]) as raw:
        raw.sendall(question(b"x", more))
        data = b""
        while b"x-way: long" not in data:
            piece = raw.recv(4096)
            assert piece, data
            data += piece


@pytest.mark.parametrize(
    "block",
    [
        b"", b"Host: a\r\n", b"Host: a\r\nContent-Length: 2", b"Content-Length: 2\r\n",
        b"Host: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n", b"Host: a\r\nContent-Length: +2\r\n",
        b"Host: a\r\nContent-Length: 2 2\r\n", b"Host: a\r\nContent-Length: 0x2\r\n", b"Host: a\r\nContent-Length:\r\n",
        b"Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"Host: a\r\n b\r\nContent-Length: 2\r\n",
        b"Host : a\r\nContent-Length: 2\r\n", b"Host: a\nContent-Length: 2\r\n", b"Host: a\0\r\nContent-Length: 2\r\n",
        b"Host: \xff\r\nContent-Length: 2\r\n", b"Host: a\r\nContent-Length: 9999999\r\n",
    ],
)  # fmt: skip
def test_odd_headers_are_never_judged_plain(block: bytes) -> None:
    assert judge(block) is None


def test_a_body_above_the_limit_takes_the_long_way(kept: tuple[Server, Keeper]) -> None:
    body = b"x" * (BODY_BYTES_MAX + 1)
    with connect(kept[0]) as raw:
        raw.sendall(question(body))
        status, headers, said = answer(raw)
        assert (200, "long", len(body)) == (status, headers["x-way"], len(said))


def test_a_stranger_takes_the_long_way_to_the_guard_and_a_friend_of_a_door_does_not(
    kept: tuple[Server, Keeper],
) -> None:
    with connect(kept[0]) as raw:
        raw.sendall(question(host=b"evil.example"))
        assert 403 == answer(raw)[0]
    with connect(kept[0]) as raw:
        raw.sendall(question(more=b"X-Forwarded-For: 10.0.0.1\r\n"))
        assert 403 == answer(raw)[0]
    with held(kept, question(b"", f"Authorization: {TOKEN}\r\n".encode(), b"node.example")) as (raw, waiter):
        kept[1].on_loop(waiter.let_go)
        assert 200 == answer(raw)[0]


def test_where_the_guard_is_of_another_kind_only_doors_let_in() -> None:
    head = judge(b"Host: 127.0.0.1\r\nContent-Length: 2\r\n")
    friend = judge(b"Host: 127.0.0.1\r\nContent-Length: 2\r\nAuthorization: %s\r\n" % TOKEN.encode())
    assert head is not None
    assert friend is not None
    table = Held([door], None)
    assert not table.may_come_in("127.0.0.1", "/keep/a", head)
    assert table.may_come_in("127.0.0.1", "/keep/a", friend)


def test_a_held_connection_is_kept_and_an_idle_one_is_not(kept: tuple[Server, Keeper]) -> None:
    with held(kept) as (raw, waiter):
        time.sleep(1.3)
        kept[1].on_loop(waiter.let_go)
        assert 200 == answer(raw)[0]
        raw.settimeout(4)
        assert b"" == raw.recv(1), "idle since the answer, so it is closed"


def test_a_server_that_stops_answers_those_who_wait(make_work: Any) -> None:
    with keeping(make_work) as running, held(running, question(b"bye")) as (raw, _):
        running[0].stop()
        assert b"bye" == answer(raw)[2]
        assert b"" == raw.recv(1)
