"""`/blobs`: bytes by their name.

A name is a hash, so an answer never changes: the name is the ETag, it may be kept for ever, and what is put under
it is checked against it.  Whoever reads a blob gets bytes that a stranger may have put there: the type is sniffed
from a short list, nothing in it runs (`sandbox`), and it is never taken for something else (`nosniff`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, BinaryIO
from urllib.parse import quote

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from boxwork.content.store import missing
from boxwork.errors import BadInput, BlobCorrupt
from boxwork.keys import Ref
from boxwork.serve.bodies import GATHER_BYTES, body_of, json_reply
from boxwork.serve.limits import CHUNK_BYTES, INLINE_READ_BYTES_MAX
from boxwork.serve.ranges import Span, Unsatisfiable, parse_etags, parse_range
from boxwork.serve.sniff import HEAD_BYTES, content_type

# A year, and `immutable`: RFC 8246.  Browsers do not even ask again on a reload.
FOREVER = "public, max-age=31536000, immutable"
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'"


def unchanged(request: Request, ref: str) -> bool:
    """Does the client have it already (If-None-Match)."""
    known = request.headers.get("if-none-match")
    if known is None:
        return False
    tags = parse_etags(known)
    return tags is None or ref in tags


def _headers(ref: Ref, kind: str, name: str) -> dict[str, str]:
    headers = {
        "etag": f'"{ref}"', "cache-control": FOREVER, "accept-ranges": "bytes", "content-type": kind,
        "content-security-policy": SANDBOX, "cross-origin-resource-policy": "same-origin",
    }  # fmt: skip
    if name:
        headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(name[:200], safe='')}"
    return headers


class NotItsName(BadInput):
    code = "blob.name"
    status = 409


async def get_blob(request: Request) -> Response:
    """`GET|HEAD /blobs/{ref}`; `?name=` makes the browser save it under that name."""
    ref = Ref.parse(request.path_params["ref"])
    return await answer(request, ref, request.query_params.get("name", ""))


async def answer(request: Request, ref: Ref, name: str = "", kind: str = "") -> Response:
    """The blob as this request wants it: all of it, a part, or only whether it is still the same."""
    work = request.app.state.work
    if not work.spaces.is_public(ref):  # what lies in a private space is as if it were not here
        raise missing(ref)
    size = work.size(ref)  # raises BlobMissing before anything else is decided
    if unchanged(request, ref):
        kept = _headers(ref, "", name)
        del kept["content-type"]
        return Response(None, 304, kept)
    span = None
    header = request.headers.get("range")
    if header is not None and request.method == "GET" and request.headers.get("if-range", f'"{ref}"') == f'"{ref}"':
        try:
            span = parse_range(header, size)
        except Unsatisfiable:
            return Response(None, 416, {"content-range": f"bytes */{size}", "cache-control": "no-store"})
    if size <= INLINE_READ_BYTES_MAX:
        data = work.get(ref)
        return _reply(request, ref, name, kind or content_type(data[:HEAD_BYTES]), size, span, data)
    threads: anyio.CapacityLimiter = request.app.state.threads
    file = await anyio.to_thread.run_sync(work.open, ref, limiter=threads)
    try:
        head = await anyio.to_thread.run_sync(file.read, HEAD_BYTES, limiter=threads)
    except BaseException:
        file.close()
        raise
    return _reply(request, ref, name, kind or content_type(head), size, span, file)


def _reply(
    request: Request, ref: Ref, name: str, kind: str, size: int, span: Span | None, source: bytes | BinaryIO
) -> Response:
    headers = _headers(ref, kind, name)
    wanted = span or Span(0, size)
    status = 206 if span else 200
    if span:
        headers["content-range"] = span.content_range(size)
    headers["content-length"] = str(wanted.length)
    if isinstance(source, bytes):
        return Response(source[wanted.start : wanted.stop], status, headers)
    if request.method == "HEAD":
        source.close()
        return Response(None, status, headers)
    return StreamingResponse(_pieces(source, wanted, request.app.state.threads), status, headers)


async def _pieces(file: BinaryIO, span: Span, threads: anyio.CapacityLimiter) -> AsyncIterator[bytes]:
    left = span.length
    try:
        file.seek(span.start)
        while left > 0:
            piece = await anyio.to_thread.run_sync(file.read, min(CHUNK_BYTES, left), limiter=threads)
            if not piece:
                raise BlobCorrupt(f"a blob ended {left} bytes before its size; `boxwork doctor` looks for the damage")
            left -= len(piece)
            yield piece
    finally:
        file.close()


async def put_blob(request: Request) -> Response:
    """`PUT /blobs/{ref}`: kept only if the bytes have that name; 201 when it is new, 200 when it was here."""
    ref = Ref.parse(request.path_params["ref"])
    work = request.app.state.work
    if work.has(ref) and work.spaces.is_public(ref):
        return json_reply({"ref": ref, "new": False})
    return await _take(request, ref)


async def post_blob(request: Request) -> Response:
    """`POST /blobs`: kept, and the answer says under which name."""
    return await _take(request, None)


async def _take(request: Request, expect: Ref | None) -> Response:
    work = request.app.state.work
    threads: anyio.CapacityLimiter = request.app.state.threads
    body = body_of(request, "serve.blob_bytes_max")
    try:
        if body.declared_bytes is not None and body.declared_bytes <= GATHER_BYTES:
            data = await body.whole()
            ref = await anyio.to_thread.run_sync(lambda: keep(work, iter((data,)), expect), limiter=threads)
        else:
            loop = asyncio.get_running_loop()
            ref = await anyio.to_thread.run_sync(lambda: keep(work, body.from_thread(loop), expect), limiter=threads)
    except BlobCorrupt as fault:
        raise NotItsName(f"the body is not what its name says: {fault.message}", **fault.details) from fault
    return json_reply({"ref": ref, "bytes": body.read_bytes, "new": True}, 201, {"location": f"/blobs/{ref}"})


def keep(work: Any, pieces: Any, expect: Ref | None) -> Ref:
    ref: Ref = work.content.put_stream(pieces, expect=expect)
    return ref


ROUTES = [
    Route("/blobs", post_blob, methods=["POST"]),
    Route("/blobs/{ref}", get_blob, methods=["GET"]),
    Route("/blobs/{ref}", put_blob, methods=["PUT"]),
]
