"""What a fact may be, and how it is kept so that nobody changes it by accident.

A stored value is either *plain* (None, bool, int, float, str, bytes, tuples of plain ones), which cannot change
anyway, or `Packed`: everything else, as bytes.  Reading unpacks a fresh copy, so `tx.get(key).append(x)` changes
nothing until it is put back, and what is read after a restart is of the type that was put.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import importlib
import uuid
from collections.abc import Callable, Sequence
from gc import get_referents
from typing import Any, Final

import msgspec

from boxwork.errors import FormatError, TooLarge, UnsupportedType
from boxwork.keys import Ref
from boxwork.settings import MiB

# One fact.  Unit: bytes.  Reason: a fact is copied into the log, the checkpoint and memory; what is bigger belongs
# into content, and its ref here.
VALUE_BYTES_MAX = 4 * MiB


class _Mark:
    """A sentinel with a name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


ABSENT: Final = _Mark("ABSENT")  # there is no such fact
DELETED: Final = _Mark("DELETED")  # in a write set: the fact goes away


class Packed:
    """A value that is not plain, as bytes; equal values that were put equally have equal bytes."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Packed) and other.payload == self.payload

    def __hash__(self) -> int:
        return hash(self.payload)

    def __repr__(self) -> str:
        return f"Packed({unpack(self.payload)!r})"


PLAIN = frozenset({type(None), bool, int, float, str, bytes})
# Scalars whose size needs no look.
SMALL = frozenset({type(None), bool, int, float})
_PLAIN_OR_TUPLE = PLAIN | {tuple}


def freeze(value: Any) -> Any:
    """`value` as it is stored.  Raises `UnsupportedType` or `TooLarge`."""
    kind = type(value)
    if kind in SMALL:
        return value
    if kind is str:
        if len(value) > VALUE_BYTES_MAX:
            raise _too_large(len(value))
        if not value.isascii():
            _check_text(value)
        return value
    if kind is bytes:
        if len(value) > VALUE_BYTES_MAX:
            raise _too_large(len(value))
        return value
    if kind is tuple and (SMALL.issuperset(map(type, value)) or _is_plain(value)):
        return value
    if kind is Packed:
        return value
    payload = pack(value)
    if len(payload) > VALUE_BYTES_MAX:
        raise _too_large(len(payload))
    return Packed(payload)


def thaw(stored: Any) -> Any:
    """The value that was put; a fresh copy if it could be changed."""
    return unpack(stored.payload) if stored.__class__ is Packed else stored


def _is_plain(members: tuple[Any, ...]) -> bool:
    for member in members:
        kind = type(member)
        if kind is tuple:
            if not _is_plain(member):
                return False
        elif kind not in PLAIN:
            return False
        elif kind is str:
            if not member.isascii():
                _check_text(member)
            if len(member) > VALUE_BYTES_MAX:
                raise _too_large(len(member))
    return True


# Tuples that are looked at together.  Unit: tuples.  Reason: the lists of their parts stay in the processor's cache.
_TOGETHER = 256


def all_plain(rows: Sequence[tuple[Any, ...]], known: Sequence[tuple[Any, ...]] = ()) -> bool:
    """Are these tuples plain, all the way down?  Loops in C for each level, where `freeze` looks at one by one.

    Of those in `known` it is known: a tuple that is a part of one of them and of a row is not looked at again.
    """
    seen: set[int] | None = None  # the tuples in those of `known`
    for at in range(0, len(rows), _TOGETHER):
        level, is_first = rows[at : at + _TOGETHER], True
        while level:
            parts = parts_of(level)
            kinds = set(map(type, parts))
            if kinds <= SMALL:
                break
            if not kinds <= _PLAIN_OR_TUPLE:
                return False
            if str in kinds and not _all_texts([part for part in parts if part.__class__ is str]):
                return False
            if tuple not in kinds:
                break
            level = parts if len(kinds) == 1 else _tuples(parts)
            if is_first and known:
                if seen is None:
                    seen = set(map(id, _tuples(parts_of(known))))
                if seen:
                    level = [part for part in level if id(part) not in seen]
            is_first = False
    return True


def _tuples(parts: list[Any]) -> list[tuple[Any, ...]]:
    return [part for part in parts if part.__class__ is tuple]


def parts_of(tuples: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What these tuples are made of, in any order.  They are tuples, of no other class."""
    return get_referents(*tuples)  # half of the price of a chain, which makes an iterator for each of them


