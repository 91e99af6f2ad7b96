"""What the pack answers over HTTP: scans in, GLB, measures and reports out, and the pages.

POST /scans?name=                   take a scan in
GET  /scans/items                   the list
GET  /scans/{ref}.glb?profile=      as GLB: gltf or unity
GET  /scans/{ref}/measures?format=  json or csv
GET  /scans/{ref}/report?profile=   what did not come along
GET  /scans  /scans/{ref}           the pages
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from boxwork import Ref, errors
from boxwork.packs.scans import pages
from boxwork.packs.scans.shelf import Shelf, plain_name

NO_STORE = "no-store"
# An upload is kept in memory up to this, and in a file beyond.  Unit: bytes.
SPOOL_BYTES = 4 * 1024 * 1024
TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8"}


class Desk:
    """The endpoints, over one shelf."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.shelf: Shelf = work.part("scans")
        self.busy = 0
        self.at_once = work.settings.integer("scans.at_once")
        self.idle_s_max = work.settings.number("scans.idle_s_max")

    async def run(self, job: Callable[[], Any]) -> Any:
        """Something heavy, in a thread; a few at once, and who comes beyond that is told to come again."""
        if self.busy >= self.at_once:
            raise errors.Busy(f"{self.at_once} scans are being worked on (setting scans.at_once); ask again")
        self.busy += 1
        try:
            return await anyio.to_thread.run_sync(job)
        finally:
            self.busy -= 1

    async def take(self, request: Request) -> Response:
        """`POST /scans?name=`: keep a scan; the body is the file.  When the answer comes it is on disk."""
        name = plain_name(request.query_params.get("name", ""))
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit():
            self._fits(int(declared))
        if self.busy >= self.at_once:
            raise errors.Busy(f"{self.at_once} scans are being worked on (setting scans.at_once); ask again")
        self.busy += 1
        try:
            with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as file:
                await self._receive(request, file)
                file.seek(0)
                scan = await anyio.to_thread.run_sync(self.shelf.take, file, name)
        finally:
            self.busy -= 1
        base = request.scope.get("root_path", "")
        return json_reply({"ref": scan.ref, "name": scan.name, "bytes": scan.bytes,
                           "page": f"{base}/scans/{scan.ref.hex}"}, 201)  # fmt: skip

    async def _receive(self, request: Request, file: Any) -> None:
        size, more = 0, True
        while more:
            try:
                message = await asyncio.wait_for(request.receive(), self.idle_s_max)
            except TimeoutError:
                said = f"no byte of the scan came for {self.idle_s_max:g} s (setting scans.idle_s_max)"
                raise errors.Timeout(f"{said}; {size:,} had come") from None
            if message["type"] == "http.disconnect":
                raise errors.BadInput("the body broke off")
            data = message.get("body", b"")
            size += len(data)
            self._fits(size)
            await anyio.to_thread.run_sync(file.write, data)
            more = message.get("more_body", False)

    def _fits(self, size: int) -> None:
        most = self.shelf.bytes_max
        if size > most:
            raise errors.TooLarge(f"the scan has {size:,} bytes or more; at most {most:,} (setting scans.bytes_max)")

    async def items(self, request: Request) -> Response:
        """`GET /scans/items`: the scans, the newest first."""
        found = await anyio.to_thread.run_sync(self.shelf.listed)
        return json_reply([{"ref": one.ref, "name": one.name, "bytes": one.bytes, "at_ns": one.at_ns,
                            "where": one.where} for one in found])  # fmt: skip

    async def glb(self, request: Request) -> Response:
        """`GET /scans/{ref}.glb?profile=`: the scan as GLB."""
        ref, profile = ref_of(request), request.query_params.get("profile", "gltf")
        made = await self.run(lambda: self.shelf.glb(ref, profile))
        name = await anyio.to_thread.run_sync(lambda: self.shelf.about(ref).name)
        return await self._blob(request, made, "model/gltf-binary", f"{stem(name)}-{profile}.glb")

    async def measures(self, request: Request) -> Response:
        """`GET /scans/{ref}/measures?format=`: the measures with their intervals."""
        ref, format = ref_of(request), request.query_params.get("format", "json")
        if format not in TYPES:
            raise errors.BadInput(f"format={format[:40]!r}: json or csv, please")
        make = self.shelf.measures if format == "json" else self.shelf.table
        return await self._blob(request, await self.run(lambda: make(ref)), TYPES[format], "")

    async def report(self, request: Request) -> Response:
        """`GET /scans/{ref}/report?profile=`: what the GLB holds, what is lost and what is changed."""
        ref, profile = ref_of(request), request.query_params.get("profile", "gltf")
        made = await self.run(lambda: self.shelf.report(ref, profile))
        return await self._blob(request, made, TYPES["json"], "")

    async def _blob(self, request: Request, made: Ref, kind: str, name: str) -> Response:
        """An output.  The address names the scan and not the output, which another version of the box may change."""
        headers = {"etag": f'"{made.hex}"', "cache-control": "no-cache", "x-content-type-options": "nosniff"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(None, 304, headers)
        if name:
            headers["content-disposition"] = f'attachment; filename="{name}"'
        data = await anyio.to_thread.run_sync(self.work.get, made)
        return Response(data, 200, {**headers, "content-type": kind})

    async def list_page(self, request: Request) -> Response:
        """`GET /scans`: the scans, as a page."""
        found = await anyio.to_thread.run_sync(self.shelf.listed)
        return pages.list_page(request, found)

    async def scan_page(self, request: Request) -> Response:
        """`GET /scans/{ref}`: one scan: plan, measures, what did not come along, downloads, lineage."""
        ref = ref_of(request)
        scan = await anyio.to_thread.run_sync(self.shelf.about, ref)
        told = await self.run(lambda: pages.gather(self.shelf, ref))
        return pages.scan_page(request, scan, told)


def ref_of(request: Request) -> Ref:
    return Ref.parse(request.path_params["ref"])


def stem(name: str) -> str:
    """A file's name without its ending, fit for a header."""
    plain = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "-" for one in plain)[:80] or "scan"


def json_reply(value: Any, status: int = 200) -> Response:
    data = json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str).encode()
    return Response(data, status, {"content-type": "application/json", "cache-control": NO_STORE})


def routes(work: Any) -> list[BaseRoute]:
    desk = Desk(work)
    return [
        Route("/scans", desk.take, methods=["POST"]),
        Route("/scans", desk.list_page, methods=["GET"]),
        Route("/scans/items", desk.items, methods=["GET"]),
        Route("/scans/{ref}.glb", desk.glb, methods=["GET"]),
        Route("/scans/{ref}/measures", desk.measures, methods=["GET"]),
        Route("/scans/{ref}/report", desk.report, methods=["GET"]),
        Route("/scans/{ref}", desk.scan_page, methods=["GET"]),
    ]
