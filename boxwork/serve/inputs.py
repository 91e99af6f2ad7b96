"""JSON in, inputs of a box out; and the same rules as a JSON schema.  A box is a derivation or a transaction.

A parameter that takes bytes takes a ref (`"sha256:…"`) or, for something short, `{"base64": "…"}`; in a transaction,
which reads no blobs, a ref is for a parameter that says `Ref`.  Everything else is converted strictly to the
parameter's annotation, which is what `msgspec.convert` does; a parameter without one takes the JSON value as it is.
"""

from __future__ import annotations

import base64
import binascii
import functools
import inspect
import typing
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from boxwork.box import Derivation
from boxwork.errors import BadInput
from boxwork.keys import PREFIX, Ref
from boxwork.transactions import Transaction

Box: TypeAlias = Derivation[..., Any] | Transaction[..., Any]

BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
REF_SCHEMA = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$", "description": "the name of a blob"}
SCHEMA_ADDRESS = "#/components/schemas/{name}"
SHORT_BYTES_SCHEMA = {
    "type": "object",
    "required": ["base64"],
    "properties": {"base64": {"type": "string", "contentEncoding": "base64", "pattern": BASE64}},
    "additionalProperties": False,
}
BYTES_SCHEMA = {"oneOf": [REF_SCHEMA, SHORT_BYTES_SCHEMA]}


@functools.lru_cache(maxsize=1024)  # one entry a box: a platform with more boxes than that has other troubles
def parameters(box: Box) -> Mapping[str, tuple[inspect.Parameter, Any]]:
    """Name → (parameter, resolved annotation)."""
    try:
        hints = typing.get_type_hints(box.function)
    except Exception:  # names under TYPE_CHECKING, or anything else a user may write there
        hints = {}
    found = list(inspect.signature(box.function).parameters.items())
    if isinstance(box, Transaction):
        found = found[1:]  # `tx` is given by the node
    return {name: (parameter, hints.get(name, Any)) for name, parameter in found}


def takes_bytes(annotation: Any) -> bool:
    """Is it bytes, a Blob, or one of those or None."""
    if annotation in (bytes, bytearray, memoryview, Ref) or getattr(annotation, "__name__", "") in ("Blob", "Tree"):
        return True
    return any(takes_bytes(part) for part in typing.get_args(annotation) if part is not type(None))


def _wants_only_bytes(box: Box, annotation: Any) -> bool:
    """A derivation is handed the bytes of a ref; a transaction gets what it is given."""
    return isinstance(box, Transaction) and annotation is not Ref and Ref not in typing.get_args(annotation)


def _bytes_schema(box: Box, annotation: Any) -> dict[str, Any]:
    if not isinstance(box, Transaction):
        return dict(BYTES_SCHEMA)
    shape = dict(SHORT_BYTES_SCHEMA if _wants_only_bytes(box, annotation) else REF_SCHEMA)
    return {"anyOf": [shape, {"type": "null"}]} if type(None) in typing.get_args(annotation) else shape


def from_json(box: Box, given: Any, *, known_already: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The inputs of one call, without those that are known already.  Raises `BadInput` that names the parameter."""
    if not isinstance(given, dict):
        raise BadInput(f"inputs are a JSON object of name and value, not {type(given).__name__}")
    known = parameters(box)
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p, _ in known.values())
    inputs: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            if not open_ended:
                raise BadInput(f"{box.name} has no input {name!r}; it has: {', '.join(known) or 'none'}", box=box.name)
            inputs[name] = value
            continue
        inputs[name] = _convert(box, name, known[name][1], value)
    for name, (parameter, _) in known.items():
        variadic = parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        if parameter.default is inspect.Parameter.empty and name not in {*inputs, *known_already} and not variadic:
            raise BadInput(f"{box.name} needs the input {name!r}", box=box.name, input=name)
    return inputs


def _convert(box: Box, name: str, annotation: Any, value: Any) -> Any:
    if takes_bytes(annotation):
        if isinstance(value, str) and value.startswith(PREFIX) and not _wants_only_bytes(box, annotation):
            return Ref.parse(value)
        if isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str):
            try:
                return base64.b64decode(value["base64"], validate=True)
            except (binascii.Error, ValueError) as fault:
                raise BadInput(f"{box.name}: input {name!r} is not base64: {fault}", input=name) from None
        if value is None and type(None) in typing.get_args(annotation):
            return None
        kinds = "" if _wants_only_bytes(box, annotation) else 'the ref of a blob ("sha256:…") or '
        raise BadInput(f'{box.name}: input {name!r} takes {kinds}{{"base64": "…"}}', input=name)
    if annotation is Any:
        return value
    try:
        return msgspec.convert(value, annotation)
    except msgspec.ValidationError as fault:
        raise BadInput(f"{box.name}: input {name!r}: {fault}", box=box.name, input=name) from None
    except TypeError:  # an annotation msgspec does not know: the box's own canonical form decides
        return value


def schema(box: Box) -> dict[str, Any]:
    """The JSON schema of the inputs, self-contained."""
    properties: dict[str, Any] = {}
    required = []
    definitions: dict[str, Any] = {}
    for name, (parameter, annotation) in parameters(box).items():
        if parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            continue
        entry: dict[str, Any] = {}
        if takes_bytes(annotation):
            entry = _bytes_schema(box, annotation)
        elif annotation is not Any:
            try:
                (entry,), found = msgspec.json.schema_components([annotation], ref_template=SCHEMA_ADDRESS)
                definitions.update(found)
            except TypeError:
                entry = {}
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
        elif isinstance(parameter.default, (str, int, float, bool)):
            entry = {**entry, "default": parameter.default}
        properties[name] = entry
    found_schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        found_schema["required"] = required
    if definitions:
        found_schema["$defs"] = definitions
    return found_schema
