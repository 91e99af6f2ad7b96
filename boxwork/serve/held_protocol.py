"""Holds questions inside uvicorn's protocol: no coroutine, task or timer for a host that waits for news.

A question that ends without news costs a quarter of the CPU this way (docs/decisions/0033).  The price is care, as for
`hot_protocol`, on which this class stands: it reads HTTP by itself, so it touches what is exactly one plain POST,
alone, between two messages.  Everything else goes to uvicorn untouched, byte for byte, and so does a question in the
middle of its wait when anything is unusual: more bytes come, or the endpoint hands it back.

    offered     an endpoint that was asked the long way offers an `Asker` for addresses that begin with its prefix
    held        the asker has answered with a `Waiter`; the bytes of the question are kept until it is answered
    handed back the long way is asked with these bytes, so an asker does only what may be done twice
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeAlias

from starlette.requests import HTTPConnection

from boxwork.serve.hot import Admits

# Unit: bytes.  An agent's question has 300 to 600; longer heads take the long way.
HEAD_BYTES_MAX = 4096
# Reports come along; what is larger is rare, and uvicorn knows how to wait for it.  Unit: bytes.
BODY_BYTES_MAX = 64 * 1024
# More than this waiting to be read by a slow client: the long way knows how to wait.  Unit: bytes.
UNSENT_BYTES_MAX = 64 * 1024
# Headers that cannot change the answer, or are read here.  Anything else, known or not, takes the long way: what
# a browser says of pages (Origin, Sec-Fetch-Site) and a proxy of clients (X-Forwarded-For), for example.
HARMLESS = frozenset(
    b"host user-agent accept accept-encoding accept-language connection content-type content-length authorization"
    b" cache-control pragma".split()
)
_LINE = re.compile(rb"([A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?[ \t]*")
_TARGET = re.compile(rb"(/[A-Za-z0-9._~/-]*)\?([A-Za-z0-9._~:&=/-]*)")
_LENGTH = re.compile(rb"[0-9]{1,6}")


class Plain(NamedTuple):
    """One plain question: `POST path?query` with a body; nothing of it is quoted."""

    path: str
    query: str
    body: bytes


class Line(Protocol):
    """The connection on which a question is held.  Nothing happens after its end."""

    def answer(self, first: bytes, headers: bytes, body: bytes) -> None:
        """`first` is status and phrase, `headers` whole lines, the content length among them if there is a body."""

    def take_long_way(self) -> None:
        """Ask the endpoint, as if the question came only now."""


class Waiter(Protocol):
    """A question that is held; whoever made it answers on its `Line` some time."""

    def lost(self) -> None:
        """The host hung up; or it said more before it was answered, and the long way is asked."""

    def let_go(self) -> None:
        """Answer now: the server stops."""


# None: the long way, please.  Raises nothing.
Asker: TypeAlias = Callable[[Line, Plain], "Waiter | None"]


class Head(NamedTuple):
    """Header lines that were found plain."""

    host: str
    length: int
    headers: list[tuple[bytes, bytes]]


class Held:
    """Which addresses are held, and who may ask them: whom a door lets in or, like the guard, `admits`."""

    def __init__(self, doors: Iterable[Callable[[HTTPConnection], bool]], admits: Admits | None) -> None:
        self.doors = tuple(doors)
        self.admits = admits
        self.askers: dict[bytes, Asker] = {}

    def offer(self, prefix: str, asker: Asker) -> None:
        """From now on questions below `prefix` are given to `asker` first."""
        self.askers[prefix.encode("ascii")] = asker

    def asker_of(self, target: bytes) -> Asker | None:
        for prefix, asker in self.askers.items():
            if target.startswith(prefix):
                return asker
        return None

    def may_come_in(self, peer: str, path: str, head: Head) -> bool:
        connection = HTTPConnection({"type": "http", "path": path, "headers": head.headers})
        if any(door(connection) for door in self.doors):
            return True
        return self.admits is not None and self.admits(peer, head.host)


def judge(block: bytes) -> Head | None:
    """Header lines, each with its line end, of one question: None if it is not plain."""
    lines = block.split(b"\r\n")
    if lines.pop() != b"":
        return None
    found: dict[bytes, bytes] = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        name = match[1].lower()
        if name not in HARMLESS or name in found:
            return None
        found[name] = match[2] or b""
    length = found.get(b"content-length", b"")
    if not found.get(b"host") or not _LENGTH.fullmatch(length):
        return None
    if found.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return Head(found[b"host"].decode("ascii"), int(length), list(found.items()))


def held_protocol(hot: type[Any], held: Held, token: str) -> type[asyncio.Protocol]:
    """The protocol class of `hot_protocol` that holds questions, too.  `token` begins the request ids given here."""
    mark = token.encode("ascii")
    count = 0

    class HeldProtocol(hot):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.waiter: Waiter | None = None
            self.kept = b""  # a question that is held, or one whose body is not whole yet
            self.block = b""
            self.head: Head | None = None

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def shutdown(self) -> None:
            if self.waiter is not None:
                self.waiter.let_go()
            super().shutdown()

        def data_received(self, data: bytes) -> None:
            second = bool(self.kept)
            if second:
                is_held = self.waiter is not None
                data = self._forget() + data
                if is_held:  # something behind a question: uvicorn has a queue for it
                    super().data_received(data)
                    return
            if not (self.between and data[:6] == b"POST /" and held.askers and self._ask(data, second)):
                super().data_received(data)

        def _ask(self, data: bytes, second: bool) -> bool:
            """Hold it, or wait for the rest of its body; False has touched nothing."""
            end = data.find(b"\r\n", 0, HEAD_BYTES_MAX)
            if end < 0 or data[end - 9 : end] != b" HTTP/1.1":
                return False
            asker = held.asker_of(data[5 : end - 9])
            last = data.find(b"\r\n\r\n", end, HEAD_BYTES_MAX)
            cycle = self.cycle
            if asker is None or last < 0 or self.pipeline or (cycle is not None and not cycle.response_complete):
                return False
            target = _TARGET.fullmatch(data, 5, end - 9)
            block = data[end + 2 : last + 2]
            if block != self.block:  # a host says the same with every question, its token included
                self.block, self.head = block, judge(block)
            head = self.head
            if target is None or head is None or head.length > BODY_BYTES_MAX:
                return False
            begin = last + 4
            if len(data) - begin != head.length:
                # An agent sends its reports in a piece of their own.
                if second or len(data) - begin > head.length:
                    return False
                self.kept = data
                return True
            transport = self.transport
            if transport.is_closing() or transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                return False
            path = target[1].decode("ascii")
            if not held.may_come_in(self.peer, path, head):
                return False
            self.waiter = asker(self, Plain(path, target[2].decode("ascii"), data[begin:]))
            if self.waiter is None:
                return False
            self.kept = data
            self._unset_keepalive_if_required()
            return True

        def _forget(self) -> bytes:
            """Nothing is held any more; the bytes of what was."""
            waiter, kept = self.waiter, self.kept
            self.waiter, self.kept = None, b""
            if waiter is not None:
                waiter.lost()
            return kept

        def answer(self, first: bytes, headers: bytes, body: bytes) -> None:
            nonlocal count
            if self.waiter is None or self.transport.is_closing():
                return
            self.waiter, self.kept = None, b""
            count += 1
            dated = b"".join([b"%s: %s\r\n" % pair for pair in self.server_state.default_headers])
            self.transport.write(
                b"HTTP/1.1 %s\r\n%sx-request-id: %s%08x\r\nx-content-type-options: nosniff\r\n%s\r\n%s"
                % (first, dated, mark, count & 0xFFFFFFFF, headers, body)
            )
            self.server_state.total_requests += 1
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

        def take_long_way(self) -> None:
            if self.waiter is not None:
                super().data_received(self._forget())

        def timeout_keep_alive_handler(self) -> None:
            if self.kept:  # the rest of a body has not come: uvicorn may wait for it
                super().data_received(self._forget())
            else:
                super().timeout_keep_alive_handler()

    return HeldProtocol
