"""`/openapi.json`: made from the routes and the boxes, so it cannot lag behind them.

A route is described by its endpoint's docstring; what its query, body and answers are like stands in `KNOWN` for
the routes of this package, in `Pack.described` for those of a pack, and comes from the signatures for `/derive/{box}`
and `/commit/{transaction}`: one operation for each box.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from boxwork.serve.bodies import json_reply
from boxwork.serve.inputs import REF_SCHEMA, schema
from boxwork.serve.limits import HEADER_LENGTH_MAX
from boxwork.transactions import LANES

ERROR = {
    "type": "object",
    "required": ["error", "message", "retry", "details", "request"],
    "properties": {
        "error": {"type": "string", "description": "a dotted code that stays the same"},
        "message": {"type": "string"},
        "retry": {"enum": ["never", "now", "later", "unknown"]},
        "details": {"type": "object"},
        "request": {"type": "string", "description": "the id of this request, as in x-request-id and in the log"},
    },
}
ERROR_REF = {"$ref": "#/components/schemas/Error"}
BYTES = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
DERIVED = {
    "type": "object",
    "required": ["ref", "key", "outcome", "bytes", "duration_ms", "url"],
    "properties": {
        "ref": REF_SCHEMA,
        "key": {"type": ["string", "null"]},
        "outcome": {"enum": ["hit", "computed"]},
        "bytes": {"type": "integer"},
        "duration_ms": {"type": "number"},
        "url": {"type": "string"},
    },
}
COMMITTED = {
    "type": "object",
    "required": ["answer", "receipt", "version", "index", "duration_ms"],
    "properties": {
        "answer": {"description": "what the transaction returned"},
        "receipt": {"type": "string", "description": "epoch.version.index.digest: where it stands in the log"},
        "version": {"type": "integer"},
        "index": {"type": "integer", "description": "its place in the batch; -1 if it only read"},
        "duration_ms": {"type": "number"},
    },
}
OBJECT = {"type": "object"}
LINK = {
    "type": "object",
    "required": ["path", "seconds"],
    "properties": {
        "path": {"type": "string", "pattern": "^/[A-Za-z0-9._~/-]{0,200}$"},
        "seconds": {"type": "integer", "minimum": 1, "maximum": 31622400},
    },
}
ADDED = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
    "properties": {
        "folder": {"type": "string", "pattern": "^/[ -~]{0,200}$", "description": "an absolute path of this machine"},
        "path": {
            "type": "string",
            "pattern": "^/[ -~]{0,200}$",
            "description": "of a file in a folder of the inventory",
        },
        "source": {
            "type": "string",
            "pattern": "^s3://[a-z0-9]{3,40}(/[A-Za-z0-9]{1,9})?$",
            "description": "an address: s3://bucket/prefix, mongodb://host/db.collection?field=…",
        },
    },
}


def _json(shape: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": shape}}


def _query(name: str, shape: dict[str, Any], said: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": shape, "description": said}


_PLAIN = r"[^{},=*?\[\]%\x00-\x1f\x7f]{1,100}"
SERIES = {
    "name": "series",
    "in": "query",
    "required": True,
    "schema": {"type": "string", "pattern": rf"^{_PLAIN}(\{{route=(\*|{_PLAIN})\}})?$"},
    "description": "the name of a series with its labels, `*` standing for any value: `http{route=*}`",
}
RECEIPT = r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}\.[0-9a-f]{64}$"
# (path, method) → what differs from the plain case, which is a JSON object as the answer and no body
KNOWN: dict[tuple[str, str], dict[str, Any]] = {
    ("/blobs/{ref}", "get"): {
        "parameters": [_query("name", {"type": "string"}, "save under this name")],
        "responses": {
            "200": {"description": "the bytes", "content": BYTES},
            "206": {"description": "the bytes asked for with Range", "content": BYTES},
            "304": {"description": "unchanged, as it ever is"},
            "416": {"description": "no such bytes"},
        },
    },
    ("/blobs/{ref}", "put"): {
        "requestBody": {"required": True, "content": BYTES},
        "responses": {
            "200": {"description": "it was here", "content": _json(OBJECT)},
            "201": {"description": "it is here now", "content": _json(OBJECT)},
        },
    },
    ("/blobs", "post"): {
        "requestBody": {"required": False, "content": BYTES},
        "responses": {"201": {"description": "it is here, under the name in the answer", "content": _json(OBJECT)}},
    },
    ("/items", "get"): {
        "parameters": [
            _query("after", {"type": "string", "pattern": "^([0-9a-f]{2})*$"}, "`next` of the page before"),
            _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "items in the page"),
            _query("q", {"type": "string", "maxLength": 200}, "part of the path, upper and lower case are the same"),
            _query("faulty", {"type": "boolean", "default": False}, "only what has a reason not to be shown"),
        ]
    },
    ("/links", "post"): {
        "requestBody": {"required": True, "content": _json(LINK)},
        "responses": {"201": {"description": "the link", "content": _json(OBJECT)}},
    },
    ("/links/keys", "post"): {
        "requestBody": {"required": True, "content": _json(OBJECT)},
        "responses": {"201": {"description": "the id of the new key", "content": _json(OBJECT)}},
    },
    **{(f"/pulse/{name}", "get"): {"parameters": [SERIES]} for name in ("query", "percentiles", "columns", "history")},
    ("/state/explain/{receipt}", "get"): {"path": {"receipt": {"type": "string", "pattern": RECEIPT}}},
    ("/why/{name}", "get"): {"path": {"name": {"type": "string", "pattern": "^(sha256:)?[0-9a-f]{64}$"}}},
    ("/items", "post"): {
        "parameters": [_query("name", {"type": "string"}, "of the file in the body, if the body is no JSON")],
        "requestBody": {"required": True, "content": {**_json(ADDED), **BYTES}},
        "responses": {"201": {"description": "the item, or what was found in the folder", "content": _json(OBJECT)}},
    },
}
PARAMETERS: dict[str, dict[str, Any]] = {"ref": {"type": "string", "pattern": "^(sha256:)?[0-9a-f]{64}$"}}


def document(work: Any, routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The whole description, OpenAPI 3.1."""
    described: dict[tuple[str, str], Any] = dict(KNOWN)
    for pack in work.packs:
        described.update(pack.described)
    paths: dict[str, dict[str, Any]] = {}
    for path, route in _flat(routes):
        if path == "/derive/{box}":
            for name, box in sorted(work.offered_boxes.items()):
                paths[f"/derive/{name}"] = {"post": _box(name, box)}
            continue
        if path == "/commit/{transaction}":
            for name, box in sorted(work.offered_transactions.items()):
                paths[f"/commit/{name}"] = {"post": _transaction(name, box)}
            continue
        clean = re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
        for method in sorted(route.methods or ()):
            if method != "HEAD":
                known = described.get((clean, method.lower()), {})
                paths.setdefault(clean, {})[method.lower()] = _operation(clean, method.lower(), route.endpoint, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Boxwork", "version": version("boxwork"),
            "description": "Everything is a hashing problem. Errors of every kind have one shape.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": {"Error": ERROR, **_definitions(work)}},
    }  # fmt: skip


