"""`GET /thumbs/likes/{ref}?person=`: the likes of a picture as server-sent events, for as long as somebody looks at it.

A press of the heart is a commit like every other: `POST /commit/like_photo` (docs/state.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from boxwork import Ref, errors
from boxwork.packs.thumbs.likes import likes_of_photo

# Between two looks at the count.  Unit: s.  Reason: another's like is seen at once; a look costs about 0.1 ms.
STEP_S = 0.3
# Without a change, a sign of life.  Unit: s.  Reason: proxies cut off what is silent for 60 s.
BEAT_S = 20.0
# Before the browser asks again after the connection broke.  Unit: ms.
RETRY_MS = 2000
# Of the name that a browser gives itself.  Unit: characters.  Reason: gallery.js draws 32; a key of facts is short.
PERSON_MAX = 64


class Hearts:
    """The endpoint, over one node."""

    def __init__(self, work: Any) -> None:
        self.work = work

    async def live(self, request: Request) -> Response:
        """`{"likes": 12, "liked": true}` now, and whenever it changes."""
        ref, person = Ref.parse(request.path_params["ref"]), request.query_params.get("person", "")
        if len(person) > PERSON_MAX:
            raise errors.BadInput(f"person={person[:20]!r}…: at most {PERSON_MAX} characters, please")
        first = await self._look(ref, person)  # what is wrong is said as an answer of its own, not in the stream
        request.scope["boxwork.endless"] = True  # how long somebody looked is no latency
        return StreamingResponse(
            self._events(request, ref, person, first),
            200,
            {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _look(self, ref: Ref, person: str) -> tuple[int, bool]:
        return await anyio.to_thread.run_sync(self._likes, ref, person)

    def _likes(self, ref: Ref, person: str) -> tuple[int, bool]:
        try:
            with self.work.read() as facts:
                return likes_of_photo(facts, ref, person)
        except errors.StateInUse:  # another process owns the facts, and answers as well
            found: tuple[int, bool] = self.work.commit(likes_of_photo, photo=ref, person=person)
            return found

    async def _events(self, request: Request, ref: Ref, person: str, found: tuple[int, bool]) -> AsyncIterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode() + event(found)
        loop = asyncio.get_running_loop()
        sent_at = loop.time()
        while not request.app.state.stopping:
            await asyncio.sleep(STEP_S)
            try:
                now = await self._look(ref, person)
            except errors.BoxworkError:  # no owner of the facts just now: the page goes on showing what it knows
                continue
            if now != found or loop.time() - sent_at >= BEAT_S:
                found, sent_at = now, loop.time()
                yield event(found)


def event(found: tuple[int, bool]) -> bytes:
    return f"data: {json.dumps({'likes': found[0], 'liked': found[1]})}\n\n".encode()


def routes(work: Any) -> list[BaseRoute]:
    return [Route("/thumbs/likes/{ref}", Hearts(work).live, methods=["GET"], include_in_schema=False)]
