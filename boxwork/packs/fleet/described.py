"""What /openapi.json says of the routes of this pack that people and their scripts ask."""

from __future__ import annotations

from typing import Any

from boxwork.packs.fleet import orders

NUMBER = "^[1-9][0-9]{0,8}$"
# What is looked for in names.  Unit: characters; a name has 253 at most.
WORDS_MAX = 100
NUMBERED = {"type": "string", "pattern": NUMBER}


def _order(kind: Any, status: int, said: str) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": orders.shape(kind)}}},
        "responses": {
            str(status): {"description": said, "content": {"application/json": {"schema": {"type": "object"}}}}
        },
    }


def _query(name: str, shape: dict[str, Any], said: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": shape, "description": said}


DESCRIBED: dict[tuple[str, str], dict[str, Any]] = {
    ("/fleet/hosts.json", "get"): {
        "parameters": [
            _query("q", {"type": "string", "maxLength": WORDS_MAX}, "part of the name"),
            _query("only", {"type": "string", "maxLength": WORDS_MAX}, "how they are: `well`, `away`, `failed` …"),
        ]
    },
    ("/fleet/versions/{number}", "get"): {
        "path": {"number": NUMBERED},
        "parameters": [_query("against", NUMBERED, "another version: what differs")],
    },
    ("/fleet/versions", "post"): _order(orders.Publish, 201, "the version"),
    ("/fleet/overrides", "post"): _order(orders.Set, 201, "the version that has these values"),
    ("/fleet/overrides/unset", "post"): _order(orders.Unset, 200, "the version that has the source's values"),
    ("/fleet/keys", "post"): _order(orders.NewKey, 201, "the public half of the new key"),
    ("/fleet/keys/retire", "post"): _order(orders.Retire, 200, "the public half of the retired key"),
    ("/fleet/rollouts", "post"): _order(orders.Start, 201, "the rollout"),
    ("/fleet/rollouts/{number}/{action}", "post"): {
        "path": {"number": NUMBERED, "action": {"enum": ["pause", "resume", "abort"]}},
        **_order(orders.Steer, 200, "the rollout"),
    },
}
