"""What people and programs may order over HTTP, field by field: the check, and what /openapi.json says."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

from boxwork import errors

# What a person says of themselves and why.  Unit: characters; it stands in one line of a timeline.
WORDS_MAX = 1_000
# A week of maintenance, and begun within a year.  Unit: minutes.
MINUTES_MAX = 7 * 24 * 60
AHEAD_MAX = 365 * 24 * 60
PATTERN = r"^[A-Za-z0-9*?._-]{1,64}$"

Who: TypeAlias = Annotated[str, msgspec.Meta(max_length=WORDS_MAX, pattern=r"[^\s\x1c-\x1f]", description="not blank")]
Words: TypeAlias = Annotated[str, msgspec.Meta(max_length=WORDS_MAX)]
Checks: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=PATTERN, description="a check, or a pattern with * and ?; what needs it is meant, too")
]


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """Who takes an incident, or says that it is over."""

    who: Who
    note: Words = ""


class Window(msgspec.Struct, forbid_unknown_fields=True):
    checks: Checks
    minutes: Annotated[float, msgspec.Meta(ge=1, le=MINUTES_MAX)]
    who: Who
    why: Who
    in_minutes: Annotated[float, msgspec.Meta(ge=0, le=AHEAD_MAX)] = 0


class EndOfWindow(msgspec.Struct, forbid_unknown_fields=True):
    who: Who


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """An order that needs no words."""


def read(body: bytes, kind: Any) -> Any:
    """The order in these bytes.  Raises `BadInput` with the field that cannot be."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as fault:
        raise errors.BadInput(f"the order cannot be read: {fault}") from None


def shape(kind: Any) -> dict[str, Any]:
    """The JSON Schema of an order, in one piece."""
    (_,), parts = msgspec.json.schema_components([kind], ref_template="{name}")
    found = dict(parts[kind.__name__])
    found["properties"] = {
        name: {key: value for key, value in one.items() if key != "default"}
        for name, one in found["properties"].items()
    }
    found.pop("title", None)
    return found
