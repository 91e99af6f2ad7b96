"""What a box returned, as a blob, and back; and the row that remembers it.

An output's blob is what the value plainly is where there is such a thing: bytes as they are, text as UTF-8, an
array as .npy, a Blob, Ref or Tree by its name.  Everything else is packed (see `packing`).  Rows live in the table
`derive.outputs` under the derivation's key:

    kind (1 byte) · CRC-32 (4) · digest of the blob (32) · bytes inline (4) · inline copy · explain record

The CRC covers kind, digest and inline copy: a damaged row is a miss.  Rows are weak: they do not keep their blob.
"""

from __future__ import annotations

import dataclasses
import struct
import types
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from boxwork.content.tree_value import Tree
from boxwork.derive.forms import is_record
from boxwork.derive.handles import Blob
from boxwork.derive.packing import MAGIC, Packer, Unpacker, Unreadable, array_of_npy, class_name, npy_bytes
from boxwork.errors import BadInput
from boxwork.keys import EMPTY, Ref, checksum, ref_of_digest

OUTPUTS = "derive.outputs"

# Kinds.  A kind is added, never changed.
BYTES, TEXT, ARRAY, VALUE, BLOB, REF, TREE = b"B", b"T", b"A", b"V", b"b", b"r", b"t"
# A packed value that names blobs: a hit only while all of them are here.  Its record says which.
NAMING = b"N"
# A failure is remembered under the same key, with its expiry instead of a digest: it is never a hit.
FAILURE = b"!"

HEAD = struct.Struct("<cI32sI")
HEAD_BYTES = HEAD.size
NOT_INLINE = 0xFFFFFFFF
_CHECKED_FROM = 5  # behind kind and CRC

_SCALARS = frozenset({type(None), bool, int, float})
_encode = msgspec.msgpack.Encoder().encode


class Encoded(NamedTuple):
    """An output ready to be stored: `data` is the blob, or None where `ref` names one that exists.

    `refs` are further blobs that the value names.
    """

    kind: bytes
    data: bytes | None
    ref: Ref
    refs: tuple[Ref, ...]
    type_name: str


class OutputCodec:
    """Turns the outputs of one box into blobs and back.  `annotation` is the box's return annotation."""

    __slots__ = ("_known", "_unpacker")

    def __init__(self, annotation: Any, store: Any) -> None:
        self._known = classes_of(annotation)
        self._unpacker = Unpacker(self._known.get, store)

    def encode(self, value: Any) -> Encoded:
        """Raises `UnsupportedType` for a value that could not be read back."""
        kind = type(value)
        if kind is bytes:
            return Encoded(BYTES, value, EMPTY, (), "bytes")
        if kind is str:
            try:
                return Encoded(TEXT, value.encode(), EMPTY, (), "str")
            except UnicodeEncodeError:
                pass
        elif kind in _SCALARS and (kind is not int or -(2**63) <= value < 2**63):
            return Encoded(VALUE, MAGIC + _encode(value), EMPTY, (), kind.__qualname__)
        elif kind is Blob:
            return Encoded(BLOB, value.data, value.ref, (), "Blob")
        elif kind is Ref:
            return Encoded(REF, None, value, (), "Ref")
        elif kind is Tree:
            return Encoded(TREE, None, value.ref, (), "Tree")
        elif kind.__module__ == "numpy" and kind.__name__ == "ndarray":
            return Encoded(ARRAY, npy_bytes(value), EMPTY, (), f"ndarray[{value.dtype}]")
        packer = Packer(self._known.get)
        data = packer.pack(value)
        for blob in packer.blobs:
            if blob.data is not None:
                raise BadInput(
                    f"the output holds {blob}, whose bytes are only in memory: return it by itself, or"
                    " put it into content first"
                )
        return Encoded(NAMING if packer.refs else VALUE, data, EMPTY, tuple(packer.refs), kind.__qualname__)

    def decode(self, kind: bytes, data: bytes) -> Any:
        """The value of the blob `data`.  Raises `Unreadable` if this code does not know it."""
        if kind == BYTES:
            return data
        if kind == TEXT:
            return data.decode()
        if kind in (VALUE, NAMING):
            return self._unpacker.unpack(data)
        if kind == ARRAY:
            return array_of_npy(data)
        raise Unreadable(f"an output of kind {kind!r}")


