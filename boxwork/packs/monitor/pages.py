"""The pages: everything at a glance, one check, one incident.  And what goes to them live."""

from __future__ import annotations

import asyncio
import importlib.resources
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from boxwork import errors

# How often a page is told, when something changed; more often is more than an eye follows.  Unit: seconds.
STEP_S = 0.5
# At least this often: ages move on though nothing changes, and a broken line shows.  Unit: seconds.
BEAT_S = 5.0
# The browser comes back after this.  Unit: milliseconds.
RETRY_MS = 1000


class Pages:
    """Over one desk: everything on the pages is what the API answers, with the first state inside the page."""

    def __init__(self, desk: Any) -> None:
        self.desk = desk
        self.outlook = desk.outlook
        self.monitor = desk.monitor

    async def everything(self, request: Request) -> Response:
        """`GET /monitor`"""
        data = await anyio.to_thread.run_sync(lambda: {"state": self.outlook.state(), "rows": self.outlook.rows()})
        return self._page(request, "Monitor", "monitor", data)

    async def check(self, request: Request) -> Response:
        """`GET /monitor/check/{name}`"""
        name = request.path_params["name"]
        return self._page(request, name, "check", await anyio.to_thread.run_sync(self.outlook.check, name))

    async def incident(self, request: Request) -> Response:
        """`GET /monitor/incident/{number}`"""
        from boxwork.packs.monitor.routes import whole

        number = whole(request.path_params["number"])
        found = await anyio.to_thread.run_sync(self.outlook.incident, number)
        return self._page(request, f"Incident {number}", "incident", found)

    def _page(self, request: Request, title: str, name: str, data: Any) -> Response:
        shell = request.app.state.shell
        if "monitor" not in shell.folders:
            shell.add_static("monitor", "boxwork.packs.monitor")
        main = (importlib.resources.files("boxwork.packs.monitor") / f"{name}.html").read_text("utf-8")
        made: Response = shell.page(
            request,
            title,
            main,
            styles=[shell.address("monitor", "monitor.css")],
            modules=[shell.address("monitor", f"{name}.js")],
            preload=[shell.address("monitor", "parts.js")],
            data=msgspec.to_builtins(data, enc_hook=str),
        )
        return made

    async def events(self, request: Request) -> Response:
        """`GET /monitor/events?check=` or `?incident=`: what changed, as server-sent events."""
        request.scope["boxwork.endless"] = True
        check, number = request.query_params.get("check", ""), request.query_params.get("incident", "")
        if check:
            self.outlook.entry(check)
            tell: Callable[[int], dict[str, Any]] = lambda seen: self.outlook.check(check)  # noqa: E731
        elif number:
            from boxwork.packs.monitor.routes import whole

            which = whole(number)
            tell = lambda seen: self.outlook.incident(which)  # noqa: E731
        else:
            tell = lambda seen: {"state": self.outlook.state(), "rows": self.outlook.rows(seen, recent=False)}  # noqa: E731
        body = self._events(request, tell, check)
        return StreamingResponse(
            body, 200, {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
        )

    def _mark(self, check: str) -> tuple[Any, ...]:
        """What differs when there is something to tell."""
        roster, rounds = self.monitor.roster, self.monitor.rounds
        entry = roster.entries.get(check)
        changes = self.monitor.mirror.changes if self.outlook.has_facts else 0
        revision = entry.revision if entry is not None else roster.revision
        return changes, revision, rounds.running, tuple(rounds.trouble)

    async def _events(
        self, request: Request, tell: Callable[[int], dict[str, Any]], check: str
    ) -> AsyncIterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        loop = asyncio.get_running_loop()
        mark: Any = None
        seen, sent_at = 0, 0.0
        while not request.app.state.stopping:
            now = self._mark(check)
            if now != mark or loop.time() - sent_at >= BEAT_S:
                revision = self.monitor.roster.revision
                try:
                    told = await anyio.to_thread.run_sync(tell, seen)
                except errors.NotFound:  # the check has left the book while its page was open
                    return
                mark, seen, sent_at = now, revision, loop.time()
                yield b"data: " + msgspec.json.encode(told, enc_hook=str) + b"\n\n"
            await asyncio.sleep(STEP_S)