def _all_texts(texts: list[str]) -> bool:
    """Can all of them be stored?"""
    if max(map(len, texts)) > VALUE_BYTES_MAX:
        return False
    if not all(map(str.isascii, texts)):
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            return False
    return True


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as reason:
        raise UnsupportedType(
            f"the text {text[:40]!r} has a lone surrogate at {reason.start}: it cannot be written"
            " as UTF-8; store bytes instead"
        ) from None


def _too_large(size: int) -> TooLarge:
    return TooLarge(
        f"a fact of {size} bytes is over {VALUE_BYTES_MAX}: put the bytes into content and store the ref",
        size=size,
        limit=VALUE_BYTES_MAX,
    )


# --- bytes --------------------------------------------------------------------------------------------------
#
# MessagePack, with extension codes for what MessagePack does not tell apart.  The numbers are a format: they
# are added to, never changed.

_PACKED, _DELETED, _BIG, _TUPLE, _SET, _FROZENSET, _PAIRS, _RECORD, _MEMBER, _SPELLED = range(1, 11)

_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1

_SPELL: dict[type, tuple[str, Callable[[Any], str], Callable[[str], Any]]] = {
    datetime.datetime: ("datetime", datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    datetime.date: ("date", datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.time: ("time", datetime.time.isoformat, datetime.time.fromisoformat),
    datetime.timedelta: (
        "timedelta",
        lambda value: f"{value.days},{value.seconds},{value.microseconds}",
        lambda text: datetime.timedelta(*map(int, text.split(","))),
    ),
    decimal.Decimal: ("decimal", str, decimal.Decimal),
    fractions.Fraction: ("fraction", str, fractions.Fraction),
    uuid.UUID: ("uuid", str, uuid.UUID),
    Ref: ("ref", str, Ref),
}
_UNSPELL = {name: read for name, _, read in _SPELL.values()}

_encode = msgspec.msgpack.Encoder().encode
_Ext = msgspec.msgpack.Ext


def pack(value: Any) -> bytes:
    """Any supported value as bytes that `unpack` turns into an equal value of the same type."""
    return _encode(_lower(value))


def unpack(payload: bytes) -> Any:
    return _decode(payload)


def _lower(value: Any) -> Any:
    kind = type(value)
    if kind in (bool, float, bytes, type(None)):
        return value
    if kind is int:
        return value if _INT_MIN <= value <= _INT_MAX else _Ext(_BIG, str(value).encode())
    if kind is str:
        _check_text(value)
        return value
    if kind is list:
        return [_lower(member) for member in value]
    if kind is tuple:
        return _Ext(_TUPLE, _encode([_lower(member) for member in value]))
    if kind is dict:
        if all(type(key) is str for key in value):
            return {key: _lower(item) for key, item in value.items()}
        return _Ext(_PAIRS, _encode([[_lower(key), _lower(item)] for key, item in value.items()]))
    if kind is set or kind is frozenset:
        members = [msgspec.Raw(form) for form in sorted(_encode(_lower(member)) for member in value)]
        return _Ext(_SET if kind is set else _FROZENSET, _encode(members))
    if kind in _SPELL:
        name, spell, _ = _SPELL[kind]
        return _Ext(_SPELLED, _encode([name, spell(value)]))
    if isinstance(value, enum.Enum):
        return _Ext(_MEMBER, _encode([_path(kind), value.name]))
    if isinstance(value, msgspec.Struct):
        fields = {name: _lower(getattr(value, name)) for name in value.__struct_fields__}
        return _Ext(_RECORD, _encode([_path(kind), fields]))
    if dataclasses.is_dataclass(value):
        fields = {field.name: _lower(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return _Ext(_RECORD, _encode([_path(kind), fields]))
    raise UnsupportedType(
        f"a fact cannot be a {kind.__module__}.{kind.__qualname__}: use None, bool, int, float, str, bytes, tuples,"
        " lists, dicts, sets, dates, Decimal, UUID, Ref, an Enum, a msgspec.Struct or a dataclass",
        type=f"{kind.__module__}.{kind.__qualname__}",
    )


def _path(kind: type) -> str:
    if "<locals>" in kind.__qualname__:
        raise UnsupportedType(
            f"{kind.__qualname__} is defined inside a function, so nobody could read it back: move it to a module"
        )
    return f"{kind.__module__}:{kind.__qualname__}"


def _raise(code: int, data: memoryview) -> Any:
    if code == _BIG:
        return int(bytes(data))
    if code == _TUPLE:
        return tuple(_decode(data))
    if code == _SET:
        return set(_decode(data))
    if code == _FROZENSET:
        return frozenset(_decode(data))
    if code == _PAIRS:
        return dict(_decode(data))
    if code == _SPELLED:
        name, text = _decode(data)
        return _UNSPELL[name](text)
    if code == _MEMBER:
        path, name = _decode(data)
        return _class(path, (enum.Enum,))[name]
    if code == _RECORD:
        path, fields = _decode(data)
        kind = _class(path, (msgspec.Struct,))
        if issubclass(kind, msgspec.Struct):
            return kind(**fields)
        made = kind.__new__(kind)
        for field in dataclasses.fields(kind):
            object.__setattr__(made, field.name, fields.get(field.name))
        return made
    if code == _PACKED:
        return Packed(bytes(data))
    if code == _DELETED:
        return DELETED
    raise FormatError(f"a stored value has the unknown extension code {code}: it was written by a newer version")


def _class(path: str, kinds: tuple[type, ...]) -> Any:
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as reason:
        raise FormatError(
            f"a stored value is a {path}, which cannot be imported ({reason}): keep the class where it"
            " was, or put it back to read the old facts",
            path=path,
        ) from reason
    # Only data classes are made from stored names: a log that was tampered with must not be able to call anything.
    if not isinstance(found, type) or not (issubclass(found, kinds) or dataclasses.is_dataclass(found)):
        raise FormatError(f"a stored value names {path}, which is not a Struct, dataclass or Enum", path=path)
    return found


_decode = msgspec.msgpack.Decoder(ext_hook=_raise).decode


def _hook(value: Any) -> Any:
    if value.__class__ is Packed:
        return _Ext(_PACKED, value.payload)
    if value is DELETED:
        return _Ext(_DELETED, b"")
    raise UnsupportedType(f"{value!r} is not a stored value")


_encode_stored = msgspec.msgpack.Encoder(enc_hook=_hook).encode


def encode_stored(value: Any) -> bytes:
    """Stored values (also inside dicts, lists and tuples) as bytes.  In these bytes an array is a tuple."""
    try:
        return _encode_stored(value)
    except OverflowError:  # an int beyond 64 bits somewhere: rare, so only now is it looked for
        return _encode_stored(_without_big(value))


def _without_big(value: Any) -> Any:
    kind = type(value)
    if kind is int and not _INT_MIN <= value <= _INT_MAX:
        return _Ext(_BIG, str(value).encode())
    if kind in (tuple, list):
        return [_without_big(member) for member in value]
    if kind is dict:
        return {key: _without_big(item) for key, item in value.items()}
    return value


def as_stored(decoded: Any) -> Any:
    """What a decoder made of stored values, with its lists (which are changed) as the tuples they were."""
    return _as_tuple(decoded) if decoded.__class__ is list else decoded


def _as_tuple(members: list[Any]) -> tuple[Any, ...]:
    at = 0  # counted by hand: `enumerate` takes as long as what is saved here
    for member in members:
        if member.__class__ is list:
            members[at] = _as_tuple(member)
        at += 1  # noqa: SIM113
    return tuple(members)


# For decoders of other shapes that hold stored values.
DECODER_HOOK = _raise
WRITES_DECODER = msgspec.msgpack.Decoder(dict[tuple[Any, ...], Any], ext_hook=_raise)
ANY_DECODER = msgspec.msgpack.Decoder(ext_hook=_raise)
