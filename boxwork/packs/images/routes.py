"""What the pack answers over HTTP.

GET  /images                          the list, as a page; with `accept: application/json` as data
GET  /images/{name}                   one image: its versions and what happened
GET  /images/{name}/{number}          one version, and what differs from the one before (`?against=`)
GET  /images/{name}/{number}/sbom     its bill of materials (CycloneDX)
GET  /images/builds/{id}              a build, live
GET  /images/builds/{id}/events       the same as events
POST /images/{name}/build             begin one; the answer is its id
POST /images/{name}/rollback          {"number": 1, "reason": "…"}
GET  /images/steps/{key}              what a step made, signed: for other nodes (`peers`)
POST /images/peers/blobs              ["sha256:…", …] → msgpack, several small blobs in one answer
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from boxwork import Ref, errors, whole_body
from boxwork.packs.images import described, machine_pages, pages, peers, steps
from boxwork.packs.images.watching import LOOK_S, Watcher
from boxwork.packs.images.workshop import Workshop

# An order in JSON.  Unit: bytes.
BODY_BYTES_MAX = 16 * 1024
# A list of 512 refs.  Unit: bytes.
BLOBS_BYTES_MAX = 64 * 1024
# The boxes whose outputs other nodes may ask for by key: all that a build runs.
STEPS = frozenset(
    box.name for box in (steps.base, steps.packages, steps.users, steps.files, steps.script, steps.services)
)
# A comment at least this often, so that a broken line shows.  Unit: s.
BEAT_S = 15.0
# Builds that one node is watched at, at the same time; each looks at a file ten times a second.
WATCHERS_MAX = 100


class Desk:
    """The endpoints, over one workshop."""

    def __init__(self, work: Any) -> None:
        self.shop: Workshop = work.part("images")
        self.work = self.shop.work
        self.watchers = 0

    async def images(self, request: Request) -> Response:
        if _wants_json(request):
            return JSONResponse(await _thread(self._images))
        reply: Response = await _thread(pages.list_page, request, self.shop)
        return reply

    def _images(self) -> list[dict[str, Any]]:
        return [self.shop.catalog.version(name) for name in self.shop.catalog.names()]

    async def image(self, request: Request) -> Response:
        name = request.path_params["name"]
        if _wants_json(request):
            return JSONResponse(await _thread(self.shop.catalog.versions, name))
        reply: Response = await _thread(pages.image_page, request, self.shop, name)
        return reply

    async def version(self, request: Request) -> Response:
        name, number = request.path_params["name"], request.path_params["number"]
        if _wants_json(request):
            return JSONResponse(await _thread(self.shop.catalog.version, name, number))
        reply: Response = await _thread(pages.version_page, request, self.shop, name, number)
        return reply

    async def sbom(self, request: Request) -> Response:
        name, number = request.path_params["name"], request.path_params["number"]
        data = await _thread(self.shop.bill, name, number)
        head = {"content-disposition": f'attachment; filename="{name}-{number}.cdx.json"'}
        return Response(data, 200, head, "application/vnd.cyclonedx+json")

    async def build(self, request: Request) -> Response:
        """`POST /images/{name}/build`: begin to build the recipe of this name as it is now; answers with the build."""
        order = await _order(request, described.Build)
        name = request.path_params["name"]
        if name not in await _thread(self.shop.catalog.sources):
            raise errors.NotFound(f"no recipe of {name!r} is known: build it once with `boxwork images build FILE`")
        id = await _thread(lambda: self.shop.start(name, who="page", reason=order.reason, fresh=order.fresh))
        return JSONResponse({"id": id}, 202)

    async def rollback(self, request: Request) -> Response:
        """`POST /images/{name}/rollback`: make an earlier version the current one; 0 is the one before."""
        order = await _order(request, described.Rollback)
        name = request.path_params["name"]
        before, now = await _thread(
            lambda: self.shop.builder.rollback(name, order.number, who="page", reason=order.reason)
        )
        return JSONResponse({"before": before, "now": now})

    async def step(self, request: Request) -> Response:
        """`GET /images/steps/{key}`: the root that the step with this key made, signed by this node; 404 if unknown."""
        text = request.path_params["key"]
        if not re.fullmatch(described.KEY, text):
            raise errors.BadInput("a key is 64 hexadecimal digits")
        found = await _thread(peers.answer, self.work, self.shop.signer, bytes.fromhex(text), STEPS)
        return Response(msgspec.json.encode(found), media_type="application/json")

    async def blobs(self, request: Request) -> Response:
        """`POST /images/peers/blobs`: small blobs as a msgpack list; what is not here, or does not fit, is left out."""
        body = await whole_body(request, BLOBS_BYTES_MAX)
        try:
            refs = [Ref.parse(each) for each in msgspec.json.decode(body, type=described.Refs)]
        except msgspec.DecodeError as reason:
            raise errors.BadInput(f"send a list of at most {described.BLOBS_MAX} refs: {reason}") from reason
        return Response(await _thread(peers.packed, self.work.content, refs), media_type="application/msgpack")

    async def watch(self, request: Request) -> Response:
        reply: Response = await _thread(pages.build_page, request, self.shop, request.path_params["id"])
        return reply

    async def events(self, request: Request) -> Response:
        if self.watchers >= WATCHERS_MAX:
            raise errors.Busy(f"{WATCHERS_MAX} pages watch builds already: close one")
        request.scope["boxwork.endless"] = True
        watcher = Watcher(self.work, request.path_params["id"])
        stopping = request.app.state
        body = self._events(watcher, lambda: bool(stopping.stopping))
        head = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(body, 200, head, "text/event-stream")

    async def _events(self, watcher: Watcher, ended: Any) -> AsyncIterator[bytes]:
        self.watchers += 1
        quiet = 0.0
        try:
            while True:
                found = await _thread(watcher.look)
                for kind, data in found:
                    yield f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
                if watcher.over:
                    yield b"event: end\ndata: {}\n\n"
                    return
                if ended():
                    return
                quiet = 0.0 if found else quiet + LOOK_S
                if quiet >= BEAT_S:
                    yield b": still here\n\n"
                    quiet = 0.0
                await asyncio.sleep(LOOK_S)
        finally:
            self.watchers -= 1


async def _thread(function: Any, *arguments: Any) -> Any:
    return await anyio.to_thread.run_sync(function, *arguments)


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


async def _order(request: Request, kind: Any) -> Any:
    """The JSON of an order.  A form of another site cannot send this content type without asking first."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise errors.BadInput("send the order as content-type: application/json")
    data = await whole_body(request, BODY_BYTES_MAX)
    try:
        order = msgspec.json.decode(data or b"{}")
        number = order.get("number") if isinstance(order, dict) else None
        if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
            order["number"] = int(number)  # JSON does not tell 2.0 from 2
        return msgspec.convert(order, kind)
    except msgspec.DecodeError as reason:
        raise errors.BadInput(f"the order cannot be read: {reason}") from reason


def routes(work: Any) -> list[BaseRoute]:
    """The routes of the pack; from here on the node looks for changed dependencies, if that is set."""
    desk = Desk(work)
    desk.shop.start_schedule()
    return [
        Route("/images", desk.images, methods=["GET"], include_in_schema=False),
        Route("/images/builds/{id}", desk.watch, methods=["GET"], include_in_schema=False),
        Route("/images/builds/{id}/events", desk.events, methods=["GET"], include_in_schema=False),
        Route("/images/steps/{key}", desk.step, methods=["GET"]),
        Route("/images/peers/blobs", desk.blobs, methods=["POST"]),
        *machine_pages.routes(desk.work),
        Route("/images/{name}", desk.image, methods=["GET"], include_in_schema=False),
        Route("/images/{name}/build", desk.build, methods=["POST"]),
        Route("/images/{name}/rollback", desk.rollback, methods=["POST"]),
        Route("/images/{name}/{number:int}", desk.version, methods=["GET"], include_in_schema=False),
        Route("/images/{name}/{number:int}/sbom", desk.sbom, methods=["GET"]),
    ]
