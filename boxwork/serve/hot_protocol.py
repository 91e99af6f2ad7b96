"""Answers what is hot inside uvicorn's protocol, before a request becomes a coroutine.

A cached thumbnail costs 7 µs of CPU this way, and about 33 through the application (research/edge.md, 2c).  The
price is care: this code reads HTTP by itself, so it only touches what is exactly one plain GET, alone, between two
messages, with headers it knows; everything else goes to uvicorn untouched, byte for byte.

    between     no message has begun in the parser, so the bytes that come are the begin of one
    alone       nothing is being answered or waiting on this connection, and the bytes hold one message exactly
    plain       every header is in `HARMLESS`, one Host that may come in, no body, no Range, no `Connection: close`

The class also closes what uvicorn leaves open: connections that never send a request, or send its head too slowly
or without end.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, TypeAlias

from boxwork.clock import monotonic_ns
from boxwork.serve.hot import HotAnswers

# Headers that cannot change the answer.  Anything else, known or not, takes the long way.
HARMLESS = frozenset(
    b"host user-agent accept accept-encoding accept-language accept-charset connection referer cookie dnt pragma"
    b" cache-control upgrade-insecure-requests priority save-data purpose sec-purpose sec-gpc sec-fetch-dest"
    b" sec-fetch-mode sec-fetch-site sec-fetch-user sec-fetch-storage-access sec-ch-ua sec-ch-ua-mobile"
    b" sec-ch-ua-platform if-none-match".split()
)
_LINE = re.compile(rb"([A-Za-z-]+):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?[ \t]*")

# Unit: bytes.  A browser's request has 500 to 900; longer ones (cookies) take the long way.
HEAD_BYTES_MAX = 4096
# Header blocks already judged: one browser sends the same block again and again.  Unit: blocks of up to 4 KiB.
BLOCKS_MAX = 1024
# More than this waiting to be read by a slow client: the long way knows how to wait.  Unit: bytes.
UNSENT_BYTES_MAX = 64 * 1024

_OK = b"HTTP/1.1 200 OK\r\n%sx-request-id: %s%08x\r\n"
_UNCHANGED = b"HTTP/1.1 304 Not Modified\r\n%sx-request-id: %s%08x\r\n"
_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: 94\r\n\r\n"
    b'{"error":"limit.size","message":"the request head is too long","retry":"never","details":{}}\r\n'
)

# (host, tags of If-None-Match), or None: not plain
Verdict: TypeAlias = "tuple[str, frozenset[bytes]] | None"


def judge(block: bytes) -> Verdict:
    """Header lines, each with its line end, of one message: is it plain, for which host, and what does it have."""
    host = ""
    tags: frozenset[bytes] = frozenset()
    seen: set[bytes] = set()
    lines = block.split(b"\r\n")
    if lines.pop() != b"":
        return None
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        name, value = found[1].lower(), found[2] or b""
        if name not in HARMLESS or name in seen:
            return None
        seen.add(name)
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"connection" and value.lower() != b"keep-alive":
            return None
        elif name == b"sec-fetch-site" and value == b"cross-site":
            return None  # whether a foreign page may embed this is for the guard to say
        elif name == b"if-none-match":
            tags = frozenset(tag.strip().removeprefix(b"W/") for tag in value.split(b","))
            if b"*" in tags:
                return None
    return (host, tags) if host else None


def hot_protocol(
    answers: HotAnswers, token: str, *, head_s_max: float = 10.0, head_bytes_max: int = 64 * 1024
) -> type[asyncio.Protocol] | None:
    """The protocol class for `uvicorn.run(http=…)`; None where uvicorn is not built as this expects.

    `token` begins the request ids given here, and must differ between processes.
    """
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return None
    expected = ("data_received", "on_message_begin", "on_message_complete", "on_headers_complete", "connection_made",
                "timeout_keep_alive_handler", "connection_lost", "shutdown")  # fmt: skip
    if not all(hasattr(HttpToolsProtocol, name) for name in expected):
        return None

    known: dict[bytes, Verdict] = {}
    mark = token.encode("ascii")
    count = 0
    dated_by: Any = None
    dated = b""

    class HotProtocol(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.between = True
            self.head_whole = True
            self.head_bytes = 0
            self.head_timer: asyncio.TimerHandle | None = None
            self.hot_at = 0.0
            self.peer = self.client[0] if self.client else ""
            # uvicorn begins to count after the first answer; a connection that asks nothing would stay for ever
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_head_timer()
            self._unset_keepalive_if_required()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.between and data[:5] == b"GET /" and self._answer(data):
                return
            self.head_began = False
            super().data_received(data)
            if not self.head_whole:
                # Whole pipelined requests may stand before a head that begins in `data`: it begins behind the last
                # empty line, for no unfinished head has one.
                self._watch_head(len(data) - (data.rfind(b"\r\n\r\n") + 4 if self.head_began else 0))

        def _answer(self, data: bytes) -> bool:
            """Answer if it is hot and plain; False has touched nothing."""
            nonlocal count, dated, dated_by
            began = monotonic_ns()
            end = data.find(b"\r\n", 0, HEAD_BYTES_MAX)
            if end < 0 or data[end - 9 : end] != b" HTTP/1.1":
                return False
            answer = answers.get(data[4 : end - 9])
            cycle = self.cycle
            if (
                answer is None
                or len(data) > HEAD_BYTES_MAX
                or data[-4:] != b"\r\n\r\n"
                or (cycle is not None and not cycle.response_complete)
                or self.pipeline
            ):
                return False
            transport = self.transport
            if transport.is_closing() or transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                return False
            block = data[end + 2 : -2]
            try:
                verdict = known[block]
            except KeyError:
                if len(known) >= BLOCKS_MAX:
                    known.clear()
                verdict = known[block] = judge(block)
            if verdict is None or answers.admits is None or not answers.admits(self.peer, verdict[0]):
                return False
            if self.server_state.default_headers is not dated_by:  # uvicorn makes a new list every second
                dated_by = self.server_state.default_headers
                dated = b"".join(b"%s: %s\r\n" % pair for pair in dated_by)
            count += 1
            if answer.etag in verdict[1]:
                transport.write(_UNCHANGED % (dated, mark, count & 0xFFFFFFFF) + answer.unchanged)
                answer.record_unchanged(monotonic_ns() - began)
            else:
                transport.write(_OK % (dated, mark, count & 0xFFFFFFFF) + answer.whole)
                answer.record_whole(monotonic_ns() - began)
            self.server_state.total_requests += 1
            self.hot_at = self.loop.time()
            return True

        def timeout_keep_alive_handler(self) -> None:
            # Restarting the timer at every hot answer would cost as much as the answer: it looks back instead.
            left = self.hot_at + self.timeout_keep_alive - self.loop.time()
            if left > 0:
                self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
            else:
                super().timeout_keep_alive_handler()

        # --- where in the stream we are

        def on_message_begin(self) -> None:
            self.between = False
            self.head_whole = False
            self.head_began = True
            self.head_bytes = 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self.head_whole = True
            self._stop_head_timer()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self.between = True
            super().on_message_complete()

        def _watch_head(self, came: int) -> None:
            self.head_bytes += came
            if self.head_bytes > head_bytes_max:
                self._stop_head_timer()
                if not self.transport.is_closing():
                    self.transport.write(_TOO_LONG)
                    self.transport.close()
            elif self.head_timer is None:
                self.head_timer = self.loop.call_later(head_s_max, self._head_too_slow)

        def _head_too_slow(self) -> None:
            self.head_timer = None
            if not self.transport.is_closing():
                self.transport.close()

        def _stop_head_timer(self) -> None:
            if self.head_timer is not None:
                self.head_timer.cancel()
                self.head_timer = None

    return HotProtocol
