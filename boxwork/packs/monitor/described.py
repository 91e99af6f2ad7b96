"""What /openapi.json says of the routes of this pack that people and their scripts ask."""

from __future__ import annotations

from typing import Any

from boxwork.packs.monitor import orders

NUMBER = "^[1-9][0-9]{0,8}$"
CHECK = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}


def _order(kind: Any, status: int, said: str) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": orders.shape(kind)}}},
        "responses": {
            str(status): {"description": said, "content": {"application/json": {"schema": {"type": "object"}}}}
        },
    }


DESCRIBED: dict[tuple[str, str], dict[str, Any]] = {
    ("/monitor/checks/{name}", "get"): {"path": {"name": CHECK}},
    ("/monitor/checks/{name}", "post"): {"path": {"name": CHECK}, **_order(orders.Nothing, 202, "it is looked at now")},
    ("/monitor/incidents/{number}", "get"): {"path": {"number": {"type": "string", "pattern": NUMBER}}},
    ("/monitor/incidents/{number}/{action}", "post"): {
        "path": {"number": {"type": "string", "pattern": NUMBER}, "action": {"enum": ["acknowledge", "resolve"]}},
        **_order(orders.Answer, 200, "the incident"),
    },
    ("/monitor/silences", "post"): _order(orders.Window, 201, "the maintenance window"),
    ("/monitor/silences/{id}/end", "post"): {
        "path": {"id": {"type": "string", "pattern": "^[0-9a-f]{12}$"}},
        **_order(orders.EndOfWindow, 200, "the maintenance window"),
    },
}
