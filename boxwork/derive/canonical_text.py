"""Canonical forms read back: as text for people, and as values where nothing was lost.

The grammar is that of `boxwork.keys`: a tag byte and a self-delimiting body.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from boxwork.derive.handles import Blob
from boxwork.keys import DIGEST_BYTES, Ref, ref_of_digest

# What a person reads of one value.  Unit: characters; one terminal line holds the name and two of them.
TEXT_CHARACTERS_MAX = 40

_double = struct.Struct(">d")


class Lost(Exception):
    """The form does not say the value: only its digest, or a class this module does not make."""


class _Shown(str):
    """A text that stands for itself when a container shows its members."""

    def __repr__(self) -> str:
        return str(self)


def value_of_form(form: bytes) -> Any:
    """The value of a form; bytes come back as the `Ref` they are named by.  Raises `Lost`."""
    value, end = _read(form, 0, _lost)
    if end != len(form):
        raise Lost(f"{len(form) - end} bytes too many")
    return value


def named_forms(forms: bytes) -> list[tuple[str, bytes]]:
    """What goes into a key behind the fingerprint, taken apart: the name and the form of every input."""
    found = []
    at = 0
    while at < len(forms):
        name, start = _read(forms, at, _lost)
        at = _read(forms, start, _show)[1]
        found.append((name, forms[start:at]))
    return found


def text_of_form(form: bytes) -> str:
    """A value in a few words: `150`, `'left'`, `[1, 2]`, `bytes 9f86d0…`, `Crop(x=1)`."""
    try:
        value, _ = _read(form, 0, _show)
    except (Lost, ValueError, IndexError, struct.error):
        return f"{len(form)} bytes of form"
    text = f"bytes {value.hex[:8]}…" if type(value) is Ref else repr(value)
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - 1] + "…"


def text_of_value(value: Any) -> str:
    """A long value in a few words, without looking at all of it."""
    kind = type(value)
    if kind is str:
        return f"{value[:24]!r}… ({len(value)} characters)"
    if kind is Blob or kind is Ref:
        return str(value)[:TEXT_CHARACTERS_MAX]
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{kind.__name__} {getattr(value, 'dtype', '')} {'x'.join(map(str, shape))}"
    try:
        return f"{kind.__name__} of {len(value)}"
    except TypeError:
        return kind.__name__


Other = Callable[[bytes, bytes, int], "tuple[Any, int]"]


def _read(form: bytes, at: int, other: Other) -> tuple[Any, int]:
    tag = form[at : at + 1]
    at += 1
    if tag in b"NTF" and tag:
        return {b"N": None, b"T": True, b"F": False}[tag], at
    if tag == b"i":
        end = form.index(b";", at)
        return int(form[at:end]), end + 1
    if tag == b"I":
        end = form.index(b";", at)
        return int(form[at:end], 16), end + 1
    if tag == b"f":
        return _double.unpack_from(form, at)[0], at + 8
    if tag == b"c":
        real, at = _read(form, at, other)
        imaginary, at = _read(form, at, other)
        return complex(real, imaginary), at
    if tag == b"s":
        raw, at = _counted(form, at)
        return raw.decode("utf-8", "surrogatepass"), at
    if tag in (b"b", b"t") and len(form) >= at + DIGEST_BYTES:
        if tag == b"t":
            return other(tag, form, at)
        return ref_of_digest(form[at : at + DIGEST_BYTES]), at + DIGEST_BYTES
    if tag in (b"l", b"u", b"S", b"Z"):
        count, at = _number(form, at)
        items = []
        for _ in range(count):
            item, at = _read(form, at, other)
            items.append(item)
        # Shown members may be unhashable where the true ones are not: people get a tuple.
        kinds = {b"l": list, b"u": tuple} if other is _show else {b"l": list, b"u": tuple, b"S": set, b"Z": frozenset}
        return kinds.get(tag, tuple)(items), at
    if tag == b"m":
        count, at = _number(form, at)
        rows = {}
        for _ in range(count):
            key, at = _read(form, at, other)
            rows[key], at = _read(form, at, other)
        return rows, at
    if tag == b"r":
        end = form.index(b";", at)
        return range(*map(int, form[at:end].split(b","))), end + 1
    return other(tag, form, at)


def _lost(tag: bytes, form: bytes, at: int) -> tuple[Any, int]:
    raise Lost(f"a value with the tag {tag!r}")


def _show(tag: bytes, form: bytes, at: int) -> tuple[Any, int]:
    if tag == b"x":
        raw, at = _counted(form, at)
        kind, _, text = raw.decode("utf-8", "replace").partition("|")
        return _Shown(f"{kind} {text.partition('|')[0]}"), at
    if tag == b"D":
        _, at = _counted(form, at)
        count, at = _number(form, at)
        fields = []
        for _ in range(count):
            name, at = _read(form, at, _show)
            item, at = _read(form, at, _show)
            fields.append(f"{name}={item!r}")
        return _Shown(f"({', '.join(fields)})"), at
    if tag == b"a":
        head, at = _counted(form, at)
        dtype, _, shape = head.decode().rpartition("|")
        digest = form[at : at + DIGEST_BYTES].hex()[:8]
        return _Shown(f"array {dtype} {shape.replace(',', 'x')} {digest}…"), at + DIGEST_BYTES
    if tag == b"t":
        return _Shown(f"tree {form[at : at + DIGEST_BYTES].hex()[:8]}…"), at + DIGEST_BYTES
    if tag == b"y":
        return _Shown(f"bytearray {form[at : at + DIGEST_BYTES].hex()[:8]}…"), at + DIGEST_BYTES
    if tag == b"o":
        count, at = _number(form, at)
        rows = []
        for _ in range(count):
            key, at = _read(form, at, _show)
            item, at = _read(form, at, _show)
            rows.append((key, item))
        return _Shown(f"OrderedDict({rows!r})"), at
    raise Lost(f"a value with the tag {tag!r}")


def _number(form: bytes, at: int) -> tuple[int, int]:
    end = form.index(b":", at)
    return int(form[at:end]), end + 1


def _counted(form: bytes, at: int) -> tuple[bytes, int]:
    count, at = _number(form, at)
    return form[at : at + count], at + count
