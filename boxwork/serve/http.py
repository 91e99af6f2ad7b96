"""The application: every route, wrapped once in the checks that every answer goes through.

`asgi(work)` is a plain ASGI app: uvicorn runs it, FastAPI or Starlette mounts it.  Around the routes stands one
class, `Edge`, in the order: request id → limit of requests → guard → route → errors as JSON → hop recorded.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, TypeAlias

import anyio
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from boxwork import errors
from boxwork.clock import monotonic_ns
from boxwork.errors import BoxworkError, Busy
from boxwork.journal import request_id
from boxwork.serve import blobs, commits, derivations, items, links, openapi, shell
from boxwork.serve.bodies import ClientLeft, error_reply, json_reply
from boxwork.serve.guard import Guard, anyone, local_peer, loopback_only
from boxwork.serve.held_protocol import Held
from boxwork.serve.hot import Admits, HotAnswers
from boxwork.serve.limits import REQUEST_ID_LENGTH_MAX
from boxwork.serve.pulse.routes import routes as pulse_routes
from boxwork.serve.rooms.sockets import routes as room_routes
from boxwork.serve.state.routes import routes as state_routes
from boxwork.serve.wire import oci

log = logging.getLogger("boxwork.serve")

# Has this machine shown what a pack gave it, for an address of that pack's own: then the guard is not asked.
Door: TypeAlias = Callable[[HTTPConnection], bool]

_REQUEST_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{REQUEST_ID_LENGTH_MAX}}}")


# For the hot path, which answers before a guard can be asked: the same decision from the peer and the Host header.
# A guard that is not here has no hot path: all its requests go the long way.
_PUBLIC: dict[Guard, Admits] = {loopback_only: local_peer, anyone: lambda peer, host: True}


class MethodNotAllowed(errors.BadInput):
    code = "http.method"
    status = 405


class InternalError(BoxworkError):
    code = "internal"


async def healthz(request: Request) -> Response:
    """`GET /healthz`: 200 while the node answers; it looks at no disk, so it may be asked often."""
    return json_reply({"status": "ok", "packs": [pack.name for pack in request.app.state.work.packs]})


class Edge:
    """Every request passes here, and no other code decides about ids, errors, guards and timing."""

    def __init__(
        self, work: Any, routes: list[BaseRoute], guard: Guard, ring: links.Links, doors: Iterable[Door] = ()
    ) -> None:
        settings = work.settings
        self.routes = routes
        self.router = by_first_segment(routes)
        # Request ids: what nobody can guess is only the beginning, because drawing chance costs more than a request.
        self.id_begin, self.ids = work.clock.token(4), itertools.count()
        self.guard = guard
        self.doors = tuple(doors)
        self.clock = work.clock
        self.pulse = work.pulse
        self.requests_max = settings.integer("serve.requests_max")
        self.requests = 0
        self.patterns = dict(_patterns(routes))
        self.series: dict[tuple[str, str, int], Any] = {}
        # what routes find under `request.app.state`
        self.state = SimpleNamespace(
            stopping=False,
            work=work,
            edge=self,
            threads=anyio.CapacityLimiter(settings.integer("serve.threads")),
            shell=shell.Shell(work),
            links=ring,
            hot=HotAnswers(
                settings.integer("serve.hot_bytes_max"),
                settings.integer("serve.hot_item_bytes_max"),
                self.recorder,
                _PUBLIC.get(guard),
            ),
            held=Held(self.doors, _PUBLIC.get(guard)),
            rooms=None,  # opened by the first member
        )

    def leave(self) -> None:
        """The server is about to stop: streams look at this once a second and end."""
        self.state.stopping = True
        if self.state.rooms is not None:
            self.state.rooms.leave()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        if scope["type"] == "lifespan":
            await self.router(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        known = connection.headers.get("x-request-id", "")
        name = known if known and _REQUEST_ID.fullmatch(known) else f"{self.id_begin}{next(self.ids):08x}"
        mark = request_id.set(name)
        try:
            if scope["type"] == "websocket":
                await self._websocket(connection, receive, send)
            else:
                await self._http(connection, receive, send, name)
        finally:
            request_id.reset(mark)

    async def _websocket(self, connection: HTTPConnection, receive: Receive, send: Send) -> None:
        try:
            await self.guard(connection)
        except BoxworkError as fault:
            await receive()  # the connect message
            await send({"type": "websocket.close", "code": 1008, "reason": fault.message[:120]})
            return
        await self.router(connection.scope, receive, send)

    async def _http(self, connection: HTTPConnection, receive: Receive, send: Send, name: str) -> None:
        scope = connection.scope
        started = monotonic_ns()
        status = 0

        async def named_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = name
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        self.requests += 1
        try:
            if self.requests > self.requests_max and scope["path"] != "/healthz":
                raise Busy(f"{self.requests_max} requests are being answered (setting serve.requests_max)")
            if not any(door(connection) for door in self.doors):
                await self.guard(connection)
            await self.router(scope, receive, named_send)
        except ClientLeft:
            status = status or 499  # nginx's number for "the client closed the request"
        except Exception as fault:
            if status:  # the head is out: the connection is cut, which the client sees as a short body
                log.exception("the answer broke off", extra={"path": scope["path"]})
                raise
            await self._error_answer(fault, connection, name)(scope, receive, named_send)
        finally:
            if not scope.get("boxwork.not_counted"):
                self.requests -= 1
            if not scope.get("boxwork.endless"):  # a stream of events: its length is how long somebody looked
                self.recorder(self._pattern(scope), scope["method"], status)(monotonic_ns() - started)
            log.debug("request", extra={"method": scope["method"], "path": scope["path"], "status": status})

    def _error_answer(self, fault: Exception, connection: HTTPConnection, name: str) -> Response:
        """A page for a person who follows a link, JSON for everything else."""
        error = self._as_error(fault, connection.scope)
        if oci.speaks(connection.scope["path"]):  # a registry's clients read another shape
            return oci.error_reply(error, name)
        if connection.scope["method"] == "GET" and "text/html" in connection.headers.get("accept", ""):
            page: Response = self.state.shell.error_page(Request(connection.scope), error, name)
            return page
        return error_reply(error, name)

    def not_counted(self, scope: Scope) -> None:
        """For a route whose request is held until there is news, or until a write that many share is on disk.

        From now on it is none of those that are being answered, and its time is no latency: whoever holds requests
        like this has a limit of its own for them.
        """
        if not scope.get("boxwork.not_counted"):
            scope["boxwork.not_counted"] = scope["boxwork.endless"] = True
            self.requests -= 1

    def _as_error(self, fault: Exception, scope: Scope) -> BoxworkError:
        if isinstance(fault, BoxworkError):
            if fault.status >= 500:
                log.warning("%s", fault.message, extra={"path": scope["path"], "code": fault.code})
            return fault
        if isinstance(fault, HTTPException):
            if fault.status_code == 404:
                return errors.NotFound(f"there is no page {scope['path'][:200]!r}; /openapi.json lists what there is")
            if fault.status_code == 405:
                allowed = ", ".join(sorted(self._methods(scope)))
                said = f"{scope['path'][:200]!r} takes {allowed}, not {scope['method']}"
                return MethodNotAllowed(said, allow=allowed)
            return errors.BadInput(f"{fault.detail}")
        log.exception("a request met a bug", exc_info=fault, extra={"path": scope["path"]})
        return InternalError("something here is broken; the log has the details under this request's id")

    def _methods(self, scope: Scope) -> set[str]:
        """What may be done with this path: several routes may have it."""
        found = [route for route in self.routes if isinstance(route, Route)]
        return {method for one in found if one.matches(scope)[0] is not Match.NONE for method in one.methods or ()}

    def _pattern(self, scope: Scope) -> str:
        pattern: str = self.patterns.get(scope.get("endpoint"), "other")
        return pattern

    def recorder(self, route: str, method: str, status: int) -> Callable[[int], None]:
        """Where the nanoseconds of answered requests go: the series `http` by route, method and status class."""
        key = (route, method, status // 100)
        series = self.series.get(key)
        if series is None:
            known = method if method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS") else "other"
            series = self.pulse.series("http", route=route, method=known, status=f"{status // 100}xx")
            if len(self.series) < 4096:  # routes × methods × classes; a client inventing methods stops here
                self.series[key] = series
        record: Callable[[int], None] = series.record
        return record


def by_first_segment(routes: Iterable[BaseRoute]) -> ASGIApp:
    """The routes as one app.  It looks only at those whose address begins as the request's does.

    Routes are tried one after another, 3 µs each, and there are dozens.  An address whose first segment is fixed
    matches no other first segment, so the order in which the rest are tried is the given one.
    """
    everything = list(routes)
    whole = Router(everything, redirect_slashes=False)
    firsts = [_first_segment(getattr(route, "path", "")) for route in everything]
    routers = {
        first: Router(
            [route for route, other in zip(everything, firsts, strict=True) if other in (first, None)],
            redirect_slashes=False,
        )
        for first in firsts
        if first
    }

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        router = whole
        if scope["type"] != "lifespan":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            router = routers.get(path[1:].split("/", 1)[0], whole)
        await router(scope, receive, send)

    return dispatch


def _first_segment(path: str) -> str | None:
    """The fixed text between the first two slashes; None where anything may stand there."""
    first = path[1:].split("/", 1)[0]
    return None if not first or "{" in first else first


def _patterns(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[Any, str]]:
    for route in routes:
        if isinstance(route, Mount):
            yield from _patterns(route.routes, prefix + route.path)
            yield route.app, prefix + route.path
        elif isinstance(route, Route):
            yield route.endpoint, prefix + route.path


def asgi(work: Any, *, guard: Guard = loopback_only) -> ASGIApp:
    """The whole node as one ASGI app.  `guard` decides who may come in; the default is this machine only."""
    routes: list[BaseRoute] = [
        Route("/healthz", healthz, methods=["GET"]),
        *blobs.ROUTES,
        *derivations.ROUTES,
        *commits.ROUTES,
        *items.ROUTES,
        *links.ROUTES,
        *openapi.ROUTES,
        *shell.ROUTES,
        *pulse_routes(work),
        *state_routes(work),
        *oci.routes(work),
        *room_routes(work),
    ]
    for pack in work.packs:
        if pack.routes is not None:
            routes.extend(pack.routes(work))
    doors = [pack.door(work) for pack in work.packs if pack.door is not None]
    ring = links.Links(work.node.root / "keys", work.clock)
    if guard is loopback_only and work.settings.flag("serve.signed_links"):
        guard = links.local_or_signed(ring)
    return Edge(work, routes, guard, ring, doors)
