from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.server import ServerState

from boxwork.pack import Pack
from boxwork.serve import hot_protocol
from boxwork.serve.hot import HotAnswers
from boxwork.serve.hot_protocol import judge
from boxwork.serve.server import Server
from boxwork.testing.served import served

BODY = b"a public picture " * 600
HEADERS = {"content-type": "image/webp", "cache-control": "public, max-age=31536000, immutable", "etag": '"v1"'}
GET = b"GET /hot HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def hot(request: Request) -> Response:
    # the long way says so, which the hot answer does not: that is how the tests tell them apart
    request.app.state.hot.offer(request.scope["raw_path"], "/hot", '"v1"', HEADERS, BODY)
    return Response(BODY, 200, {**HEADERS, "x-way": "long"})


async def echo(request: Request) -> Response:
    return Response(await request.body(), 200, {"x-way": "long"})


@contextlib.contextmanager
def serving(make_work: Any, **settings: Any) -> Iterator[Server]:
    routes = [Route("/hot", hot), Route("/echo", echo, methods=["POST"])]
    work = make_work((Pack("warm", "For the test.", routes=lambda _: list(routes)),), **settings)
    with served(work) as running:
        httpx.get(f"{running.url}/hot")  # fills it
        yield running


@pytest.fixture(scope="module")
def hot_server(make_work: Any) -> Iterator[Server]:
    with serving(make_work, serve__keep_alive_s=1.0, serve__head_s_max=0.5) as running:
        yield running


def connect(server: Server) -> socket.socket:
    where = urlsplit(server.url)
    return socket.create_connection((where.hostname, where.port), timeout=5)


