"""What /openapi.json says of the routes of this pack, and what their bodies are: one description is both."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

# Blobs of one answer.
BLOBS_MAX = 512
KEY = "^[0-9a-f]{64}$"
NAME = {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,60}$"}
NUMBER = {"type": "integer", "minimum": 1, "maximum": 10**6}

Reason = Annotated[str, msgspec.Meta(max_length=500)]
Refs = Annotated[
    list[Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]], msgspec.Meta(max_length=BLOBS_MAX)
]


class Build(msgspec.Struct, forbid_unknown_fields=True):
    """fresh: look at the sources again, though the recipe is the same."""

    reason: Reason = ""
    fresh: bool = False


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    """number: of a version; 0 is the one before."""

    reason: Reason = ""
    number: Annotated[int, msgspec.Meta(ge=0, le=10**6)] = 0


def _asked(kind: Any, status: int, said: str, answer: dict[str, Any], **path: Any) -> dict[str, Any]:
    shape = msgspec.json.schema(kind)
    shape = next(iter(shape["$defs"].values())) if "$defs" in shape else shape
    return {
        "path": path,
        "requestBody": {"required": True, "content": {"application/json": {"schema": shape}}},
        "responses": {str(status): {"description": said, "content": answer}},
    }


def _object() -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "object"}}}


DESCRIBED: dict[tuple[str, str], dict[str, Any]] = {
    ("/images/{name}/build", "post"): _asked(Build, 202, "it has begun", _object(), name=NAME),
    ("/images/{name}/rollback", "post"): _asked(Rollback, 200, "the versions before and now", _object(), name=NAME),
    ("/images/{name}/{number}/sbom", "get"): {"path": {"name": NAME, "number": NUMBER}},
    ("/images/steps/{key}", "get"): {
        "path": {"key": {"type": "string", "pattern": KEY}},
        "responses": {"200": {"description": "the root that it made, signed", "content": _object()}},
    },
    ("/images/peers/blobs", "post"): _asked(
        Refs, 200, "blobs, one after another, as far as they are here and one answer takes them",
        {"application/msgpack": {"schema": {"type": "string", "format": "binary"}}},
    ),
}  # fmt: skip
