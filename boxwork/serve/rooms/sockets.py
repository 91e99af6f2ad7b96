"""`/rooms/{room}` over WebSocket: hello, then frames to the member and calls from it.

    member   {"hello": {…claims}, "epoch": "…", "offset": 17}       the last two when it was here before
    node     {"kind": "joined" | "resumed" | "reset", "epoch": …, "offset": …, "facts": […]}
             {"kind": "frame", "offset": 18, "after": 17, "changes": [[key, value], [key deleted], …]}
             {"kind": "present", "count": 3}
    member   {"call": "comment", "id": "7f3a", "inputs": {…}}
    node     {"kind": "answer", "id": "7f3a", "answer": …, "offset": 19}, or "refused" with the error

A message of the node is one or more lines of JSON.  Close codes: see `CLOSES`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from concurrent.futures import CancelledError, Future
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from boxwork.clock import monotonic_ns
from boxwork.errors import BadInput, BoxworkError, Busy, Forbidden, InvariantBroken, TooLarge, TransactionFailed
from boxwork.live.fanout import Member, Parcel
from boxwork.live.inbox import Call, Inbox
from boxwork.serve.inputs import from_json, parameters
from boxwork.serve.readable import readable
from boxwork.serve.rooms.hub import Hub, OpenRoom
from boxwork.serve.rooms.outlets import outlet_of

log = logging.getLogger("boxwork.serve.rooms")

# Code -> (what it means, what a page does).  4000 to 4999 are for applications: RFC 6455, section 7.4.2.
CLOSES = {
    1012: ("the node stops or starts again", "come back"),
    1013: ("too many members or rooms, or another process has the facts", "come back later"),
    4400: ("a first message that is no hello", "is at fault"),
    4403: ("this member may not come in", "asks for what is missing"),
    4404: ("there is no such room", "says so"),
    4408: ("no hello within live.hello_s_max", "is at fault"),
    4500: ("a bug of this node; its log has the details", "come back later"),
}
# A reason fits into a control frame.  Unit: bytes.  Source: RFC 6455, section 5.5.1.
REASON_BYTES_MAX = 123

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Hello(msgspec.Struct, forbid_unknown_fields=True):
    """The first message."""

    hello: dict[str, Any]
    epoch: str = ""
    offset: int = 0


_hello = msgspec.json.Decoder(Hello).decode


def code_of(error: BoxworkError) -> int:
    """The close code for what keeps somebody out."""
    if error.retry == "later":
        return 1013
    return {400: 4400, 403: 4403, 404: 4404}.get(error.status, 4500)


def check_origin(connection: HTTPConnection, origins: str) -> None:
    """A page of another site may not open a room, whoever is signed on in the browser.  Raises `Forbidden`.

    Browsers ask nobody before they open a WebSocket to another site, and send an Origin always; programs send none.
    """
    origin = connection.headers.get("origin")
    known = {one.strip() for one in origins.split(",")}
    if origin is None or origin in known or urlsplit(origin).netloc == connection.headers.get("host", ""):
        return
    raise Forbidden(f"a page of {origin[:80]!r} may not open a room here (setting live.origins)", origin=origin[:80])


async def hub_of(connection: HTTPConnection) -> Hub:
    """The rooms of the node; made at the first connection, in the loop that serves."""
    state = connection.app.state
    if state.rooms is None:
        work = state.work
        state.rooms = Hub(work, [offer for pack in work.packs for offer in pack.rooms])
    hub: Hub = state.rooms
    return hub


class Visit:
    """One connection."""

    def __init__(self, websocket: WebSocket, hub: Hub) -> None:
        self.websocket = websocket
        self.hub = hub
        self.settings = hub.work.settings
        self.outlet = outlet_of(websocket.scope, websocket.send)
        self.inbox = Inbox(
            self.settings.number("live.commands_per_s"),
            self.settings.integer("live.commands_burst"),
            self.settings.integer("live.under_way_max"),
            monotonic_ns(),
        )
        self.bytes_max = self.settings.integer("live.message_bytes_max")
        self.person = ""
        self.given: dict[str, Any] = {}

    async def run(self) -> None:
        websocket, hub = self.websocket, self.hub
        path = websocket.path_params["room"]
        sending: asyncio.Task[None] | None = None
        hub.members += 1
        try:
            offer, fields = hub.find(path)
            if hub.members > hub.members_max:
                raise Busy(f"{hub.members_max} members are connected (setting live.members_max): come back later")
            hello = await self._hello()
            given = await anyio.to_thread.run_sync(offer.admit, hub.work, fields, hello.hello)
            # Whoever has no name is one of many; the connection is one person.
            self.person = str(given.get("person", "")) or f"~{hub.work.clock.token(8)}"
            self.given = {**fields, **given}
            room = await hub.room(offer, path, fields)
            member = Member(self.outlet, 0)
            sending = asyncio.ensure_future(self.outlet.run())
            room.arrive(self.person)
            try:
                offset, text = await room.first_text(hello.epoch, hello.offset)
                await hub.begin(room, member, offset, text)
                await self._listen(room)
            finally:
                room.depart(self.person, member)
        except WebSocketDisconnect:
            pass
        except BoxworkError as reason:
            await self._close(code_of(reason), reason.message)
        except Exception:
            log.exception("a connection met a bug", extra={"room": path[:80]})
            await self._close(4500, "something here is broken; the log has the details")
        finally:
            hub.members -= 1
            self.outlet.closed = True
            if sending is not None:
                sending.cancel()
                await asyncio.wait({sending})

    async def _hello(self) -> Hello:
        wait_s = self.settings.number("live.hello_s_max")
        try:
            text = await asyncio.wait_for(self._receive(), wait_s)
        except TimeoutError:
            await self._close(4408, f"no hello came within {wait_s:g} s")
            raise WebSocketDisconnect(4408) from None
        try:
            return _hello(text)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as fault:
            raise BadInput(f'the first message is {{"hello": {{…}}}}: {fault}') from None

    async def _receive(self) -> str:
        message = await self.websocket.receive()
        if message["type"] != "websocket.receive":
            raise WebSocketDisconnect(message.get("code", 1005))
        text = message.get("text")
        if text is None:
            text = (message.get("bytes") or b"").decode("utf-8", "replace")
        if len(text) > self.bytes_max:
            raise TooLarge(f"a message has up to {self.bytes_max} bytes (setting live.message_bytes_max)")
        return text

    async def _listen(self, room: OpenRoom) -> None:
        while True:
            text = await self._receive()
            number = ""
            try:
                call = self.inbox.read(text)
                number = call.id
                self._call(room, call)
            except BoxworkError as reason:
                self._refuse(number, reason)

    def _call(self, room: OpenRoom, call: Call) -> None:
        box = next((box for box in room.offer.calls if box.name == call.call), None)
        if box is None:
            known = ", ".join(box.name for box in room.offer.calls) or "none"
            raise BadInput(f"there is no call {call.call[:80]!r} in this room; there are: {known}")
        taken = parameters(box)
        # What the house knows of a member stands before what the member says.
        ours = {name: value for name, value in self.given.items() if name in taken}
        inputs = {**from_json_without(box, call.inputs, ours), **ours}
        self.inbox.begin(monotonic_ns())
        try:
            future = self.hub.work.commit_soon(
                box, once=f"{room.path} {self.person} {call.id}", who=self.person[:64], **inputs
            )
        except BaseException:
            self.inbox.end()
            raise
        future.add_done_callback(functools.partial(self._done, call.id, box.name))

    def _done(self, number: str, name: str, future: Future[Any]) -> None:
        """Called by the log's thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: the commit stands, its answer has no reader
            self.hub.loop.call_soon_threadsafe(self._answer, number, name, future)

    def _answer(self, number: str, name: str, future: Future[Any]) -> None:
        self.inbox.end()
        try:
            answer, receipt = future.result()
        except BoxworkError as reason:
            self._refuse(number, reason)
        except (InvariantBroken, CancelledError):
            raise
        except Exception as reason:  # in process it comes out as it is
            self._refuse(number, TransactionFailed(f"{name} raised {type(reason).__name__}: {reason}"))
        else:
            told = {"kind": "answer", "id": number, "answer": readable(answer), "offset": receipt.version}
            self.outlet.write(Parcel([_encode(told)]))

    def _refuse(self, number: str, reason: BoxworkError) -> None:
        told = {**reason.as_json(), "details": readable(reason.details)}
        self.outlet.write(Parcel([_encode({"kind": "refused", "id": number, **told})]))

    async def _close(self, code: int, reason: str) -> None:
        short = reason.encode()[:REASON_BYTES_MAX].decode("utf-8", "ignore")
        with contextlib.suppress(Exception):  # it is gone already
            await self.websocket.close(code, short)


def from_json_without(box: Any, given: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """The inputs that a member gives.  Raises `BadInput`; what the house gives is no member's to say."""
    if said := sorted(set(given) & set(ours)):
        raise BadInput(f"{box.name}: {', '.join(said)} cannot be said, it is known from who you are and where")
    return from_json(box, given, known_already=frozenset(ours))


async def visit(websocket: WebSocket) -> None:
    """`/rooms/{room}`"""
    try:
        check_origin(websocket, websocket.app.state.work.settings.text("live.origins"))
    except Forbidden as reason:
        await websocket.close(1008, reason.message[:REASON_BYTES_MAX])  # before it is accepted: a 403
        return
    await websocket.accept()
    await Visit(websocket, await hub_of(websocket)).run()


def routes(work: Any) -> list[BaseRoute]:
    if not any(pack.rooms for pack in work.packs):
        return []
    return [WebSocketRoute("/rooms/{room:path}", visit)]
