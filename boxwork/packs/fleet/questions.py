"""What a host asks, and asks again: what shall I be?  Held until there is news.

The question brings the host's reports and the answer takes the blobs along, so a change is one question a host.  5,000
of them come within a second: nothing here is made for one host that could be made for all, and no thread is woken.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any
from urllib.parse import parse_qsl

import anyio
import msgspec
from starlette.types import Message, Receive, Scope, Send

from boxwork import Ref, errors
from boxwork.packs.fleet import protocol
from boxwork.packs.fleet.reporting import Reporting
from boxwork.packs.fleet.waiting import Waiting, end

# Reports in JSON.  Unit: bytes; 100 paths of drift with long names are 30 KiB.
BODY_BYTES_MAX = 512 * 1024
MSGPACK, JSON = b"application/msgpack", b"application/json"


class Questions:
    """One event loop's questions, over one desk."""

    def __init__(self, desk: Any) -> None:
        settings = desk.work.settings
        self.desk = desk
        self.app: Any = None
        self.waiting = Waiting(
            settings.integer("fleet.waiting_max"), lambda: bool(self.app and self.app.state.stopping)
        )
        self.wait_s_max = min(settings.number("fleet.wait_s_max"), protocol.WAIT_S_MAX)
        self.reporting = Reporting(desk.work, settings.integer("fleet.reports_max"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /fleet/hosts/{host}?digest=&wait_s=&tree=`, or `GET` without reports and blobs."""
        fleet = self.desk.fleet if self.desk.running else await anyio.to_thread.run_sync(self.desk.begin)
        host: str = scope["path_params"]["host"]
        query = fields_of(scope["query_string"].decode("latin-1"))
        has = query.get("digest", "") or _tag(scope)
        wait_s = min(seconds(query.get("wait_s", "0"), "wait_s"), self.wait_s_max)
        tree: str | None = None
        written: asyncio.Future[None] | None = None
        if scope["method"] == "POST":
            tree = query.get("tree", "")
            if tree:
                Ref.parse(tree)
            if said := protocol.read_reports(await whole_body(receive, BODY_BYTES_MAX)):
                written = self.reporting.hand_in([of_host(report, host) for report in said])
        signed = fleet.desired(host, followed=wait_s > 0)
        if wait_s > 0 and (signed is None or signed.digest == has):
            self.app = scope["app"]
            self.app.not_counted(scope)
            if not await self._hold(host, has, wait_s, receive, written):
                return
            signed = fleet.desired(host, followed=True)
        if written is not None:
            await written
        await send_answer(send, *answer_of(fleet, host, signed, has, tree))

    async def _hold(
        self, host: str, has: str, wait_s: float, receive: Receive, written: asyncio.Future[None] | None
    ) -> bool:
        """Until there is news, the time is over, or the server stops; False if the host hung up."""
        limit = asyncio.timeout(wait_s)
        try:
            async with limit:
                self.waiting.hold(host, limit)
                signed = self.desk.fleet.desired(host, followed=True)  # what came between the first look and the hold
                if signed is None or signed.digest == has:
                    if written is not None:
                        written.add_done_callback(functools.partial(_end_if_failed, limit))
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    return False
        except TimeoutError:
            pass
        finally:
            self.waiting.leave(host, limit)
        return True


def _end_if_failed(limit: asyncio.Timeout, written: asyncio.Future[None]) -> None:
    """A report that could not be written is told at once, not after the wait."""
    if not written.cancelled() and written.exception() is not None:
        end(limit)


def answer_of(
    fleet: Any, host: str, signed: protocol.Signed | None, has: str, tree: str | None
) -> tuple[int, bytes, bytes, str]:
    """Status, kind, bytes and tag of the answer; `tree` is the one the host has, None if it wants no blobs."""
    if signed is None:
        raise errors.NotFound(
            f"{host} is in no release: add its row to the source, and roll that version out", host=host
        )
    if signed.digest == has:
        return 304, b"", b"", has
    if tree is None:
        return 200, JSON, msgspec.json.encode(signed), signed.digest
    parcel = protocol.Parcel(signed, fleet.blobs_of(host, tree))
    return 200, MSGPACK, msgspec.msgpack.encode(parcel), signed.digest


async def send_answer(send: Send, status: int, kind: bytes, body: bytes, tag: str) -> None:
    """A document is of now, and only for the host it is for."""
    headers = [(b"etag", b'"%s"' % tag.encode("latin-1", "replace")), (b"cache-control", b"private, no-cache")]
    if status == 200:
        headers += [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def whole_body(receive: Receive, bytes_max: int) -> bytes:
    """The body of a request, within the limit."""
    body = b""
    more = True
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.BadInput("the body broke off")
        body += message.get("body", b"")
        if len(body) > bytes_max:
            raise errors.TooLarge(f"the body has more than {bytes_max:,} bytes")
        more = message.get("more_body", False)
    return body


def fields_of(query: str) -> dict[str, str]:
    """The fields of a query; what a host asks has nothing to be unquoted, and splitting it is four times faster."""
    if "%" in query or "+" in query:
        return dict(parse_qsl(query))
    return dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)


def of_host(report: protocol.Report, host: str) -> protocol.Report:
    """The report, if it is of the host to whose address it came."""
    if report.host != host:
        raise errors.BadInput(f"a report of {report.host!r} came to the address of {host!r}")
    return report


def seconds(text: str, name: str) -> float:
    try:
        value = float(text)
        if 0 <= value <= 86_400:
            return value
    except ValueError:
        pass
    raise errors.BadInput(f"{name}={text[:20]!r}: a number of seconds, please")


def _tag(scope: Scope) -> str:
    return next(
        (value.decode("latin-1").strip('"') for name, value in scope["headers"] if name == b"if-none-match"), ""
    )
