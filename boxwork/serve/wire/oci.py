"""`/v2`: the OCI distribution protocol, version 1.1, for podman, skopeo, buildah, oras and docker as they are.

The name of a blob here is its digest there, so nothing is translated and nothing is kept twice: a layer, a thumbnail
and a build output with the same bytes are one blob, and a push skips whatever the store has, from wherever it came.
What is particular to images (tags, manifests, what refers to what) is `content/repositories.py`.

Source: github.com/opencontainers/distribution-spec, v1.1; its section numbers stand at the endpoints (`end-…`).
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router

from boxwork.content.places.disk import TOUCH_NS
from boxwork.content.repositories import MANIFEST_BYTES_MAX, OCI_INDEX, Repositories, check_name
from boxwork.content.store import missing
from boxwork.errors import BadInput, BadRef, BlobCorrupt, BlobMissing, BoxworkError, Busy, Forbidden, NotFound, TooLarge
from boxwork.keys import Ref
from boxwork.serve import blobs
from boxwork.serve.bodies import Body, body_of
from boxwork.serve.limits import INLINE_READ_BYTES_MAX
from boxwork.serve.wire.oci_uploads import Upload, Uploads

PREFIX = "/v2"
# Entries of a list that says no `n`, and the most that one answer has.  Arbitrary; docker-registry's are 100 and 1,000.
PAGE_ENTRIES, PAGE_ENTRIES_MAX = 100, 1000

_CHUNK = re.compile(r"(\d{1,18})-(\d{1,18})")
_STATUS_TO_CODE = {401: "UNAUTHORIZED", 403: "DENIED", 405: "UNSUPPORTED", 429: "TOOMANYREQUESTS"}
_BYTES = "application/octet-stream"

T = TypeVar("T")


class WrongChunk(BadInput):
    code = "registry.chunk"
    status = 416


class NotOffered(BadInput):
    code = "registry.unsupported"
    status = 405


def speaks(path: str) -> bool:
    """Is this an address of the registry, whose errors have a shape of their own."""
    return path == PREFIX or path.startswith(PREFIX + "/")


def error_reply(error: BoxworkError, request: str) -> Response:
    """An error in the shape that registry clients read."""
    code = error.details.get("oci") or _code_of(error)
    detail = {name: value for name, value in error.details.items() if name != "oci"}
    told = {"code": code, "message": error.message, "detail": {**detail, "error": error.code, "request": request}}
    headers = {"retry-after": "1"} if error.retry == "later" else {}
    if "allow" in error.details:  # 405: HTTP wants the list in the head too
        headers["allow"] = str(error.details["allow"])
    return _json({"errors": [told]}, error.status, headers)


def _code_of(error: BoxworkError) -> str:
    if isinstance(error, BlobMissing):
        return "BLOB_UNKNOWN"
    if isinstance(error, BadRef):
        return "DIGEST_INVALID"
    if isinstance(error, TooLarge):
        return "SIZE_INVALID"
    if isinstance(error, NotFound):
        return "NAME_UNKNOWN"
    if isinstance(error, Busy):
        return "TOOMANYREQUESTS"
    if isinstance(error, Forbidden):
        return "DENIED"
    return _STATUS_TO_CODE.get(error.status, "UNKNOWN")


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None, kind: str = "") -> Response:
    return Response(
        msgspec.json.encode(value, enc_hook=str),
        status,
        {"docker-distribution-api-version": "registry/2.0", "cache-control": "no-store", **(headers or {})},
        media_type=kind or "application/json",
    )


def _empty(status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(None, status, {"docker-distribution-api-version": "registry/2.0", **(headers or {})})


class Registry:
    """The endpoints over one node."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def repositories(self) -> Repositories:
        found: Repositories = self.work.repositories
        return found

    @functools.cached_property
    def uploads(self) -> Uploads:
        return Uploads(self.work.content, self.work.clock, self.work.settings)

    # --- what there is

    async def base(self, request: Request) -> Response:
        """`GET /v2/`: this is a registry (end-1)."""
        return _json({})

    async def catalog(self, request: Request) -> Response:
        """`GET /v2/_catalog`: the names of all repositories, in order; `?n=` and `?last=` page."""
        return self._page(request, "repositories", lambda after, limit: self.repositories.names(after, limit))

    async def tags(self, request: Request) -> Response:
        """`GET /v2/{name}/tags/list`: tags in order; `?n=` and `?last=` page (end-8)."""
        name = _name(request)
        return self._page(
            request, "tags", lambda after, limit: self.repositories.tags(name, after, limit), {"name": name}
        )

    def _page(
        self, request: Request, field: str, read: Callable[[str, int], list[str]], more: Mapping[str, str] | None = None
    ) -> Response:
        limit = _limit(request)
        # One more than wanted says whether there is a next page.
        found = read(request.query_params.get("last", ""), limit + 1)
        headers = {}
        if len(found) > limit:
            found = found[:limit]
            if found:
                query = urlencode({"n": limit, "last": found[-1]})
                headers["link"] = f'<{request.url.path}?{query}>; rel="next"'
        return _json({**(more or {}), field: found}, 200, headers)

    async def referrers(self, request: Request) -> Response:
        """`GET /v2/{name}/referrers/{digest}`: an index of the manifests that are about this one (end-12)."""
        name, subject = _name(request), _digest(request)
        limit = _limit(request, PAGE_ENTRIES_MAX)
        last = request.query_params.get("last", "")
        found = await _thread(request, lambda: self.repositories.referrers(name, subject, last, limit + 1))
        headers = {}
        if len(found) > limit:
            found = found[:limit]
            headers["link"] = f'<{request.url.path}?{urlencode({"n": limit, "last": found[-1].digest})}>; rel="next"'
        wanted = request.query_params.get("artifactType")
        if wanted:
            found = [each for each in found if each.artifact_type == wanted]
            headers["oci-filters-applied"] = "artifactType"
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        return _json(index, 200, headers, OCI_INDEX)

    # --- manifests

    async def get_manifest(self, request: Request) -> Response:
        """`GET|HEAD /v2/{name}/manifests/{reference}`: by tag or digest, in the type it was pushed as (end-3)."""
        found = self.repositories.find(_name(request), _reference(request))
        headers = {
            "docker-content-digest": str(found.ref), "etag": f'"{found.ref}"', "content-length": str(found.size),
            "content-type": found.media_type, "cache-control": "no-cache",
        }  # fmt: skip
        if blobs.unchanged(request, found.ref):
            del headers["content-length"]
            return _empty(304, headers)
        if request.method == "HEAD":
            return _empty(200, headers)
        if found.size <= INLINE_READ_BYTES_MAX:
            data = self.work.get(found.ref)
        else:
            data = await _thread(request, lambda: self.work.get(found.ref))
        return Response(data, 200, {"docker-distribution-api-version": "registry/2.0", **headers})

    async def put_manifest(self, request: Request) -> Response:
        """`PUT /v2/{name}/manifests/{reference}`: what it holds must be here; a tag moves at once (end-7)."""
        name, reference = _name(request), _reference(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        idle_s = self.work.settings.number("serve.body_idle_s_max")
        data = await Body(request, MANIFEST_BYTES_MAX, idle_s, "of the protocol").whole()
        try:
            found = await _thread(request, lambda: self.repositories.publish(name, reference, data, kind))
        except BlobMissing as fault:
            raise BadInput(fault.message, **fault.details, oci="MANIFEST_BLOB_UNKNOWN") from fault
        headers = {"location": _sibling(request, "manifests", found.ref), "docker-content-digest": str(found.ref)}
        subject = _subject(data)
        if subject:
            headers["oci-subject"] = subject
        return _empty(201, headers)

    async def delete_manifest(self, request: Request) -> Response:
        """`DELETE /v2/{name}/manifests/{reference}`: a tag alone, or by digest a manifest and its tags (end-9)."""
        name, reference = _name(request), _reference(request)
        if not await _thread(request, lambda: self.repositories.delete(name, reference)):
            raise NotFound(f"{name} has no manifest {reference[:140]!r}", oci="MANIFEST_UNKNOWN")
        return _empty(202)

    # --- blobs

    async def get_blob(self, request: Request) -> Response:
        """`GET|HEAD /v2/{name}/blobs/{digest}`: any public blob of the store, whole or by Range (end-2)."""
        _name(request)
        ref = _digest(request)
        if request.method != "HEAD":
            reply = await blobs.answer(request, ref, kind=_BYTES)
            reply.headers["docker-content-digest"] = str(ref)
            reply.headers["docker-distribution-api-version"] = "registry/2.0"
            return reply
        size = await self._present(request, ref)
        return _empty(
            200,
            {
                "docker-content-digest": str(ref), "etag": f'"{ref}"', "content-length": str(size),
                "content-type": _BYTES, "accept-ranges": "bytes", "cache-control": blobs.FOREVER,
            },
        )  # fmt: skip

    async def delete_blob(self, request: Request) -> Response:
        """`DELETE /v2/{name}/blobs/{digest}`: not offered, for a blob is everybody's (end-10)."""
        raise NotOffered("a blob may belong to others too: delete manifests, and `boxwork gc` takes what nobody needs")

    async def _present(self, request: Request, ref: Ref) -> int:
        """The size of a blob whose client will now not send it: so it is marked as used, and no sweep takes it."""
        if not self.work.spaces.is_public(ref):
            raise missing(ref)
        row = self.work.content.durable.row(ref.digest)
        if row is None or row.touched_ns < self.work.clock.now_ns() - TOUCH_NS:
            await _thread(request, lambda: self.work.content.touch([ref]))
        size: int = self.work.size(ref)
        return size

    # --- uploads

    async def post_upload(self, request: Request) -> Response:
        """`POST /v2/{name}/blobs/uploads/`: begin; with `?digest=` all of it, with `?mount=` none (end-4, 11)."""
        name = _name(request)
        mount = request.query_params.get("mount")
        if mount is not None:
            try:
                ref = Ref.parse(mount)
                await self._present(request, ref)
            except BlobMissing:
                pass  # the client has to send it, says the specification
            else:
                return _stored(request, ref)
        upload = self.uploads.begin(name)
        self._arm()
        if "digest" in request.query_params:
            return await self._finish(request, upload, ends_anyway=True)
        return _empty(202, self._progress(request, upload))

    async def patch_upload(self, request: Request) -> Response:
        """`PATCH /v2/{name}/blobs/uploads/{id}`: the next piece, of any size (end-5)."""
        upload = self._upload(request)
        await self._write(request, upload)
        return _empty(202, self._progress(request, upload))

    async def put_upload(self, request: Request) -> Response:
        """`PUT /v2/{name}/blobs/uploads/{id}?digest=`: the last piece, or all of it; kept under its digest (end-6)."""
        return await self._finish(request, self._upload(request))

    async def get_upload(self, request: Request) -> Response:
        """`GET /v2/{name}/blobs/uploads/{id}`: how far it has come (end-13)."""
        return _empty(204, self._progress(request, self._upload(request)))

    async def delete_upload(self, request: Request) -> Response:
        """`DELETE /v2/{name}/blobs/uploads/{id}`: give it up (end-14)."""
        upload = self._upload(request)
        self.uploads.take(upload)
        self.uploads.end(upload)
        return _empty(204)

    def _upload(self, request: Request) -> Upload:
        return self.uploads.find(_name(request), request.path_params["upload"])

    def _progress(self, request: Request, upload: Upload) -> dict[str, str]:
        return {
            "location": _sibling(request, "blobs/uploads", upload.id),
            "range": f"0-{max(0, upload.writer.size - 1)}",
            "docker-upload-uuid": upload.id,
        }

    async def _write(self, request: Request, upload: Upload) -> None:
        """Add the body.  What has come of a body that breaks off stays, and the client may go on from there."""
        body = body_of(request, "serve.blob_bytes_max")
        self.uploads.take(upload)
        try:
            _check_chunk(request.headers.get("content-range"), upload.writer.size, body.declared_bytes)
            while piece := await body.piece():
                if upload.writer.size + len(piece) > body.bytes_max:
                    raise TooLarge(f"a blob has at most {body.bytes_max:,} bytes (setting serve.blob_bytes_max)")
                if len(piece) <= INLINE_READ_BYTES_MAX:
                    upload.writer.write(piece)
                else:
                    await _thread(request, functools.partial(upload.writer.write, piece))
        finally:
            self.uploads.leave(upload)

    async def _finish(self, request: Request, upload: Upload, *, ends_anyway: bool = False) -> Response:
        try:
            expect = Ref.parse(request.query_params.get("digest", ""))
            await self._write(request, upload)
            self.uploads.take(upload)
            ends_anyway = True
            ref = await _thread(request, lambda: upload.writer.commit(expect))
        except BlobCorrupt as fault:
            raise BadInput(f"the blob is not what its digest says: {fault.message}", oci="DIGEST_INVALID") from fault
        finally:
            if ends_anyway:
                self.uploads.end(upload)
        return _stored(request, ref)

    def _arm(self) -> None:
        """Look for abandoned uploads once in their time, as long as there are any."""
        if self._expiry is None:
            wait_s = self.uploads.idle_s_max + 1
            self._expiry = asyncio.get_running_loop().call_later(wait_s, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self.uploads.expire()
        if len(self.uploads):
            self._arm()


async def _thread(request: Request, call: Callable[[], T]) -> T:
    """For what may wait for the disk: in one of the few threads that large blobs share."""
    return await anyio.to_thread.run_sync(call, limiter=request.app.state.threads)


# --- what a request says


def _name(request: Request) -> str:
    return check_name(request.path_params["name"])


def _reference(request: Request) -> str:
    reference: str = request.path_params["reference"]
    if ":" in reference:
        return Ref.parse(reference)
    return reference


def _digest(request: Request) -> Ref:
    text = request.path_params["digest"]
    if not text.startswith("sha256:"):
        raise BadRef(f"{text[:80]!r} is no digest that is kept here: sha256: and 64 hexadecimal digits")
    return Ref.parse(text)


def _limit(request: Request, default: int = PAGE_ENTRIES) -> int:
    text = request.query_params.get("n", str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadInput(f"?n= is how many entries to list, not {text[:40]!r}", oci="PAGINATION_NUMBER_INVALID")
    return min(int(text), PAGE_ENTRIES_MAX)


def _check_chunk(header: str | None, have: int, declared: int | None) -> None:
    """Content-Range of a PATCH is `first-last`, without a unit: it must go on where the last one ended."""
    if header is None:
        return
    found = _CHUNK.fullmatch(header.removeprefix("bytes ").partition("/")[0])
    if found is None or int(found[1]) != have or (declared is not None and int(found[2]) - have + 1 != declared):
        raise WrongChunk(
            f"{have} bytes have come; a chunk of {declared} bytes with Content-Range {header[:60]!r} does not go on"
            " there",
            oci="BLOB_UPLOAD_INVALID",
        )


def _subject(manifest: bytes) -> str:
    return msgspec.json.decode(manifest).get("subject", {}).get("digest", "") or ""


# --- addresses: relative ones, so that they hold behind any proxy


def _sibling(request: Request, kind: str, last: str) -> str:
    return f"{request.scope.get('root_path', '')}/{request.path_params['name']}/{kind}/{last}"


def _stored(request: Request, ref: Ref) -> Response:
    return _empty(201, {"location": _sibling(request, "blobs", ref), "docker-content-digest": str(ref)})


class _Inner(Router):
    """Starlette's routers compare by their routes and so have no hash; what times requests looks routes up."""

    __hash__ = object.__hash__


def routes(work: Any) -> list[BaseRoute]:
    """The registry of this node, mounted at `/v2`."""
    at = Registry(work)
    upload = "/{name:path}/blobs/uploads/{upload}"
    blob, manifest = "/{name:path}/blobs/{digest}", "/{name:path}/manifests/{reference}"
    inner = [
        Route(blob, at.get_blob, methods=["GET"]),
        Route(manifest, at.get_manifest, methods=["GET"]),
        Route("/", at.base, methods=["GET"]),
        Route("/{name:path}/blobs/uploads/", at.post_upload, methods=["POST"]),
        Route("/{name:path}/blobs/uploads", at.post_upload, methods=["POST"]),
        Route(upload, at.patch_upload, methods=["PATCH"]),
        Route(upload, at.put_upload, methods=["PUT"]),
        Route(upload, at.get_upload, methods=["GET"]),
        Route(upload, at.delete_upload, methods=["DELETE"]),
        Route(blob, at.delete_blob, methods=["DELETE"]),
        Route(manifest, at.put_manifest, methods=["PUT"]),
        Route(manifest, at.delete_manifest, methods=["DELETE"]),
        Route("/{name:path}/tags/list", at.tags, methods=["GET"]),
        Route("/{name:path}/referrers/{digest}", at.referrers, methods=["GET"]),
        Route("/_catalog", at.catalog, methods=["GET"]),
    ]
    # The OCI distribution specification describes these; their errors have its shape, not the one of /openapi.json.
    for route in inner:
        route.include_in_schema = False
    base = Route(PREFIX, at.base, methods=["GET"], include_in_schema=False)
    return [Mount(PREFIX, app=_Inner(inner, redirect_slashes=False)), base]
