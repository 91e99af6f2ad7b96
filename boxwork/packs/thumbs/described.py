"""What /openapi.json says of the routes of this pack."""

from __future__ import annotations

from typing import Any

SIDE = "([1-9][0-9]{0,2}|[1-4][0-9]{3})"  # up to 4999; a little more is taken
SPEC = f"^{SIDE}(x{SIDE})?(-(inside|cover|attention))?(-q[1-9][0-9]?)?$"
REF = "[0-9a-f]{64}"


def _query(name: str, shape: dict[str, Any], said: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": shape, "description": said}


def _answer(said: str, *kinds: str) -> dict[str, Any]:
    return {"description": said, "content": {kind: {} for kind in kinds}}


DESCRIBED: dict[tuple[str, str], dict[str, Any]] = {
    ("/thumbs/{spec}/{name}", "get"): {
        "path": {
            "spec": {"type": "string", "pattern": SPEC},
            "name": {"type": "string", "pattern": f"^{REF}\\.(webp|jpg|avif)$"},
        },
        "responses": {
            "200": _answer("the thumbnail", "image/webp", "image/jpeg", "image/avif"),
            "304": {"description": "unchanged, as it ever is"},
            "308": {"description": "the same thumbnail is spelled otherwise"},
        },
    },
    ("/thumbs/pack", "get"): {
        "parameters": [
            _query("spec", {"type": "string", "pattern": SPEC, "default": "320"}, "as in the address of one"),
            _query("format", {"enum": ["webp", "jpg", "avif"], "default": "webp"}, "of all of them"),
            _query("refs", {"type": "string", "pattern": f"^{REF}(,{REF}){{0,63}}$"}, "1 to 64, with commas between",
                   required=True),
        ],
        "responses": {"200": _answer("records, each as soon as it is ready", "application/octet-stream")},
    },
    ("/thumbs/items", "get"): {
        "parameters": [
            _query("first", {"type": "integer", "minimum": 0, "maximum": 10**9, "default": 0}, "position"),
            _query("count", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 200}, "rows"),
            _query("q", {"type": "string"}, "words that the path has"),
        ]
    },
    ("/thumbs/zip", "post"): {
        "requestBody": {
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "required": ["refs"],
                        "properties": {"refs": {"type": "string", "pattern": f"^{REF}(,{REF}){{0,20}}$"}},
                    }
                }
            },
        },
        "responses": {"200": _answer("the originals in one file", "application/zip")},
    },
}  # fmt: skip
