"""What /openapi.json says of the routes of this pack."""

from __future__ import annotations

from typing import Any

NAME = {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,63}$"}
TOKEN = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
PATH = {"name": NAME, "token": TOKEN}
TEXT = {"type": "string"}
DAY = {"type": "string", "format": "date"}
SLOT = {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,63}\\|[0-9]{1,4}$"}
MINUTES = {"type": "string", "pattern": "^[0-9]{1,4}$"}
PERSON = {
    "name": {"type": "string", "minLength": 1, "maxLength": 100},
    "address": {"type": "string", "format": "email", "maxLength": 254},
    "wishes": {"type": "string", "maxLength": 1000},
}


def _answer(said: str, *kinds: str) -> dict[str, Any]:
    return {"description": said, "content": {kind: {} for kind in kinds}}


def _page(said: str) -> dict[str, Any]:
    return {"path": PATH, "responses": {"200": _answer(said, "text/html"), "304": {"description": "as you have it"}}}


def _form(needed: tuple[str, ...], fields: dict[str, Any], said: str) -> dict[str, Any]:
    shape = {"type": "object", "required": list(needed), "properties": fields}
    return {
        "path": PATH,
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": shape}}},
        "responses": {
            "303": {"description": said},
            "400": _answer("the form again, with what is wrong", "text/html", "application/json"),
            "409": _answer("it cannot be done, with the reason", "text/html", "application/json"),
        },
    }


_SITE, _ME, _DESK = "/course/{name}", "/course/{name}/me/{token}", "/courses/{name}"

DESCRIBED: dict[tuple[str, str], dict[str, Any]] = {
    (f"{_SITE}/", "get"): _page("the start page"),
    (f"{_SITE}/{{page}}", "get"): {**_page("schedule or materials"), "path": {**PATH, "page": NAME}},
    (f"{_SITE}/session/{{session}}", "get"): {**_page("a session"), "path": {**PATH, "session": NAME}},
    (f"{_SITE}/page/{{page}}", "get"): {**_page("a page of the author's own"), "path": {**PATH, "page": NAME}},
    (f"{_SITE}/course.ics", "get"): {"path": PATH, "responses": {"200": _answer("all sessions", "text/calendar")}},
    (f"{_SITE}/materials/{{file}}", "get"): {
        "path": {**PATH, "file": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}},
        "responses": {
            "200": _answer("the file", "application/octet-stream"),
            "403": _answer("not yet; the page says from when on", "text/html"),
        },
    },
    (f"{_SITE}/register", "get"): _page("how many seats are free, and the form"),
    (f"{_SITE}/register", "post"): _form(
        ("name", "address", "once"),
        {**PERSON, "once": {"type": "string", "pattern": "^[0-9a-zA-Z]{16,64}$"}},
        "to the personal page, where it says whether there is a seat",
    ),
    (f"{_SITE}/resources", "get"): {
        **_page("what is free on a day"),
        "parameters": [
            {"name": "day", "in": "query", "required": False, "schema": DAY, "description": "a day of the course"}
        ],
    },
    (_ME, "get"): _page("somebody's own page"),
    (f"{_ME}/sessions.ics", "get"): {"path": PATH, "responses": {"200": _answer("their sessions", "text/calendar")}},
    (f"{_ME}/sessions", "post"): _form((), {"session": {"type": "array", "items": TEXT}}, "to the personal page"),
    (f"{_ME}/details", "post"): _form(("name", "address"), PERSON, "to the personal page"),
    (f"{_ME}/cancel", "post"): _form((), {}, "to the personal page, which knows nothing of the person any more"),
    (f"{_ME}/book", "post"): _form(
        ("slot", "day", "length"), {"slot": SLOT, "day": DAY, "length": MINUTES}, "to the grid of that day"
    ),
    (f"{_ME}/unbook", "post"): _form(("slot", "day"), {"slot": SLOT, "day": DAY}, "to the personal page"),
    (f"{_DESK}/participants.csv", "get"): {"path": PATH, "responses": {"200": _answer("who comes", "text/csv")}},
    (f"{_DESK}/registration", "post"): _form(
        ("closed",), {"closed": {"enum": ["yes", "no"]}}, "to the organiser's page"
    ),
    (f"{_DESK}/cancel", "post"): _form(
        ("number",), {"number": {"type": "string", "pattern": "^[0-9]{1,9}$"}}, "to the organiser's page"
    ),
    (f"{_DESK}/version", "post"): _form(("tree",), {"tree": TEXT}, "to the organiser's page"),
}
