"""Answers what is hot inside uvicorn's protocol, before a request becomes a coroutine.

A cached thumbnail costs as much CPU this way as from nginx with sendfile, and an eighth of the way through the
application (bench/edge_hot.py).  More than half of it is the kernel's; the rest is calls, and a test counts them.  The
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

from boxwork.clock import SECOND_NS, monotonic_ns
from boxwork.serve.hot import HotAnswer, HotAnswers

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

_VERSION = b" HTTP/1.1\r\n"
_OK = b"HTTP/1.1 200 OK\r\n%sx-request-id: %s"
_UNCHANGED = b"HTTP/1.1 304 Not Modified\r\n%sx-request-id: %s"
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
    find = answers.answers.get  # two calls less than `answers.get`; the dict stays the same one
    mark = token.encode("ascii")
    count = 0
    dated_by: Any = None
    ok = unchanged = b""

    def judged(block: bytes) -> Verdict:
        """`judge`, remembered."""
        try:
            return known[block]
        except KeyError:
            if block[-4:] != b"\r\n\r\n":
                return None
            if len(known) >= BLOCKS_MAX:
                known.clear()
            verdict = known[block] = judge(block[:-2])
            return verdict

    class HotProtocol(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.between = True
            self.head_whole = True
            self.head_bytes = 0
            self.head_timer: asyncio.TimerHandle | None = None
            self.hot_at_ns = 0
            self.block = b""
            self.verdict: Verdict = None
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
            if self.between and len(data) <= HEAD_BYTES_MAX:
                # One search and one look-up tell what is not hot: an odd line, also one with more in it, is no key.
                line, _, block = data.partition(_VERSION)
                answer = find(line)
                if answer is not None and self._answer(answer, block):
                    return
            self.head_began = False
            super().data_received(data)
            if not self.head_whole:
                # Whole pipelined requests may stand before a head that begins in `data`: it begins behind the last
                # empty line, for no unfinished head has one.
                self._watch_head(len(data) - (data.rfind(b"\r\n\r\n") + 4 if self.head_began else 0))

        def _answer(self, answer: HotAnswer, block: bytes) -> bool:
            """Answer if the message is plain and alone; False has touched nothing.  `block` comes behind its line."""
            nonlocal count, dated_by, ok, unchanged
            began_ns = monotonic_ns()
            cycle = self.cycle
            if (cycle is not None and not cycle.response_complete) or self.pipeline:
                return False
            transport = self.transport
            if transport.is_closing() or transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                return False
            if block != self.block:  # one browser sends the same block again and again
                self.verdict, self.block = judged(block), block
            verdict = self.verdict
            if verdict is None or answers.admits is None or not answers.admits(self.peer, verdict[0]):
                return False
            if self.server_state.default_headers is not dated_by:  # uvicorn makes a new list every second
                dated_by = self.server_state.default_headers
                dated = b"".join(b"%s: %s\r\n" % pair for pair in dated_by)
                ok, unchanged = _OK % (dated, mark), _UNCHANGED % (dated, mark)
            count += 1
            answer.asked = True
            if answer.etag in verdict[1]:
                transport.write(b"%b%08x\r\n%b" % (unchanged, count & 0xFFFFFFFF, answer.unchanged))
                answer.record_unchanged(monotonic_ns() - began_ns)
            else:
                transport.write(b"%b%08x\r\n%b" % (ok, count & 0xFFFFFFFF, answer.whole))
                answer.record_whole(monotonic_ns() - began_ns)
            self.server_state.total_requests += 1
            self.hot_at_ns = began_ns
            return True

        def timeout_keep_alive_handler(self) -> None:
            # Restarting the timer at every hot answer would cost as much as the answer: it looks back instead.
            left = self.timeout_keep_alive - (monotonic_ns() - self.hot_at_ns) / SECOND_NS
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
