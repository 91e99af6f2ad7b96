"""`/state`: the pages of the transactions, and the API that they use and anybody may.

Questions that read the log run in two threads of their own: an explanation must not hold up a download.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from boxwork.errors import BoxworkError
from boxwork.serve.bodies import json_reply, read_json
from boxwork.serve.commits import transaction_of
from boxwork.serve.inputs import from_json
from boxwork.serve.pulse.stream import RETRY_MS, event
from boxwork.serve.state import pages
from boxwork.serve.state.activity import STEP_NS, Activity
from boxwork.serve.state.telling import explained, previewed

T = TypeVar("T")

THREADS = 2


class StateRoutes:
    """The endpoints over one node."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.limiter = anyio.CapacityLimiter(THREADS)

    @functools.cached_property
    def activity(self) -> Activity:
        return Activity(self.work)

    async def in_thread(self, call: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(call, limiter=self.limiter)

    # --- pages

    async def live(self, request: Request) -> Response:
        """`GET /state`: what the transactions do now."""
        return pages.live(request)

    async def playground(self, request: Request) -> Response:
        """`GET /state/playground`: run a transaction and see what it does."""
        return pages.playground(request)

    async def commits(self, request: Request) -> Response:
        """`GET /state/commits`: the newest entries of the log, and what became of a receipt (`?receipt=`)."""
        return pages.commits(request)

    # --- the API

    async def numbers(self, request: Request) -> Response:
        """`GET /state/numbers`: counters by lane, queues, waits, the hottest keys and the newest entries."""
        return json_reply(await self.in_thread(self.activity.look))

    async def preview(self, request: Request) -> Response:
        """`POST /state/preview/{transaction}`: what it would read, write and answer now; nothing is committed."""
        box = transaction_of(request)
        inputs = from_json(box, await read_json(request))
        return json_reply(await self.in_thread(lambda: previewed(self.work, box, inputs)))

    async def explain(self, request: Request) -> Response:
        """`GET /state/explain/{receipt}`: keys, rivals, runs and lost time of a commit."""
        return json_reply(await self.in_thread(lambda: explained(self.work, request.path_params["receipt"])))

    async def stream(self, request: Request) -> Response:
        """`GET /state/live`: server-sent events, one a second, the first with the two minutes before."""
        request.scope["boxwork.endless"] = True  # how long somebody looked is no latency
        return StreamingResponse(
            self._events(lambda: request.app.state.stopping),
            200,
            {
                "cache-control": "no-store",
                "content-type": "text/event-stream; charset=utf-8",
                "x-accel-buffering": "no",  # nginx would hold events back
            },
        )

    async def _events(self, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        first = True
        while not ended():
            try:
                told = await self.in_thread(self.activity.look)
                yield event({**told, "past": self.activity.past()} if first else told)
                first = False
            except BoxworkError as reason:  # no owner just now, or a damaged log: the page says so and goes on looking
                yield event(reason.as_json(), kind="fault")
            await asyncio.sleep(STEP_NS / 1e9)


def routes(work: Any) -> list[BaseRoute]:
    """What `serve.http` mounts."""
    own = StateRoutes(work)
    shown = [("/state", own.live), ("/state/playground", own.playground), ("/state/commits", own.commits)]
    return [
        *(Route(path, endpoint, methods=["GET"], include_in_schema=False) for path, endpoint in shown),
        Route("/state/numbers", own.numbers, methods=["GET"]),
        Route("/state/live", own.stream, methods=["GET"], include_in_schema=False),
        Route("/state/preview/{transaction}", own.preview, methods=["POST"]),
        Route("/state/explain/{receipt}", own.explain, methods=["GET"]),
    ]
