"""The pages: the fleet, a host, a version with its difference, a rollout.  And what goes to them live."""

from __future__ import annotations

import asyncio
import importlib.resources
from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

# How often the page is told, when something changed; more often is more than an eye follows.  Unit: seconds.
STEP_S = 0.25
# With all hosts in it (50 bytes each) an event of a large fleet is told less often: 5,000 hosts are 250 KB a second.
STEP_LARGE_S = 1.0
LARGE_HOSTS = 500
# At least this often: ages move on though nothing changes, and a broken line shows.  Unit: seconds.
BEAT_S = 2.0
# The browser comes back after this.  Unit: milliseconds.
RETRY_MS = 1000


class Pages:
    """Over one desk: everything on the pages is what the API answers, with the first state inside the page."""

    def __init__(self, desk: Any) -> None:
        self.desk = desk
        self.outlook = desk.outlook

    async def fleet(self, request: Request) -> Response:
        """`GET /fleet`"""
        await self.desk._ready()
        state = await anyio.to_thread.run_sync(self.outlook.state)
        hosts = await anyio.to_thread.run_sync(self.outlook.hosts)
        history = await anyio.to_thread.run_sync(lambda: list(self.desk.fleet.history())[:12])
        return self._page(request, "Fleet", "fleet", {"state": state, "hosts": hosts["rows"], "history": history})

    async def host(self, request: Request) -> Response:
        """`GET /fleet/host/{host}`"""
        await self.desk._ready()
        name = request.path_params["host"]
        found = await anyio.to_thread.run_sync(self.outlook.host, name)
        return self._page(request, name, "host", found)

    async def version(self, request: Request) -> Response:
        """`GET /fleet/version/{number}?against=`: what is in it, and what differs from another one."""
        from boxwork.packs.fleet.routes import whole

        await self.desk._ready()
        number = whole(request.path_params["number"])
        found = await anyio.to_thread.run_sync(self.outlook.version, number)
        against = whole(request.query_params.get("against", str(max(1, number - 1))))
        differs = None
        if against != number:
            differs = await anyio.to_thread.run_sync(self.outlook.difference, against, number)
        return self._page(request, f"Version {number}", "version", {"version": found, "difference": differs})

    async def rollout(self, request: Request) -> Response:
        """`GET /fleet/rollout/{number}`"""
        from boxwork.packs.fleet.routes import whole

        await self.desk._ready()
        number = whole(request.path_params["number"])
        found = await anyio.to_thread.run_sync(self.outlook.rollout, number)
        return self._page(request, f"Rollout {number}", "rollout", found)

    def _page(self, request: Request, title: str, name: str, data: Any) -> Response:
        shell = request.app.state.shell
        if "fleet" not in shell.folders:
            shell.add_static("fleet", "boxwork.packs.fleet")
        main = (importlib.resources.files("boxwork.packs.fleet") / f"{name}.html").read_text("utf-8")
        reply: Response = shell.page(
            request,
            title,
            main,
            styles=[shell.address("fleet", "fleet.css")],
            modules=[shell.address("fleet", f"{name}.js")],
            preload=[shell.address("fleet", "parts.js")],
            data=msgspec.to_builtins(data, enc_hook=str),
        )
        return reply

    async def events(self, request: Request) -> Response:
        """`GET /fleet/events?hosts=1`: the state whenever it changes, as server-sent events."""
        await self.desk._ready()
        request.scope["boxwork.endless"] = True
        wanted = request.query_params.get("hosts", "") == "1"
        rollout = request.query_params.get("rollout", "")
        body = self._events(request, wanted, int(rollout) if rollout.isdigit() and len(rollout) < 10 else 0)
        return StreamingResponse(
            body, 200, {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
        )

    async def _events(self, request: Request, hosts: bool, rollout: int) -> AsyncIterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        loop = asyncio.get_running_loop()
        seen, sent_at = -1, 0.0
        while not request.app.state.stopping:
            changes = self.desk.fleet.mirror.changes
            if changes != seen or loop.time() - sent_at >= BEAT_S:
                seen, sent_at = changes, loop.time()
                yield await anyio.to_thread.run_sync(self._event, hosts, rollout)
            is_large = hosts and len(self.desk.fleet.mirror.assigned) > LARGE_HOSTS
            await asyncio.sleep(STEP_LARGE_S if is_large else STEP_S)

    def _event(self, hosts: bool, rollout: int) -> bytes:
        told: dict[str, Any] = {"state": self.outlook.state()}
        if hosts:
            told["hosts"] = self.outlook.hosts()["rows"]
        if rollout:
            told["rollout"] = self.outlook.rollout(rollout)
        return b"data: " + msgspec.json.encode(told, enc_hook=str) + b"\n\n"
