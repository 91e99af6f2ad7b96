"""What the pack answers over HTTP: thumbnails, packs of them, the list, what is known of a picture, and the page.

GET  /thumbs/{spec}/{ref}.{format}    one thumbnail, for ever under this address
GET  /thumbs/pack?spec=&refs=         many at once, each as soon as it is there
GET  /thumbs/items?first=&count=&q=   rows of the album by position
GET  /thumbs/about/{ref}              facts and lineage of one picture
GET  /thumbs/likes/{ref}?person=      its likes, live (hearts.py)
POST /thumbs/zip                      a selection as one file
GET  /faults                          the page that lists what could not be read
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from boxwork import Ref, errors
from boxwork.packs.thumbs import hearts
from boxwork.packs.thumbs.facts import facts
from boxwork.packs.thumbs.gallery import faults_page, gallery_page
from boxwork.packs.thumbs.spec import FORMATS, SHOWN, Spec
from boxwork.packs.thumbs.studio import Studio
from boxwork.packs.thumbs.thumbnail import thumbnail
from boxwork.packs.thumbs.zipping import zip_reply

T = TypeVar("T")

FOREVER = "public, max-age=31536000, immutable"
ONE = "/thumbs/{spec}/{name}"
# In one pack.  Unit: pictures.  30 are asked for (research/edge.md 2e); more than twice that is somebody else.
PACK_MAX = 64
# Rows in one window.  Unit: rows; about 120 bytes each.
WINDOW_MAX = 1000


def thumb_headers(spec: Spec, etag: str) -> dict[str, str]:
    return {
        "content-type": FORMATS[spec.format], "cache-control": FOREVER, "etag": etag,
        "x-content-type-options": "nosniff",
    }  # fmt: skip


async def while_connected(request: Request, work: Awaitable[T]) -> T | None:
    """What `work` comes to; None, and `work` cancelled, when the client hangs up first."""
    task = asyncio.ensure_future(work)

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    left = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        left.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        del task  # this frame is part of what is raised, and that is kept by the task


class Desk:
    """The endpoints, over one studio."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.studio = Studio(work)
        self.presets_only = work.settings.flag("thumbs.presets_only")

    async def one(self, request: Request) -> Response:
        """`GET /thumbs/{spec}/{ref}.{format}`"""
        stem, _, format = request.path_params["name"].rpartition(".")
        text = request.path_params["spec"]
        spec = Spec.parse(text, format, presets_only=self.presets_only)
        ref = Ref.parse(stem)
        if text != str(spec) or stem != ref.hex:
            base = request.scope.get("root_path", "")
            return RedirectResponse(f"{base}/thumbs/{spec}/{ref.hex}.{format}", 308)
        etag = f'"{ref.hex[:32]}-{spec}-{format}"'
        headers = thumb_headers(spec, etag)
        hot = request.app.state.hot
        if request.headers.get("if-none-match") == etag and self.work.has(ref):
            return Response(None, 304, {name: headers[name] for name in headers if name != "content-type"})
        data = await while_connected(request, self.studio.thumb(ref, spec))
        if data is None:
            return Response(None, 499)
        if not request.url.query:
            hot.offer(request.scope["raw_path"], ONE, etag, headers, data)
        return Response(data, 200, headers)

    async def pack(self, request: Request) -> Response:
        """`GET /thumbs/pack?spec=320&format=webp&refs=hex,hex,…`

        The body is a row of records, in the order in which they get ready: one byte position, one byte status
        (0 good, 1 not), four bytes length (big-endian), then the thumbnail or the error as JSON.
        """
        query = request.query_params
        spec = Spec.parse(query.get("spec", "320"), query.get("format", "webp"), presets_only=self.presets_only)
        refs = [Ref.parse(text) for text in query.get("refs", "").split(",") if text]
        if not 0 < len(refs) <= PACK_MAX:
            raise errors.BadInput(f"a pack has 1 to {PACK_MAX} refs, not {len(refs)}")
        return StreamingResponse(
            self._records(request, spec, refs),
            200,
            {"content-type": "application/octet-stream", "cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _records(self, request: Request, spec: Spec, refs: list[Ref]) -> AsyncIterator[bytes]:
        async def record(at: int) -> bytes:
            try:
                status, data = 0, await self.studio.thumb(refs[at], spec, best=True)
            except errors.BoxworkError as fault:
                status, data = 1, json.dumps(fault.as_json(), default=str).encode()
            return bytes((at, status)) + len(data).to_bytes(4, "big") + data

        # the darkroom takes the newest wish first: wishing from the back has the top of the page done first
        tasks = [asyncio.ensure_future(record(at)) for at in reversed(range(len(refs)))]
        try:
            for done in asyncio.as_completed(tasks):
                yield await done
        finally:
            for task in tasks:
                task.cancel()

    async def items(self, request: Request) -> Response:
        """`GET /thumbs/items?first=0&count=200&q=`"""
        query = request.query_params
        first, count = whole(query, "first", 0, 10**9), whole(query, "count", 200, WINDOW_MAX)
        words = query.get("q", "")[:200]
        version, total, rows = await anyio.to_thread.run_sync(self.studio.window, words, first, count)
        self.studio.work_off()
        faults = len(self.studio.album.faults)
        return json_reply({"version": version, "total": total, "first": first, "rows": rows, "faults": faults})

    async def about(self, request: Request) -> Response:
        """`GET /thumbs/about/{ref}`: size, camera, and how the shown thumbnail came about."""
        ref = Ref.parse(request.path_params["ref"])
        found = await anyio.to_thread.run_sync(self._about, ref)
        return json_reply(found)

    def _about(self, ref: Ref) -> dict[str, Any]:
        known: dict[str, Any] = {"ref": ref, "bytes": self.work.size(ref)}
        shot = next((shot for shot in self.studio.album.shots if shot.ref == ref), None)
        if shot is not None:
            known["path"] = shot.path
        try:
            known["facts"] = json.loads(self.work.call(facts, photo=ref))
        except errors.BoxworkError as fault:
            known["fault"] = fault.as_json()
        thumb = self.work.peek(thumbnail, photo=ref, **SHOWN.inputs())
        if thumb is not None:
            known["thumb"] = {"ref": thumb, "bytes": self.work.size(thumb), "spec": str(SHOWN)}
            record = self.work.why(thumb).record
            known["thumb"] |= {
                "box": record.name, "duration_ms": record.duration_ns / 1_000_000, "at_ms": record.time_ns // 1_000_000,
                "key": record.key.hex(), "inputs": {entry.name: entry.text for entry in record.inputs},
            }  # fmt: skip
        return known

    async def zip(self, request: Request) -> Response:
        """`POST /thumbs/zip`, a form with `refs`: the originals as one ZIP file, not compressed again."""
        return await zip_reply(request, self.work, self.studio.album)

    async def page(self, request: Request) -> Response:
        """`GET /`: the gallery."""
        return await gallery_page(request, self.studio)

    async def faults(self, request: Request) -> Response:
        """`GET /faults`: the files that could not be read, with the reason, as a page."""
        return await faults_page(request, self.studio)


def whole(query: Any, name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= most):
        raise errors.BadInput(f"{name}={text[:20]!r}: a whole number from 0 to {most:,}, please")
    return int(text)


def json_reply(value: Any) -> Response:
    data = json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str).encode()
    return Response(data, 200, {"content-type": "application/json", "cache-control": "no-store"})


def routes(work: Any) -> list[BaseRoute]:
    desk = Desk(work)
    return [
        Route("/", desk.page, methods=["GET"]),
        Route("/faults", desk.faults, methods=["GET"]),
        Route("/thumbs/pack", desk.pack, methods=["GET"]),
        Route("/thumbs/items", desk.items, methods=["GET"]),
        Route("/thumbs/about/{ref}", desk.about, methods=["GET"]),
        *hearts.routes(work),
        Route("/thumbs/zip", desk.zip, methods=["POST"]),
        Route(ONE, desk.one, methods=["GET"]),
    ]
