"""Values of facts as JSON that a person can read: what a page shows, and what a commit answers over HTTP.

It goes one way.  Bytes are `{"base64": …}`, sets and tuples are lists, what JSON has no form for is its text; a dict
whose keys are no texts is a list of pairs.
"""

from __future__ import annotations

import base64
import enum
import math
from typing import Any

import msgspec

# JSON numbers of others end here.  Unit: none.  Source: IEEE 754 doubles count exactly up to 2**53.
_EXACT = 2**53


def readable(value: Any) -> Any:
    """`value` as None, numbers, texts, lists and dicts with texts as keys."""
    if isinstance(value, enum.Enum):
        return readable(value.value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):  # a ref is one too
        return str(value)
    if isinstance(value, int):
        return value if -_EXACT <= value <= _EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: readable(item) for key, item in value.items()}
        return [[readable(key), readable(item)] for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [readable(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((readable(item) for item in value), key=repr)
    try:
        made = msgspec.to_builtins(value, enc_hook=str)
    except (TypeError, ValueError):
        return str(value)
    return made if type(made) in (str, int, float) else readable(made)


def readable_key(key: tuple[Any, ...]) -> list[Any]:
    """A key by its parts."""
    return [readable(part) for part in key]
