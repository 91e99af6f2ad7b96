"""What /openapi.json says of the routes of this pack."""

from __future__ import annotations

from typing import Any

NAME = {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,60}$"}
REASON = {"type": "string", "maxLength": 500}


def _order(said: str, status: str, **properties: dict[str, Any]) -> dict[str, Any]:
    shape = {"type": "object", "properties": properties, "additionalProperties": False}
    return {
        "path": {"name": NAME},
        "requestBody": {"required": True, "content": {"application/json": {"schema": shape}}},
        "responses": {status: {"description": said, "content": {"application/json": {"schema": {"type": "object"}}}}},
    }


DESCRIBED: dict[tuple[str, str], dict[str, Any]] = {
    ("/images/{name}/build", "post"): _order("it has begun", "202", reason=REASON, fresh={"type": "boolean"}),
    ("/images/{name}/rollback", "post"): _order(
        "the versions before and now", "200", reason=REASON, number={"type": "integer", "minimum": 0, "maximum": 10**6}
    ),
}
