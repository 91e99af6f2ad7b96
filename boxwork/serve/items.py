"""`/items`: what is in the inventory, by page and by search; what is added to it and taken out.

    GET    /items?after=&limit=&q=&faulty=   a page; `next` is the cursor of the following one, empty at the end
    GET    /items/{id}                       one item
    POST   /items                            {"folder": path} or {"path": path} as JSON: referenced where it lies
    POST   /items                            {"source": "s3://…" or "mongodb://…"}: the same for what lies elsewhere
    POST   /items?name=sea.jpg               any other body: a file that is kept in the data directory
    DELETE /items/{id}                       out of the inventory; the file stays where it is

What lies on this machine's disks, or is reached with its credentials, may only be named by somebody who sits at it,
whatever the guard says.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from boxwork.content.sources.source import is_address
from boxwork.errors import BadInput, Forbidden, NotFound
from boxwork.serve.bodies import body_of, json_reply, read_json
from boxwork.serve.guard import local_peer
from boxwork.serve.uploads import DIRECTORY, keep, plain_name

# Items in one page.  Unit: items; about 300 bytes each.
PAGE_ITEMS = 100
PAGE_ITEMS_MAX = 1000
QUERY_LENGTH_MAX = 200
KINDS = {"folder": "an absolute path", "path": "an absolute path", "source": "an address, s3://… or mongodb://…"}


def plain(item: Any) -> dict[str, Any]:
    """An item as JSON.  Where its folder lies on this machine stays here."""
    known = {"id": item.id, "name": item.name, "ref": item.ref, "bytes": item.size, "mtime_ns": item.mtime_ns}
    if item.reason:
        known["reason"] = item.reason
    return known if item.ref is None else {**known, "url": f"/blobs/{item.ref}"}


async def list_items(request: Request) -> Response:
    """`GET /items`: a page of the inventory in order of folder and path."""
    query = request.query_params
    text = query.get("limit", str(PAGE_ITEMS))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= PAGE_ITEMS_MAX):
        raise BadInput(f"limit={text[:20]!r}: a whole number from 1 to {PAGE_ITEMS_MAX}, please")
    words = query.get("q", "")
    if len(words) > QUERY_LENGTH_MAX:
        raise BadInput(f"q has {len(words)} characters; at most {QUERY_LENGTH_MAX} are looked for")
    faulty = query.get("faulty", "false")
    if faulty not in ("true", "false"):
        raise BadInput(f"faulty={faulty[:20]!r}: true or false, please")
    inventory = request.app.state.work.inventory
    after = query.get("after", "")
    page = await anyio.to_thread.run_sync(
        lambda: inventory.items(after=after, limit=int(text), contains=words, faulty=faulty == "true"),
        limiter=request.app.state.threads,
    )
    return json_reply({"items": [plain(item) for item in page.items], "next": page.next, "count": inventory.count()})


def found(request: Request, item: Any) -> dict[str, Any]:
    if item is None:
        name = request.path_params["id"]
        raise NotFound(f"there is no item {name[:80]!r}; GET /items lists what there is")
    return plain(item)


async def get_item(request: Request) -> Response:
    """`GET /items/{id}`: one item of the inventory."""
    return json_reply(found(request, request.app.state.work.inventory.item(request.path_params["id"])))


async def delete_item(request: Request) -> Response:
    """`DELETE /items/{id}`: takes it out of the inventory; the file stays, and is passed over from now on."""
    inventory = request.app.state.work.inventory
    name = request.path_params["id"]
    item = await anyio.to_thread.run_sync(inventory.hide, name, limiter=request.app.state.threads)
    return json_reply(found(request, item))


async def post_item(request: Request) -> Response:
    """`POST /items`: a folder or a file of this machine by its path (JSON), or a file itself (any other body)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        return await _refer(request)
    return await _upload(request)


async def _refer(request: Request) -> Response:
    peer = request.client.host if request.client else ""
    if not local_peer(peer, request.headers.get("host", "")):
        raise Forbidden("only somebody at this machine may name its folders; send the file itself instead")
    given = await read_json(request)
    if not (isinstance(given, dict) and len(given) == 1 and next(iter(given)) in ("folder", "path", "source")):
        raise BadInput(
            'say what to add as {"folder": "/a/folder"}, {"path": "/a/folder/sea.jpg"} or {"source": "s3://…"}'
        )
    kind, text = next(iter(given.items()))
    if not isinstance(text, str) or not text.isprintable() or is_address(text) != (kind == "source"):
        raise BadInput(f"{kind} is {str(text)[:200]!r}; it has to be {KINDS[kind]}")
    if kind != "source" and not Path(text).is_absolute():
        raise BadInput(f"{kind} is {text[:200]!r}; it has to be {KINDS[kind]}")
    state = request.app.state
    if kind != "path":
        told = await anyio.to_thread.run_sync(add_source, state.work, kind, text, limiter=state.threads)
        return json_reply(told, 201)
    return _added(await anyio.to_thread.run_sync(add_file, state.work, Path(text), limiter=state.threads))


async def _upload(request: Request) -> Response:
    state = request.app.state
    suffixes = suffixes_of(state.work)
    name = plain_name(request.query_params.get("name", ""), suffixes)
    body = body_of(request, "serve.blob_bytes_max")
    loop = asyncio.get_running_loop()

    def take() -> dict[str, Any]:
        folder = state.work.node.root / DIRECTORY
        kept = keep(folder, name, body.from_thread(loop), state.work.clock.token(8))
        return _taken(state.work, folder, kept)

    return _added(await anyio.to_thread.run_sync(take, limiter=state.threads))


def _added(item: dict[str, Any]) -> Response:
    return json_reply(item, 201, {"location": f"/items/{item['id']}"})


def suffixes_of(work: Any) -> tuple[str, ...]:
    """The files that some pack can do something with; as in `boxwork up`."""
    return tuple(sorted({suffix for pack in work.packs if pack.prepare for suffix in pack.suffixes}))


def add_source(work: Any, kind: str, given: str) -> dict[str, Any]:
    """Take a source in where it lies; `boxwork up` then watches it and derives what people will ask for first."""
    counts = {"new": 0, "known": 0, "changed": 0, "gone": 0, "unreadable": 0}
    for seen in work.inventory.scan(given, suffixes=suffixes_of(work)):
        counts[seen.state] += 1
    return {kind: given, **counts}


def add_file(work: Any, path: Path) -> dict[str, Any]:
    """Take one file in; also one that had been taken out.  It has to lie in a folder of the inventory."""
    place = path.resolve()
    for folder in work.inventory.folders():
        if place.is_relative_to(folder):
            if not place.is_file():
                raise BadInput(f"{path} is no file that can be read", path=str(path))
            return _taken(work, folder, str(place.relative_to(folder)))
    raise BadInput(f'{path} lies in no folder of the inventory: add {{"folder": "{path.parent}"}}', path=str(path))


def _taken(work: Any, folder: Path, name: str) -> dict[str, Any]:
    seen = work.inventory.take(folder, name)
    return plain(work.inventory.item(seen.id))


ROUTES: list[BaseRoute] = [
    Route("/items", list_items, methods=["GET"]),
    Route("/items", post_item, methods=["POST"]),
    Route("/items/{id}", get_item, methods=["GET"]),
    Route("/items/{id}", delete_item, methods=["DELETE"]),
]
