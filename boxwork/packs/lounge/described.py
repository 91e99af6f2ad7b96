"""What /openapi.json says of the routes of this pack."""

from __future__ import annotations

from typing import Any

from boxwork.packs.lounge.wording import TITLE_LENGTH_MAX

ROOM = "^[a-z0-9-]{1,40}$"

DESCRIBED: dict[tuple[str, str], dict[str, Any]] = {
    ("/lounge/rooms/open", "post"): {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["room", "title"],
                        "properties": {
                            "room": {"type": "string", "pattern": ROOM},
                            "title": {"type": "string", "minLength": 1, "maxLength": TITLE_LENGTH_MAX},
                        },
                        "additionalProperties": False,
                    }
                }
            },
        },
        "responses": {
            "200": {"description": "the room and its key, which is shown once", "content": {"application/json": {}}},
            "409": {"description": "there is a room of this name"},
        },
    }
}
