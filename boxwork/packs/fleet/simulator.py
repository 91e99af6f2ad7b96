"""Thousands of simulated hosts in one process: what a server is measured with.

Each host has a connection of its own and does on it what an agent does: it asks with the digest it has and with what
it has to report, waits, takes a document with its blobs, fetches those that are lacking, asks again.  It checks no
signature and writes nothing down, because what is measured is the server.
`python -m boxwork.packs.fleet.simulator '{"url": "http://127.0.0.1:8000", "hosts": 5000}'` prints one JSON line an
event; times are the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from boxwork import Ref, clock, errors, ref_of, tree
from boxwork.packs.fleet.protocol import Desired, Report, read_document, read_parcel

# Descriptors beside those of the connections.
SPARE_FILES = 100
# A host that lost its connection comes again after up to so long.  Unit: s.
AGAIN_S = 1.0


class Order(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a crowd is.

    prefix   host n is called `{prefix}{n:05}`
    ramp_s   the first questions are spread over so long
    blobs    fetch what a version needs and the host lacks; without it a document alone is a version
    bad      release (as text) → the reason for which it is not healthy: such a host reports `failed` and stays
    slow     release (as text) → how many milliseconds its health probe took, as it reports
    seed     of the jitter, so that a run can be repeated
    """

    url: str
    hosts: int
    prefix: str = "host-"
    wait_s: float = 30.0
    ramp_s: float = 2.0
    blobs: bool = True
    token: str = ""
    bad: dict[str, str] = {}
    slow: dict[str, float] = {}
    seed: int = 1


class Event(msgspec.Struct, omit_defaults=True):
    """Something that happened to a host: `asked` (its first question is out), `applied`, `failed`, `lost`."""

    event: str
    host: str
    at_ns: int
    position: int = 0
    release: int = 0
    blobs: int = 0


