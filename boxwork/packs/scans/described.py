"""What /openapi.json says of the routes of this pack."""

from __future__ import annotations

from typing import Any

REF = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
PROFILE = {
    "name": "profile", "in": "query", "required": False, "description": "for whom the GLB is",
    "schema": {"enum": ["gltf", "unity"], "default": "gltf"},
}  # fmt: skip


def _answer(said: str, *kinds: str) -> dict[str, Any]:
    return {"200": {"description": said, "content": {kind: {} for kind in kinds}}}


DESCRIBED: dict[tuple[str, str], dict[str, Any]] = {
    ("/scans", "post"): {
        "parameters": [
            {
                "name": "name", "in": "query", "required": True, "description": "its name, as flat.usdz",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"},
            }
        ],
        "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string",
                                                                                             "format": "binary"}}}},
        "responses": {"201": {"description": "the scan is kept", "content": {"application/json": {"schema": {
            "type": "object"}}}}},
    },
    ("/scans/{ref}.glb", "get"): {
        "path": {"ref": REF}, "parameters": [PROFILE],
        "responses": {**_answer("the scan as GLB", "model/gltf-binary"), "304": {"description": "unchanged"}},
    },
    ("/scans/{ref}/measures", "get"): {
        "path": {"ref": REF},
        "parameters": [
            {
                "name": "format", "in": "query", "required": False, "description": "JSON, or a table",
                "schema": {"enum": ["json", "csv"], "default": "json"},
            }
        ],
        "responses": _answer("the measures", "application/json", "text/csv"),
    },
    ("/scans/{ref}/report", "get"): {
        "path": {"ref": REF}, "parameters": [PROFILE],
        "responses": _answer("what the GLB holds, what is lost, what is changed", "application/json"),
    },
    ("/scans/items", "get"): {"responses": _answer("the scans, the newest first", "application/json")},
}  # fmt: skip