def answer(raw: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer off the wire, by its content-length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = raw.recv(1)
        if not piece:
            raise EOFError(data)
        data += piece
    first, *lines = data.decode("latin-1").strip().split("\r\n")
    status = int(first.split()[1])
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    length = 0 if status == 304 else int(headers.get("content-length", "0"))
    body = b""
    while len(body) < length:
        body += raw.recv(length - len(body))
    return status, headers, body


def test_a_hot_answer_is_whole_and_named(hot_server: Server) -> None:
    with connect(hot_server) as raw:
        ids = set()
        for _ in range(3):
            raw.sendall(GET)
            status, headers, body = answer(raw)
            assert (status, body) == (200, BODY)
            assert "x-way" not in headers
            assert {"etag", "cache-control", "content-type", "date", "x-request-id"} <= headers.keys()
            ids.add(headers["x-request-id"])
        assert len(ids) == 3


@pytest.mark.parametrize(
    "block",
    [
        b"Host: 127.0.0.1\r\nRange: bytes=0-3\r\n",
        b"Host: 127.0.0.1\r\nConnection: close\r\n",
        b"Host: 127.0.0.1\r\nX-Request-Id: mine\r\n",
        b"Host: 127.0.0.1\r\nContent-Length: 0\r\n",
        b"Host: 127.0.0.1\r\nIf-None-Match: *\r\n",
    ],
)
def test_what_is_not_plain_takes_the_long_way(hot_server: Server, block: bytes) -> None:
    assert judge(block) is None
    with connect(hot_server) as raw:
        raw.sendall(b"GET /hot HTTP/1.1\r\n" + block + b"\r\n")
        status, headers, body = answer(raw)
        assert (status, headers["x-way"], body) == (200, "long", BODY)


def test_who_wants_to_speak_websocket_is_heard_by_who_does(hot_server: Server) -> None:
    block = b"Host: 127.0.0.1\r\nConnection: Keep-Alive, Upgrade\r\nUpgrade: websocket\r\n"
    assert judge(block) is None
    with connect(hot_server) as raw:
        raw.sendall(b"GET /hot HTTP/1.1\r\n" + block + b"\r\n")
        status, _, body = answer(raw)
        assert (status, b"Sec-WebSocket-Key" in body) == (400, True)


@pytest.mark.parametrize(
    "block",
    [
        b"", b"Host: a", b"Accept: x\r\n", b"Host: a\r\nHost: b\r\n", b" Host: a\r\n", b"Host : a\r\n",
        b"Host: a\r\n b\r\n",
        b"Host: a\nAccept: b\r\n", b"Host: a\rb\r\n", b"Host: a\0\r\n", b"Host: a\r\n\r\nGET / HTTP/1.1\r\n",
        b"Host: a\r\nTransfer-Encoding: chunked\r\n", b"Host: a\r\nX: y\r\n", b"Host: a\r\nConnection: close\r\n",
    ],
)  # fmt: skip
def test_odd_headers_are_never_judged_plain(block: bytes) -> None:
    assert judge(block) is None


def test_what_the_client_has_is_answered_with_304(hot_server: Server) -> None:
    with connect(hot_server) as raw:
        raw.sendall(GET[:-2] + b'If-None-Match: "old", W/"v1"\r\n\r\n')
        status, headers, body = answer(raw)
        assert (status, body, headers["etag"]) == (304, b"", '"v1"')
        assert "content-type" not in headers
        raw.sendall(GET[:-2] + b'If-None-Match: "old"\r\n\r\n')
        assert answer(raw)[0] == 200


def test_a_body_that_looks_like_a_request_is_a_body(hot_server: Server) -> None:
    with connect(hot_server) as raw:
        raw.sendall(b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(GET))
        time.sleep(0.05)  # so that the body comes as one piece of its own, exactly as a hot request would
        raw.sendall(GET)
        status, headers, body = answer(raw)
        assert (status, headers["x-way"], body) == (200, "long", GET)
        raw.sendall(GET)
        assert "x-way" not in answer(raw)[1]


def test_a_body_that_comes_after_its_answer_is_still_a_body(hot_server: Server) -> None:
    with connect(hot_server) as raw:
        raw.sendall(b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(GET))
        assert answer(raw)[0] == 404
        raw.sendall(GET)
        raw.settimeout(0.3)
        with pytest.raises(TimeoutError):
            raw.recv(1)


def test_a_header_that_looks_like_a_request_is_a_header(hot_server: Server) -> None:
    with connect(hot_server) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Smuggled: ")
        time.sleep(0.05)
        raw.sendall(GET)
        assert b"ok" in answer(raw)[2]


def test_pipelined_requests_are_answered_in_order(hot_server: Server) -> None:
    with connect(hot_server) as raw:
        post = b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\nab"
        raw.sendall(post + GET + post + GET + GET)
        assert [b"ab", BODY, b"ab", BODY, BODY] == [answer(raw)[2] for _ in range(5)]
        raw.sendall(GET)
        assert "x-way" not in answer(raw)[1]


def test_a_request_in_two_pieces_is_one_request(hot_server: Server) -> None:
    with connect(hot_server) as raw:
        for cut in (1, 4, 10, len(GET) - 3):
            raw.sendall(GET[:cut])
            time.sleep(0.03)
            raw.sendall(GET[cut:])
            status, headers, _ = answer(raw)
            assert (status, headers["x-way"]) == (200, "long")
        raw.sendall(b"GET /ho")
        time.sleep(0.03)
        raw.sendall(b"t HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Smuggled: " + GET)
        assert answer(raw)[0] == 200


def test_http_1_0_gets_its_answer_and_the_end(hot_server: Server) -> None:
    with connect(hot_server) as raw:
        raw.sendall(b"GET /hot HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert answer(raw)[2] == BODY
        assert raw.recv(1) == b""


def test_head_has_no_body(hot_server: Server) -> None:
    with connect(hot_server) as raw:
        raw.sendall(b"HEAD /hot HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + GET)
        raw.settimeout(1)
        data = b""
        while data.count(BODY) < 1:
            data += raw.recv(65536)
        assert data.count(b"HTTP/1.1 200") == 2


def test_a_foreign_page_may_not_embed_what_is_hot(hot_server: Server) -> None:
    with connect(hot_server) as raw:
        raw.sendall(GET[:-2] + b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n\r\n")
        assert answer(raw)[0] == 403


def test_a_foreign_host_is_refused_though_it_is_hot(hot_server: Server) -> None:
    with connect(hot_server) as raw:
        raw.sendall(b"GET /hot HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert answer(raw)[0] == 403


@pytest.mark.parametrize(
    "attack",
    [
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET,
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 50\r\n\r\nabcd" + GET,
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n" + GET,
        b"GET /hot HTTP/1.1\nHost: 127.0.0.1\n\n",
        b"GET /hot HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_smuggling_is_not_answered_with_a_second_answer(hot_server: Server, attack: bytes) -> None:
    with connect(hot_server) as raw:
        raw.sendall(attack)
        raw.settimeout(1.5)
        data = b""
        try:
            while piece := raw.recv(65536):
                data += piece
        except TimeoutError:
            pass
        assert data.count(BODY) <= (1 if attack.startswith(b"GET") else 0)


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(hot_server: Server) -> None:
    with connect(hot_server) as silent, connect(hot_server) as busy:
        for _ in range(6):
            busy.sendall(GET)
            answer(busy)
            time.sleep(0.25)
        silent.settimeout(0.5)
        assert silent.recv(1) == b""
        busy.settimeout(3)
        assert busy.recv(1) == b""


def test_a_head_that_never_ends_is_cut(hot_server: Server) -> None:
    with connect(hot_server) as slow, connect(hot_server) as endless:
        slow.sendall(b"GET /hot HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        slow.settimeout(2)
        assert slow.recv(1) == b""
        endless.sendall(b"GET /hot HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 70_000)
        assert answer(endless)[0] == 431


def test_a_slow_reader_does_not_pile_up_answers(make_work: Any) -> None:
    # Sending stops in the middle of a request, so heads must be allowed to be slow here.
    with serving(make_work, serve__head_s_max=60.0) as server, connect(server) as raw:
        raw.settimeout(0.5)
        sent = 0
        try:
            for _ in range(3000):
                raw.sendall(GET)
                sent += 1
        except TimeoutError:
            pass
        # it keeps answering others
        with connect(server) as other:
            other.sendall(GET)
            assert answer(other)[2] == BODY
        raw.settimeout(5)
        for _ in range(50):
            assert answer(raw)[2] == BODY


def test_hot_answers_stay_within_their_bytes() -> None:
    answers = HotAnswers(3000, 2000, lambda *_: lambda _: None, lambda peer, host: True)
    for name in "abcd":
        answers.offer(name.encode(), "/x", '"t"', {}, b"x" * 900)
    assert list(answers.answers) == [b"GET b", b"GET c", b"GET d"]
    kept = answers.get(b"b")
    assert kept is not None
    kept.asked = True
    answers.offer(b"e", "/x", '"t"', {}, b"x" * 900)
    assert list(answers.answers) == [b"GET d", b"GET b", b"GET e"]
    answers.offer(b"big", "/x", '"t"', {}, b"x" * 2001)
    assert answers.get(b"big") is None
    assert answers.bytes_held == sum(len(kept.whole) for kept in answers.answers.values())


def test_what_is_asked_for_stays_and_a_chance_is_given_once() -> None:
    answers = HotAnswers(3000, 2000, lambda *_: lambda _: None, lambda peer, host: True)
    for name in "abc":
        answers.offer(name.encode(), "/x", '"t"', {}, b"x" * 900)
    for kept in answers.answers.values():
        kept.asked = True
    answers.offer(b"d", "/x", '"t"', {}, b"x" * 900)  # all had been asked for: the oldest goes, and all may go next
    assert list(answers.answers) == [b"GET b", b"GET c", b"GET d"]
    answers.offer(b"e", "/x", '"t"', {}, b"x" * 900)
    assert list(answers.answers) == [b"GET c", b"GET d", b"GET e"]


def test_an_answer_larger_than_everything_that_may_be_held_is_not_kept() -> None:
    answers = HotAnswers(1000, 2000, lambda *_: lambda _: None, lambda peer, host: True)
    answers.offer(b"small", "/x", '"t"', {}, b"x" * 100)
    answers.offer(b"large", "/x", '"t"', {}, b"x" * 1500)
    assert list(answers.answers) == [b"GET small"]


def test_what_one_request_was_allowed_another_on_its_connection_is_not(hot_server: Server) -> None:
    plain = b"GET /hot HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: xy\r\n\r\n"
    for block, status in ((b"Host: evil.test\r\nAccept: xy", 403), (b"Host: 127.0.0.1\r\nRange: b=0", 200)):
        with connect(hot_server) as raw:
            odd = b"GET /hot HTTP/1.1\r\n" + block + b"\r\n\r\n"
            assert len(odd) == len(plain)  # nothing but the bytes tells them apart
            for _ in range(2):
                raw.sendall(plain)
                assert "x-way" not in answer(raw)[1]
                raw.sendall(odd)
                found, headers, _ = answer(raw)
                assert (found, headers.get("x-way")) == (status, None if status == 403 else "long")


@pytest.mark.parametrize(
    "line",
    [
        b"GET /hot HTTP/1.1 HTTP/1.1", b"GET  /hot HTTP/1.1", b"GET /hot  HTTP/1.1", b" GET /hot HTTP/1.1",
        b"GET /hot HTTP/1.2", b"get /hot HTTP/1.1", b"GET /hot\tHTTP/1.1", b"GET /hot",
    ],
)  # fmt: skip
def test_an_odd_request_line_is_never_hot(hot_server: Server, line: bytes) -> None:
    with connect(hot_server) as raw:
        raw.sendall(line + b"\r\nHost: 127.0.0.1\r\n\r\n")
        raw.settimeout(1)
        try:
            _, headers, _ = answer(raw)
        except (EOFError, TimeoutError):
            return
        assert "x-request-id" not in headers or headers.get("x-way") == "long"


class Sink(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


def test_a_hot_answer_takes_few_calls_and_judges_a_block_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[bytes] = []
    monkeypatch.setattr(hot_protocol, "judge", lambda block: (judged.append(block), judge(block))[1])
    answers = HotAnswers(10_000, 10_000, lambda *_: [].append, lambda peer, host: True)
    answers.offer(b"/hot", "/hot", '"v1"', HEADERS, b"body")

    async def calls_of_one() -> tuple[int, bytes]:
        made: Any = hot_protocol.hot_protocol(answers, "mark")
        config = uvicorn.Config(lambda scope: None, log_config=None)
        config.load()
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        protocol = made(config, state, {})
        sink = Sink()
        protocol.connection_made(sink)
        for _ in range(3):
            protocol.data_received(GET)
        sink.written = b""
        calls: list[str] = []
        sys.setprofile(lambda frame, event, arg: calls.append(event) if event in ("call", "c_call") else None)
        protocol.data_received(GET)
        sys.setprofile(None)
        protocol.connection_lost(None)
        return len(calls) - 1, sink.written  # the last one is of `setprofile`

    calls, written = asyncio.run(calls_of_one())
    assert written.startswith(b"HTTP/1.1 200 OK\r\ndate: today\r\nx-request-id: mark")
    assert written.endswith(b"\r\n\r\nbody")
    assert 1 == len(judged)
    # what a request costs is calls: two of ours, the two clocks, the transport's three, and the dict, the guard, the
    # hop; a look-up or a copy more shows in bench/edge_hot.py as a twentieth
    assert calls <= 12


def test_hot_requests_are_hops_too(hot_server: Server) -> None:
    app: Any = hot_server.uvicorn.config.app
    series = app.pulse.series("http", route="/hot", method="GET", status="2xx")
    before = series.count
    with connect(hot_server) as raw:
        raw.sendall(GET)
        answer(raw)
    # the hop is recorded behind the answer: sending comes first
    deadline = time.monotonic() + 5
    while series.count == before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert before + 1 == series.count
