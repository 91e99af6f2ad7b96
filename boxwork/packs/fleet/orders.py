"""What people and programs may order over HTTP, field by field.

One description is both the check and what /openapi.json says, so the two cannot differ.  A whole number may be spelled
2.0, as JSON Schema has it; otherwise nothing is taken for what it is not: no text for a number, no "yes" for true.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, get_type_hints

import msgspec

from boxwork import errors
from boxwork.packs.fleet.keyring import GRACE_S_MAX
from boxwork.packs.fleet.overrides import COLUMN, SCOPE, VALUE_LENGTH_MAX
from boxwork.packs.fleet.plan import Plan

# What a person says of themselves and why.  Unit: characters; it stands in one line of a history.
WORDS_MAX = 1_000
# Floats above it have no fraction, and were not meant as whole numbers.
WHOLE_MAX = 2**53

Words: TypeAlias = Annotated[str, msgspec.Meta(max_length=WORDS_MAX)]
Reason: TypeAlias = Annotated[
    str, msgspec.Meta(max_length=WORDS_MAX, pattern=r"[^\s\x1c-\x1f]", description="not blank")
]
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=999_999_999)]
Scope: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=SCOPE, max_length=2 * VALUE_LENGTH_MAX, description="a host, or a label: column=value")
]
Part: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=f"^$|{SCOPE}", max_length=2 * VALUE_LENGTH_MAX, description="a scope; empty is everybody")
]
Column: TypeAlias = Annotated[str, msgspec.Meta(pattern=COLUMN)]
Value: TypeAlias = Annotated[str, msgspec.Meta(max_length=VALUE_LENGTH_MAX)]
Template: TypeAlias = Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]
Key: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{1,64}$", description="the begin of a public key")]

# A plan of which some fields are given; the others are as in the settings.
PartOfAPlan: Any = msgspec.defstruct(
    "PartOfAPlan",
    [
        (name, kind | msgspec.UnsetType, msgspec.UNSET)
        for name, kind in get_type_hints(Plan, include_extras=True).items()
    ],
    forbid_unknown_fields=True,
)


class Publish(msgspec.Struct, forbid_unknown_fields=True):
    template: Template
    author: Reason
    reason: Reason


class Start(msgspec.Struct, forbid_unknown_fields=True):
    version: Number
    who: Reason
    why: Words = ""
    plan: PartOfAPlan = msgspec.field(default_factory=PartOfAPlan)
    only: Part = ""


class Steer(msgspec.Struct, forbid_unknown_fields=True):
    who: Reason
    why: Words


class Set(msgspec.Struct, forbid_unknown_fields=True):
    scope: Scope
    values: Annotated[dict[Column, Value], msgspec.Meta(min_length=1, max_length=100)]
    who: Reason
    why: Reason


class Unset(msgspec.Struct, forbid_unknown_fields=True):
    scope: Scope
    who: Reason
    why: Reason
    columns: Annotated[list[Column], msgspec.Meta(max_length=100)] = []


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    who: Reason
    why: Reason


class Retire(msgspec.Struct, forbid_unknown_fields=True):
    key: Key
    who: Reason
    why: Reason
    anyway: bool = False
    grace_s: Annotated[float, msgspec.Meta(ge=0, le=GRACE_S_MAX)] | msgspec.UnsetType = msgspec.UNSET


def read(body: bytes, kind: Any) -> Any:
    """The order in these bytes.  Raises `BadInput` with the field that cannot be."""
    try:
        return msgspec.convert(_whole_numbers(msgspec.json.decode(body)), kind)
    except msgspec.DecodeError as fault:
        raise errors.BadInput(f"the order cannot be read: {fault}") from None


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) <= WHOLE_MAX:
        return int(value)
    if isinstance(value, dict):
        return {name: _whole_numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(one) for one in value]
    return value


def shape(kind: Any) -> dict[str, Any]:
    """The JSON Schema of an order, in one piece."""
    (found,), parts = msgspec.json.schema_components([kind], ref_template="{name}")
    inlined: dict[str, Any] = _inlined(found, parts)
    return inlined


def _inlined(value: Any, parts: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        if "$ref" in value:
            return _inlined(parts[value["$ref"]], parts)
        return {name: _inlined(one, parts) for name, one in value.items() if name not in ("title", "default")}
    if isinstance(value, list):
        return [_inlined(one, parts) for one in value]
    return value
