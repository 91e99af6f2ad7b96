"""What /openapi.json says of the routes of this pack that people and their scripts ask."""

from __future__ import annotations

from typing import Any

NUMBER = {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"}
TEXT = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"}
REF = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}


def _order(required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    shape = {"type": "object", "required": required, "properties": properties, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": shape}}}}


DESCRIBED: dict[tuple[str, str], dict[str, Any]] = {
    ("/fleet/versions/{number}", "get"): {"path": {"number": NUMBER}},
    ("/fleet/versions", "post"): _order(["template", "author", "reason"], template=REF, author=TEXT, reason=TEXT),
    ("/fleet/rollouts", "post"): _order(
        ["version", "who"],
        version={"type": "integer", "minimum": 1, "maximum": 10**6},
        who=TEXT,
        why={"type": "string"},
        only={"type": "string", "pattern": "^[a-z_]{1,40}=[a-z0-9]{1,40}$"},
    ),
    ("/fleet/rollouts/{number}/{action}", "post"): {
        "path": {"number": NUMBER, "action": {"enum": ["pause", "resume", "abort"]}},
        **_order(["who", "why"], who=TEXT, why=TEXT),
    },
}
