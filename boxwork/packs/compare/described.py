"""What /openapi.json says of the routes of this pack that scripts ask."""

from __future__ import annotations

from typing import Any

NAME = {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,60}$"}
NUMBER = {"type": "integer", "minimum": 1, "maximum": 10**6}


def _answer(shape: dict[str, Any], said: str) -> dict[str, Any]:
    return {"200": {"description": said, "content": {"application/json": {"schema": shape}}}}


def _query(name: str, shape: dict[str, Any], said: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": shape, "description": said}


DESCRIBED: dict[tuple[str, str], dict[str, Any]] = {
    ("/compare/list.json", "get"): {
        "responses": _answer({"type": "array", "items": {"type": "object"}}, "comparisons, the newest first")
    },
    ("/compare/{name}/run.json", "get"): {
        "path": {"name": NAME},
        "parameters": [_query("number", NUMBER, "of the run; without it the newest")],
        "responses": _answer({"type": "object"}, "the run: report, alarms, leaderboard, plan, refs"),
    },
    ("/compare/{name}/wrong.json", "get"): {
        "path": {"name": NAME},
        "parameters": [
            {
                **_query("model", {"type": "string", "minLength": 1, "maxLength": 80}, "by its name on the board"),
                "required": True,
            },
            _query("number", NUMBER, "of the run; without it the newest"),
        ],
        "responses": _answer(
            {"type": "object"}, "how many test rows the model got wrong, and the first thousand of them"
        ),
    },
}