def _flat(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, Route]]:
    for route in routes:
        if isinstance(route, Mount):
            yield from _flat(route.routes, prefix + route.path)
        elif isinstance(route, Route) and route.include_in_schema:
            yield prefix + route.path, route


def _said(endpoint: Any) -> str:
    text = (getattr(endpoint, "__doc__", None) or "").strip().partition("\n\n")[0]
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"^`[A-Z|]+ [^`]*`:? ?", "", text)


def _operation(path: str, method: str, endpoint: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    shapes = {**PARAMETERS, **known.get("path", {})}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": shapes.get(name, {"type": "string"})}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    responses = known.get("responses") or {"200": {"description": "good", "content": {"*/*": {}}}}
    found: dict[str, Any] = {
        "summary": _said(endpoint), "parameters": [*parameters, *known.get("parameters", ())],
        "responses": {**responses, "default": _error()},
    }  # fmt: skip
    if "requestBody" in known:
        found["requestBody"] = known["requestBody"]
    return found


def _error() -> dict[str, Any]:
    return {"description": "an error", "content": _json(ERROR_REF)}


def _box(name: str, box: Any) -> dict[str, Any]:
    shape = schema(box)
    shape.pop("$defs", None)
    return {
        "summary": (box.__doc__ or "").strip().partition("\n")[0], "operationId": f"derive_{name}", "tags": ["derive"],
        "requestBody": {"required": True, "content": _json(shape)},
        "responses": {"200": {"description": "the output's name", "content": _json(DERIVED)}, "default": _error()},
    }  # fmt: skip


def _transaction(name: str, box: Any) -> dict[str, Any]:
    shape = schema(box)
    shape.pop("$defs", None)
    text = {"type": "string", "pattern": f"^[ -~]{{0,{HEADER_LENGTH_MAX}}}$"}
    return {
        "summary": (box.function.__doc__ or "").strip().partition("\n")[0], "operationId": f"commit_{name}",
        "tags": ["commit"],
        "parameters": [
            {
                "name": "Idempotency-Key", "in": "header", "required": False, "schema": text,
                "description": "a second request with it changes nothing and answers the same, for a day",
            },
            {
                "name": "Boxwork-Who", "in": "header", "required": False, "schema": text,
                "description": "named to others whom this gets in the way of",
            },
            _query("lane", {"enum": list(LANES[1:])}, "where it runs, if not where it says itself"),
        ],
        "requestBody": {"required": True, "content": _json(shape)},
        "responses": {
            "200": {"description": "it is durable", "content": _json(COMMITTED)},
            "409": {"description": "refused: a precondition or a bound does not hold", "content": _json(ERROR_REF)},
            "default": _error(),
        },
    }  # fmt: skip


def _definitions(work: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for box in (*work.offered_boxes.values(), *work.offered_transactions.values()):
        found.update(schema(box).get("$defs", {}))
    return found


async def openapi(request: Request) -> Response:
    """`GET /openapi.json`: this description."""
    state = request.app.state
    return json_reply(document(state.work, state.edge.routes), headers={"cache-control": "no-cache"})


ROUTES: list[BaseRoute] = [Route("/openapi.json", openapi, methods=["GET"])]