def named_value(kind: bytes, ref: Ref, store: Any) -> Any:
    """The value of an output that is a name: Ref, Blob or Tree."""
    if kind == REF:
        return ref
    return Blob(ref, store) if kind == BLOB else Tree(ref, store)


def row_bytes(kind: bytes, digest: bytes, inline: bytes | None, record: bytes) -> bytes:
    """The row of an output; `inline` is None where the blob is not copied into it."""
    length = NOT_INLINE if inline is None else len(inline)
    checked = digest + length.to_bytes(4, "little") + (inline or b"")
    return kind + checksum(kind + checked).to_bytes(4, "little") + checked + record


class Row(NamedTuple):
    """A row taken apart."""

    kind: bytes
    digest: bytes
    inline: bytes | None
    record: bytes

    @property
    def ref(self) -> Ref:
        return ref_of_digest(self.digest)


def read_row(raw: bytes) -> Row | None:
    """The row, or None if it is damaged."""
    try:
        kind, crc, digest, length = HEAD.unpack_from(raw)
    except struct.error:
        return None
    end = HEAD_BYTES if length == NOT_INLINE else HEAD_BYTES + length
    if checksum(kind + raw[_CHECKED_FROM:end]) != crc or end > len(raw):
        return None
    return Row(kind, digest, None if length == NOT_INLINE else raw[HEAD_BYTES:end], raw[end:])


_PACKED = (int, float, bool, complex, list, dict, tuple, set, frozenset)


def value_of_blob(data: bytes, wanted: Any, store: Any) -> Any:
    """A stored output as a parameter's annotation asks for it: text for `str`, an array for `ndarray`, and so on."""
    name = getattr(typing.get_origin(wanted) or wanted, "__name__", str(wanted))
    if data[:4] == MAGIC:
        try:
            return Unpacker(classes_of(wanted).get, store).unpack(data)
        except Unreadable as reason:
            raise BadInput(
                f"a stored value was given where {name} is asked for, and cannot be read as that: {reason}"
            ) from reason
    if wanted is str:
        try:
            return data.decode()
        except UnicodeDecodeError as reason:
            raise BadInput(
                f"{len(data)} bytes were given where text is asked for, and they are no UTF-8: {reason}"
            ) from reason
    if name in ("ndarray", "NDArray"):
        return array_of_npy(data)
    if wanted is bytearray:
        return bytearray(data)
    if isinstance(wanted, type) and (is_record(wanted) or wanted in _PACKED):
        raise BadInput(
            f"{len(data)} bytes were given where {name} is asked for, and they are no stored value: pass the"
            f" ref of an output, or the {name} itself"
        )
    return data


def classes_of(annotation: Any) -> Mapping[str, type]:
    """Every record and enum class that an annotation mentions, at any depth, by its name."""
    import enum

    found: dict[str, type] = {}

    def look(kind: Any) -> None:
        if isinstance(kind, types.GenericAlias) or not isinstance(kind, type):
            for part in (typing.get_origin(kind), *typing.get_args(kind)):
                if part is not None and part is not Ellipsis:
                    look(part)
            return
        if class_name(kind) in found or not (is_record(kind) or issubclass(kind, enum.Enum)):
            return
        found[class_name(kind)] = kind
        if is_record(kind):
            for part in _field_types(kind):
                look(part)

    look(annotation)
    return found


def _field_types(kind: type) -> list[Any]:
    try:
        return list(typing.get_type_hints(kind).values())
    except Exception:  # a name that only a type checker sees: what can be had without it
        if dataclasses.is_dataclass(kind):
            return [field.type for field in dataclasses.fields(kind) if not isinstance(field.type, str)]
        return []
