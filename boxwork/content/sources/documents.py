"""How a document of a collection becomes an item: its name, what tells two versions of it apart, where its bytes are.

The value of the field says where:

    bytes            the picture itself
    an ObjectId      a file in GridFS
    s3://bucket/key  an object of the `bucket` that the address names; every text is a key, if it names one
    https://…        fetched from a host that the address allows by name (`hosts`)
    a text           a path below the `folder` that the address names
    a list           each of its values
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from boxwork.clock import SECOND_NS
from boxwork.content.sources.source import SIZE_UNKNOWN, stamp
from boxwork.content.tree_index import Facts
from boxwork.keys import ref_of

Document: TypeAlias = Mapping[str, Any]
# Values of one document's field; more is not a list of pictures.
VALUES_MAX = 1000
# A part of a path: file systems take so much, and people read no more.  Unit: characters.
NAME_LENGTH_MAX = 120
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif")
MARKS = (
    (0, b"\x89PNG", ".png"), (0, b"GIF8", ".gif"), (8, b"WEBP", ".webp"), (4, b"ftypavif", ".avif"),
    (4, b"ftypheic", ".heic"), (0, b"II*\0", ".tif"), (0, b"MM\0*", ".tif"), (0, b"BM", ".bmp"),
)  # fmt: skip


class Picture(NamedTuple):
    """One value of the field: where its bytes are, how it is called, what is known of it without reading."""

    path: bytes
    value: Any
    facts: Facts


def spelled(identity: Any) -> str:
    """The `_id` of a document as the first part of a path; `identity_of` reads it back."""
    from bson import ObjectId, json_util

    if isinstance(identity, ObjectId):
        return str(identity)
    if isinstance(identity, str) and identity and not identity.startswith("~") and not ObjectId.is_valid(identity):
        return quote(identity, safe=" ").replace(".", "%2E")
    return "~" + quote(json_util.dumps({"": identity}), safe="").replace(".", "%2E")


def identity_of(text: str) -> Any:
    from bson import ObjectId, json_util

    if text.startswith("~"):
        return json_util.loads(unquote(text[1:]))[""]
    return ObjectId(text) if ObjectId.is_valid(text) else unquote(text)


def value_at(document: Document, field: str) -> Any:
    """The value under a dotted name, `images.main`; None if there is none."""
    found: Any = document
    for part in field.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def pictures(document: Document, field: str, name: str, version: str) -> Iterator[Picture]:
    """The pictures of a document, in the order of its field."""
    value = value_at(document, field)
    several = isinstance(value, list)
    told = value_at(document, version) if version else None
    called = value_at(document, name) if name else None
    for number, one in enumerate(value[:VALUES_MAX] if isinstance(value, list) else [value]):
        if one is None:
            continue
        parts = [spelled(document["_id"]), *([str(number)] if several else []), _name(document["_id"], called, one)]
        path = "/".join(parts).encode("utf-8", "surrogatepass")
        yield Picture(path, one, _facts(document["_id"], one, told))


def is_bytes(value: Any) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview))


def _name(identity: Any, called: Any, value: Any) -> str:
    """What people read: the name field, else the end of a path or address, else the document's `_id`."""
    text = called if isinstance(called, str) else ""
    if not text and isinstance(value, str):
        text = unquote(urlsplit(value).path) if "://" in value else value
    text = "".join(sign for sign in text.replace("\\", "/").rstrip("/").rpartition("/")[2] if sign.isprintable())
    text = text.lstrip(".")[-NAME_LENGTH_MAX:] or spelled(identity)
    # a name without a known end gets one: the field is declared to hold pictures, and their bytes tell their kind
    return text if text.lower().endswith(SUFFIXES) else text + suffix_of(value)


def suffix_of(value: Any) -> str:
    head = bytes(value[:16]) if is_bytes(value) else b""
    for offset, mark, suffix in MARKS:
        if head.startswith(mark, offset):
            return suffix
    return ".jpg"


def _facts(identity: Any, value: Any, version: Any) -> Facts:
    """What tells versions apart: the version field, else the value, bytes by their digest."""
    tells = repr(value if version is None else version)
    if version is None and is_bytes(value):
        tells = ref_of(bytes(value))
    when = version if isinstance(version, datetime.datetime) else getattr(identity, "generation_time", None)
    mtime_ns = 0 if when is None else int(when.replace(tzinfo=datetime.UTC).timestamp()) * SECOND_NS
    return Facts(SIZE_UNKNOWN, mtime_ns, 0, stamp(tells), 0)