class Line(asyncio.Protocol):
    """One connection: a request, then one answer with its length; nothing is pipelined."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._data[:end]).lower()
        start = head.find(b"content-length:")
        length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
        status = int(head[9:12])
        if status == 304:
            length = 0
        if len(self._data) < end + 4 + length:
            return
        body = bytes(self._data[end + 4 : end + 4 + length])
        del self._data[: end + 4 + length]
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result((status, body))

    def connection_lost(self, reason: Exception | None) -> None:
        self.transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the server closed the connection"))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer.  Raises `ConnectionResetError`."""
        return await self.begin(request)

    def begin(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """The question is out when this returns; the answer is awaited."""
        if self.transport is None:
            raise ConnectionResetError("there is no connection")
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiting


class Crowd:
    """All hosts of an order; `events` is called with each event."""

    def __init__(self, order: Order, events: Callable[[Event], None]) -> None:
        parts = urlsplit(order.url)
        if parts.scheme != "http" or not parts.hostname:
            raise errors.BadInput(f"{order.url!r} is not an address that a crowd can ask: write http://name:port")
        self._address = (parts.hostname, parts.port or 80)
        self._order = order
        self._events = events
        self._chance = random.Random(order.seed)
        token = f"Authorization: Bearer {order.token}\r\n" if order.token else ""
        self._head = f" HTTP/1.1\r\nHost: {parts.netloc}\r\n{token}"

    async def run(self) -> None:
        """Until it is cancelled."""
        _allow_files(self._order.hosts + SPARE_FILES)
        await asyncio.gather(*(self._live(f"{self._order.prefix}{n:05}") for n in range(self._order.hosts)))

    async def _live(self, host: str) -> None:
        await asyncio.sleep(self._order.ramp_s * self._chance.random())
        state = _State(host)
        while True:
            with contextlib.suppress(OSError):
                await self._talk(state)
            self._tell("lost", state)
            await asyncio.sleep(AGAIN_S * self._chance.random())

    async def _talk(self, state: _State) -> None:
        loop = asyncio.get_running_loop()
        transport, line = await loop.create_connection(Line, *self._address)
        try:
            while True:
                wait_s = self._order.wait_s * (1 - 0.2 * self._chance.random())
                path = f"/fleet/hosts/{state.host}?digest={state.digest}&wait_s={wait_s:.3f}&tree={state.tree}"
                said, state.said = state.said or b"[]", b""
                head = f"POST {path}{self._head}Content-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n"
                answer = line.begin(head.encode() + said)
                if not state.asked:
                    state.asked = True
                    self._tell("asked", state)
                status, body = await answer
                if status == 200:
                    await self._take(line, state, body)
                elif status != 304:
                    state.said = said if said != b"[]" else b""
                    await asyncio.sleep(AGAIN_S * (0.5 + self._chance.random()))
        finally:
            transport.close()

    async def _take(self, line: Line, state: _State, body: bytes) -> None:
        signed, blobs = read_parcel(body)
        desired = read_document(signed)
        fetched = await self._fetch(line, state, desired.tree, blobs) if self._order.blobs else 0
        reason = self._order.bad.get(str(desired.release), "")
        state.digest = signed.digest
        if not reason:
            state.position, state.release, state.tree = desired.position, desired.release, desired.tree
        state.said = msgspec.json.encode([self._report(state, desired, reason)])  # goes with the next question
        self._tell("failed" if reason else "applied", state, desired, fetched)

    def _report(self, state: _State, desired: Desired, reason: str) -> Report:
        return Report(
            host=state.host,
            epoch=desired.epoch,
            position=state.position,
            release=state.release,
            tree=state.tree,
            digest=state.digest,
            state="failed" if reason else "applied",
            wanted=state.digest if reason else "",
            wanted_position=desired.position if reason else 0,
            reason=reason,
            effect="reload",
            health_ms=self._order.slow.get(str(desired.release), 1.0),
            agent="simulated",
        )

    async def _fetch(self, line: Line, state: _State, ref: str, blobs: list[bytes]) -> int:
        """Get what this host lacks of a tree and what did not come with its document; how many blobs were new."""
        if ref in state.have:
            return 0
        if not blobs:
            path = f"/fleet/hosts/{state.host}/blobs?not={state.tree}"
            status, body = await line.ask(f"GET {path}{self._head}\r\n".encode())
            blobs = msgspec.msgpack.decode(body, type=list[bytes]) if status == 200 else []
        pack = {str(ref_of(blob)): blob for blob in blobs}
        fetched, todo = 0, [(ref, True)]
        while todo:
            here, is_tree = todo.pop()
            if here in state.have:
                continue
            data = pack.get(here)
            if data is None:
                path = f"/fleet/hosts/{state.host}/blobs/{here}"
                status, data = await line.ask(f"GET {path}{self._head}\r\n".encode())
                if status != 200:
                    raise ConnectionResetError(f"the blob {here} was answered with {status}")
            fetched += 1
            state.have.add(here)
            if is_tree:
                entries = tree.decode(data, Ref.parse(here))
                todo += [(entry.content, entry.kind == "directory") for entry in entries if entry.kind != "symlink"]
        return fetched

    def _tell(self, event: str, state: _State, desired: Desired | None = None, blobs: int = 0) -> None:
        position, release = (desired.position, desired.release) if desired is not None else (0, 0)
        self._events(Event(event, state.host, clock.monotonic_ns(), position, release, blobs))


class _State:
    """What one simulated host has."""

    __slots__ = ("asked", "digest", "have", "host", "position", "release", "said", "tree")

    def __init__(self, host: str) -> None:
        self.host = host
        self.digest = ""
        self.said = b""  # reports for the next question
        self.position = self.release = 0
        self.tree = ""
        self.have: set[str] = set()
        self.asked = False


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise errors.BadInput(f"{count} open files are needed, this process may have {hard}: raise `ulimit -Hn`")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def main(arguments: list[str]) -> None:
    """A crowd until the process is ended."""
    order = msgspec.json.decode(arguments[0], type=Order)
    encode: Any = msgspec.json.Encoder().encode

    def write(event: Event) -> None:
        sys.stdout.buffer.write(encode(event) + b"\n")
        sys.stdout.buffer.flush()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Crowd(order, write).run())


if __name__ == "__main__":
    main(sys.argv[1:])
