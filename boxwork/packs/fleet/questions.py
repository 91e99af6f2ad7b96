"""What a host asks, and asks again: what shall I be?  Held until there is news.

The question brings the host's reports and the answer takes the blobs along, so a change is one question a host.  5,000
of them come within a second: nothing here is made for one host that could be made for all, and no thread is woken.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Protocol
from urllib.parse import parse_qsl

import anyio
import msgspec
from starlette.types import Message, Receive, Scope, Send

from boxwork import Ref, errors
from boxwork.packs.fleet import protocol
from boxwork.packs.fleet.fleet import Told
from boxwork.packs.fleet.reporting import Reporting
from boxwork.packs.fleet.waiting import Limit, Waiter, Waiting

# Reports in JSON.  Unit: bytes; 100 paths of drift with long names are 30 KiB.
BODY_BYTES_MAX = 512 * 1024
# Addresses of hosts, and what is held the short way at least so long: ten looks of `waiting`.  Unit: s.
PREFIX = "/fleet/hosts/"
SHORT_S = 5.0
MSGPACK, JSON = b"application/msgpack", b"application/json"


class Line(Protocol):
    """The connection of a question that is held the short way (`serve.held_protocol.Line`)."""

    def answer(self, first: bytes, headers: bytes, body: bytes) -> None: ...

    def take_long_way(self) -> None: ...


class Questions:
    """One event loop's questions, over one desk.

    Both ways end in `answer_of`.  The long one is a coroutine below the edge, and answers whatever is asked.  The
    short one, `hold_plain`, is called inside the server's protocol by `held_protocol`, and takes only who has to wait.
    """

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
        self._offer_the_short_way(scope["app"])
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
        told = fleet.told(host, followed=wait_s > 0)
        if wait_s > 0 and (told is None or told.digest == has):
            self.app.not_counted(scope)
            if not await self._hold(host, has, wait_s, receive, written):
                return
            told = fleet.told(host, followed=True)
        if written is not None:
            await written
        await send_answer(send, *answer_of(fleet, host, told, has, tree))

    async def _hold(
        self, host: str, has: str, wait_s: float, receive: Receive, written: asyncio.Future[None] | None
    ) -> bool:
        """Until there is news, the time is over, or the server stops; False if the host hung up."""
        limit = asyncio.timeout(wait_s)
        waiter = Limit(limit)
        try:
            async with limit:
                self.waiting.hold(host, waiter)
                told = self.desk.fleet.told(host, followed=True)  # what came between the first look and the hold
                if told is None or told.digest == has:
                    if written is not None:
                        written.add_done_callback(functools.partial(_let_go_if_failed, waiter))
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    return False
        except TimeoutError:
            pass
        finally:
            self.waiting.leave(host, waiter)
        return True

    # --- the short way

    def _offer_the_short_way(self, app: Any) -> None:
        if self.app is not app:
            self.app = app
            self.waiting.begin()
            app.state.held.offer(PREFIX, self.hold_plain)

    def hold_plain(self, line: Line, asked: Any) -> Question | None:
        """The same question without a coroutine, if its host has to wait; None, and nothing is done, if it has not.

        Whatever is wrong with it is left to the long way, which says so.  A report that is handed in twice is one.
        """
        try:
            host = asked.path[len(PREFIX) :]
            query = fields_of(asked.query)
            has, tree = query["digest"], query["tree"]
            wait_s = min(seconds(query["wait_s"], "wait_s"), self.wait_s_max)
            told = self.desk.fleet.told(host, followed=True)
            # A short wait is seldom; it gets a timer of its own.
            if told is None or told.digest != has or wait_s < SHORT_S or self.waiting.is_full:
                return None
            if tree and tree != told.tree:
                Ref.parse(tree)
            said = [of_host(report, host) for report in protocol.read_reports(asked.body)]
            question = Question(self, line, host, has, tree)
            if said:
                question.written = self.reporting.hand_in(said)
                question.written.add_done_callback(functools.partial(_let_go_if_failed, question))
        except (KeyError, errors.BoxworkError):
            return None
        self.waiting.hold(host, question, wait_s)
        return question


class Question:
    """One question that is held the short way: a waiter of the protocol's and of `waiting`."""

    __slots__ = ("has", "host", "line", "questions", "tree", "written")

    def __init__(self, questions: Questions, line: Line, host: str, has: str, tree: str) -> None:
        self.questions = questions
        self.line: Line | None = line
        self.host = host
        self.has = has
        self.tree = tree
        self.written: asyncio.Future[None] | None = None

    def let_go(self) -> None:
        self.questions.waiting.leave(self.host, self)
        if self.written is None or self.written.done():
            self._answer()
        else:  # what was said is on disk before its answer goes out
            self.written.add_done_callback(self._answer)

    def lost(self) -> None:
        self.questions.waiting.leave(self.host, self)
        self.line = None

    def _answer(self, _: object = None) -> None:
        line = self.line
        if line is None:
            return
        fleet = self.questions.desk.fleet
        try:
            if self.written is not None:
                self.written.result()
            told = fleet.told(self.host, followed=True)
            status, kind, body, tag = answer_of(fleet, self.host, told, self.has, self.tree)
        except Exception:  # the long way meets it again, and has words and a log for it
            line.take_long_way()
            return
        self.line = None
        headers = b'etag: "%s"\r\ncache-control: private, no-cache\r\n' % tag.encode("ascii")
        if status == 304:
            line.answer(b"304 Not Modified", headers, b"")
        else:
            line.answer(b"200 OK", b"%scontent-type: %s\r\ncontent-length: %d\r\n" % (headers, kind, len(body)), body)


def _let_go_if_failed(waiter: Waiter, written: asyncio.Future[None]) -> None:
    """A report that could not be written is told at once, not after the wait."""
    if not written.cancelled() and written.exception() is not None:
        waiter.let_go()


def answer_of(fleet: Any, host: str, told: Told | None, has: str, tree: str | None) -> tuple[int, bytes, bytes, str]:
    """Status, kind, bytes and tag of the answer; `tree` is the one the host has, None if it wants no blobs."""
    if told is None:
        raise errors.NotFound(
            f"{host} is in no release: add its row to the source, and roll that version out", host=host
        )
    if told.digest == has:
        return 304, b"", b"", has
    if tree is None:
        return 200, JSON, msgspec.json.encode(told.signed), told.digest
    parcel = protocol.Parcel(told.signed, fleet.blobs_of(host, tree))
    return 200, MSGPACK, msgspec.msgpack.encode(parcel), told.digest


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
