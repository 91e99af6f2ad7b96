"""Values as bytes and back, exactly: 1, 1.0 and True stay what they are, a tuple stays a tuple.  No pickle.

A packed value is `MAGIC` and MessagePack.  None, booleans, integers of 64 bits, floats, text, bytes, lists and
dicts with text keys are MessagePack's own; everything else is an extension whose code stands in the table below.
Packing is deterministic: members of a set are sorted by their packed form.

A record (dataclass, struct, named tuple) or an enum member carries the name of its class.  Reading makes instances
only of classes the reader named beforehand, never by importing what the bytes say, and runs no `__init__`.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import struct
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from boxwork.content.tree_value import Tree
from boxwork.derive.forms import is_named_tuple, is_record, record_fields, refuse_object_dtype
from boxwork.derive.handles import Blob, File, Later, Readable
from boxwork.errors import BadInput, UnsupportedType
from boxwork.keys import Ref, ref_of_digest

# 0xC1 is the one byte that begins no MessagePack, no UTF-8 text and no image or archive format in use.
MAGIC = b"\xc1bx1"

# Extension codes.  A code is added, never changed: another meaning needs another MAGIC.
TUPLE, SET, FROZENSET, COMPLEX, ARRAY, SCALAR, BYTEARRAY, PAIRS, ORDERED = range(1, 10)
PLAIN, RECORD, ENUM, REF, BLOB, TREE, FILE, LATER = range(10, 18)

Ext = msgspec.msgpack.Ext
_encode = msgspec.msgpack.Encoder().encode
_complex = struct.Struct(">dd")

Classes: TypeAlias = Callable[[str], "type | None"]


class Unreadable(Exception):
    """The bytes are of another shape than this code knows: an output row with them is no hit."""


def class_name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


class Packer:
    """Packs one value.  `classes` answers with the class of a name if it may be written; `refs` collects blobs' names.

    Without `classes` every class may be written (between a node and its own workers).
    """

    __slots__ = ("_classes", "blobs", "later", "refs")

    def __init__(self, classes: Classes | None = None) -> None:
        self._classes = classes
        self.refs: list[Ref] = []
        self.blobs: list[Blob] = []
        self.later: set[Ref] = set()

    def pack(self, value: object) -> bytes:
        try:
            return MAGIC + _encode(self._plain(value))
        except RecursionError:
            raise UnsupportedType(
                f"a {type(value).__qualname__} that contains itself, or is nested too deeply, cannot"
                " be stored: flatten it"
            ) from None

    def _plain(self, value: Any) -> Any:
        kind = type(value)
        plain = _PLAINERS.get(kind)
        if plain is not None:
            return plain(self, value)
        if isinstance(value, enum.Enum):
            flag = isinstance(value, enum.Flag)
            return Ext(ENUM, _encode([self._class(kind), self._plain(value.value) if flag else None, value.name]))
        if is_record(kind):
            fields = record_fields(value)
            body = [self._class(kind), [name for name, _ in fields], [self._plain(item) for _, item in fields]]
            return Ext(RECORD, _encode(body))
        if kind.__module__.partition(".")[0] == "numpy":
            return self._numpy(value)
        raise _no_form(kind)

    def _numpy(self, value: Any) -> Any:
        import numpy

        if type(value) is numpy.ndarray:
            return Ext(ARRAY, npy_bytes(value))
        if isinstance(value, numpy.generic):
            return Ext(SCALAR, npy_bytes(numpy.asarray(value)))
        raise _no_form(type(value))

    def _class(self, kind: type) -> str:
        name = class_name(kind)
        if self._classes is not None and self._classes(name) is not kind:
            raise UnsupportedType(
                f"an output holds a {kind.__qualname__}, which the box's return annotation does not mention, so nobody"
                f" could read it back: annotate the box, for example -> {kind.__name__} or -> list[{kind.__name__}]",
                type=name,
            )
        return name

    # --- one method per type; the table below says which

    def _same(self, value: Any) -> Any:
        return value

    def _int(self, value: int) -> Any:
        return value if -(2**63) <= value < 2**64 else Ext(PLAIN, _encode(["int", f"{value:x}"]))

    def _str(self, value: str) -> Any:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return Ext(PLAIN, _encode(["str", value.encode("utf-8", "surrogatepass")]))
        return value

    def _list(self, value: list[Any]) -> Any:
        return [self._plain(item) for item in value]

    def _tuple(self, value: tuple[Any, ...]) -> Any:
        return Ext(TUPLE, _encode([self._plain(item) for item in value]))

    def _members(self, value: Iterable[Any]) -> list[Any]:
        return [msgspec.Raw(form) for form in sorted(_encode(self._plain(item)) for item in value)]

    def _set(self, value: set[Any]) -> Any:
        return Ext(SET, _encode(self._members(value)))

    def _frozenset(self, value: frozenset[Any]) -> Any:
        return Ext(FROZENSET, _encode(self._members(value)))

    def _pairs(self, value: dict[Any, Any]) -> bytes:
        return _encode([self._plain(part) for pair in value.items() for part in pair])

    def _dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) is str for key in value):
            with contextlib.suppress(UnicodeEncodeError):
                for key in value:
                    key.encode()
                return {key: self._plain(item) for key, item in value.items()}
        return Ext(PAIRS, self._pairs(value))

    def _ordered(self, value: dict[Any, Any]) -> Any:
        return Ext(ORDERED, self._pairs(value))

    def _ref(self, value: Ref) -> Any:
        self.refs.append(value)
        return Ext(REF, value.digest)

    def _blob(self, value: Blob) -> Any:
        self.refs.append(value.ref)
        self.blobs.append(value)
        return Ext(BLOB, value.ref.digest)

    def _later(self, value: Later) -> Any:
        self.later.add(value.ref)
        return Ext(LATER, value.ref.digest)

    def _tree(self, value: Tree) -> Any:
        self.refs.append(value.ref)
        return Ext(TREE, value.ref.digest)

    def _file(self, value: File) -> Any:
        if self._classes is not None:
            raise UnsupportedType("a File says where bytes lie, not what they are: return its bytes or a Blob")
        return Ext(FILE, _encode(str(value.path)))

    def _moment(self, value: datetime.datetime | datetime.time) -> Any:
        zone = value.tzinfo
        named = isinstance(zone, zoneinfo.ZoneInfo) and zone.key is not None
        if zone is not None and not named and type(zone) is not datetime.timezone:
            raise UnsupportedType(f"a time in the zone {zone!r} cannot be stored: use zoneinfo.ZoneInfo or an offset")
        bare = value.replace(tzinfo=None) if named else value
        return Ext(
            PLAIN,
            _encode(
                [
                    type(value).__name__,
                    bare.isoformat(),
                    value.fold,
                    zone.key if isinstance(zone, zoneinfo.ZoneInfo) else "",
                ]
            ),
        )

    def _spelled(self, value: Any) -> Any:
        return Ext(PLAIN, _encode([type(value).__name__, str(value)]))


_PLAINERS: dict[type, Callable[[Packer, Any], Any]] = {
    type(None): Packer._same,
    bool: Packer._same,
    float: Packer._same,
    bytes: Packer._same,
    int: Packer._int,
    str: Packer._str,
    list: Packer._list,
    tuple: Packer._tuple,
    dict: Packer._dict,
    set: Packer._set,
    frozenset: Packer._frozenset,
    collections.OrderedDict: Packer._ordered,
    complex: lambda packer, value: Ext(COMPLEX, _complex.pack(value.real, value.imag)),
    bytearray: lambda packer, value: Ext(BYTEARRAY, bytes(value)),
    range: lambda packer, value: Ext(PLAIN, _encode(["range", value.start, value.stop, value.step])),
    Ref: Packer._ref,
    Blob: Packer._blob,
    File: Packer._file,
    Later: Packer._later,
    Tree: Packer._tree,
    datetime.datetime: Packer._moment,
    datetime.time: Packer._moment,
    datetime.date: lambda packer, value: Ext(PLAIN, _encode(["date", value.isoformat()])),
    datetime.timedelta: lambda packer, value: Ext(
        PLAIN, _encode(["timedelta", value.days, value.seconds, value.microseconds])
    ),
    decimal.Decimal: Packer._spelled,
    fractions.Fraction: Packer._spelled,
    uuid.UUID: Packer._spelled,
}


def _no_form(kind: type) -> UnsupportedType:
    return UnsupportedType(
        f"a value of type {kind.__module__}.{kind.__qualname__} cannot be stored as an output: return bytes, text,"
        " numbers, containers of them, dataclasses (named in the return annotation), numpy arrays, a Blob, a Ref or a"
        " Tree",
        type=class_name(kind),
    )


class Unpacker:
    """Reads packed values.  Raises `Unreadable` for what it does not know."""

    __slots__ = ("_classes", "_decode", "_store")

    def __init__(self, classes: Classes, store: Readable) -> None:
        self._classes = classes
        self._store = store
        self._decode = msgspec.msgpack.Decoder(ext_hook=self._extension).decode

    def unpack(self, data: bytes | memoryview) -> Any:
        if data[:4] != MAGIC:
            raise Unreadable("no packed value")
        try:
            return self._decode(memoryview(data)[4:])
        except (msgspec.DecodeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as reason:
            raise Unreadable(f"a packed value of another shape: {reason}") from reason

    def _extension(self, code: int, body: memoryview) -> Any:
        if code == TUPLE:
            return tuple(self._decode(body))
        if code == SET:
            return set(self._decode(body))
        if code == FROZENSET:
            return frozenset(self._decode(body))
        if code == COMPLEX:
            return complex(*_complex.unpack(body))
        if code == ARRAY:
            return array_of_npy(bytes(body))
        if code == SCALAR:
            return array_of_npy(bytes(body))[()]
        if code == BYTEARRAY:
            return bytearray(body)
        if code in (PAIRS, ORDERED):
            parts = self._decode(body)
            pairs = zip(parts[::2], parts[1::2], strict=True)
            return dict(pairs) if code == PAIRS else collections.OrderedDict(pairs)
        if code == PLAIN:
            kind, *rest = self._decode(body)
            return _PLAIN_READERS[kind](*rest)
        if code == RECORD:
            name, names, values = self._decode(body)
            return rebuild_record(self._class(name), dict(zip(names, values, strict=True)))
        if code == ENUM:
            name, value, member = self._decode(body)
            found = self._class(name)
            return found[member] if value is None else found(value)
        return self._named(code, body)

    def _named(self, code: int, body: memoryview) -> Any:
        if code == FILE:
            return File(self._decode(body))
        ref = ref_of_digest(bytes(body))
        if code == REF:
            return ref
        if code == LATER:
            return self._store.get(ref)
        if code == BLOB:
            return Blob(ref, self._store)
        if code == TREE:
            return Tree(ref, self._store)
        raise Unreadable(f"an extension of code {code}")

    def _class(self, name: str) -> Any:
        kind = self._classes(name)
        if kind is None:
            raise Unreadable(f"a value of class {name}, which nobody named")
        return kind


def rebuild_record(kind: Any, fields: dict[str, Any]) -> Any:
    """The record with exactly these fields; no `__init__` and no check of the class runs."""
    if is_named_tuple(kind):
        return tuple.__new__(kind, [fields[name] for name in kind._fields])
    if issubclass(kind, msgspec.Struct):
        return kind(**fields)
    unknown = fields.keys() - {field.name for field in dataclasses.fields(kind)}
    if unknown:
        raise ValueError(f"{kind.__qualname__} has no field {', '.join(sorted(unknown))}")
    instance = object.__new__(kind)
    for name, item in fields.items():
        object.__setattr__(instance, name, item)
    return instance


def _moment_of(kind: Any, text: str, fold: int, zone: str) -> Any:
    moment = kind.fromisoformat(text).replace(fold=fold)
    return moment.replace(tzinfo=zoneinfo.ZoneInfo(zone)) if zone else moment


_PLAIN_READERS: dict[str, Callable[..., Any]] = {
    "int": lambda text: int(text, 16),
    "str": lambda raw: raw.decode("utf-8", "surrogatepass"),
    "range": range,
    "date": datetime.date.fromisoformat,
    "datetime": lambda text, fold, zone: _moment_of(datetime.datetime, text, fold, zone),
    "time": lambda text, fold, zone: _moment_of(datetime.time, text, fold, zone),
    "timedelta": lambda days, seconds, microseconds: datetime.timedelta(days, seconds, microseconds),
    "Decimal": decimal.Decimal,
    "Fraction": fractions.Fraction,
    "UUID": uuid.UUID,
}


def npy_bytes(array: Any) -> bytes:
    """An array as a .npy file (format of NEP 1), without pickle."""
    import numpy

    refuse_object_dtype(array)
    file = io.BytesIO()
    numpy.save(file, array, allow_pickle=False)
    return file.getvalue()


def array_of_npy(data: bytes) -> Any:
    import numpy

    try:
        return numpy.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as reason:
        raise BadInput(f"these {len(data)} bytes are no .npy file: {reason}") from reason
