"""The form of a value that code reads: a constant, a default, a closure variable, a class attribute.

Immutable values are hashed once.  A mutable value whose whole state can be seen is hashed now and compared at every
call; one that is too large for that must be pinned.  A value with state that nobody can see is refused.
Functions and classes inside a value are followed.  Loggers and locks stay out: they do not change what is computed.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import logging
import operator
import pathlib
import re
import struct
import sys
import threading
import types
import typing
import uuid
import weakref
import zoneinfo
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from boxwork import keys
from boxwork.derive import kinds
from boxwork.derive.guards import slots_of

if TYPE_CHECKING:
    from boxwork.derive.walk import Walk

# A mutable value up to this size is compared at every call without being asked for (some 50 us at the limit).
# Unit: bytes, as counted by `Judge`; a number counts 8, an object 16.
WATCHED_BYTES_MAX = 64 * 1024

# Deeper values are refused, before Python's own limit is near.  Unit: levels; arbitrary, far beyond any table
# written by hand.
DEPTH_MAX = 60

_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes, range, type(...), type(NotImplemented)})
_DATES = frozenset(
    {
        datetime.datetime,
        datetime.date,
        datetime.time,
        datetime.timedelta,
        decimal.Decimal,
        fractions.Fraction,
        uuid.UUID,
    }
)
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore)
_SILENT = (logging.Logger, logging.LoggerAdapter, logging.Handler, *_LOCKS)
_STREAMS = frozenset({"<stdout>", "<stderr>"})
_TYPING = (
    typing.TypeVar,
    typing.ParamSpec,
    typing.ForwardRef,
    types.GenericAlias,
    types.UnionType,
    typing.NewType,
    type(typing.Any),
    type(typing.Union),
    type(typing.Optional[int]),  # noqa: UP045
    type(typing.List[int]),  # noqa: UP006
    type(typing.Generic),
    type(typing.List),  # noqa: UP006
    type(typing.Callable),
)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE


class Opaque(Exception):
    """The value has state that cannot be seen; the text says what it is."""


class Judge:
    """Finds the form of one value.  Afterwards `watched` has everything in it that can change, `size` says how
    large it is, `silent` that it stays out of the key."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk.references
        self._open = walk.open_values
        self._depth = 0
        self.watched: list[object] = []
        self.size = 0
        self.silent = False

    def form(self, value: object) -> bytes:
        if type(value) in _SCALARS:
            self.size += len(value) if isinstance(value, (str, bytes)) else 8
            return value_form(value)
        place = self._open.get(id(value))
        if place is not None:  # it contains itself: how far up it stands says which one is meant
            return b"cycle%d" % (len(self._open) - place)
        self._depth += 1
        self._open[id(value)] = len(self._open)
        try:
            if len(self._open) > DEPTH_MAX:
                raise Opaque(f"a value nested deeper than {DEPTH_MAX} levels")
            return self._form(value)
        finally:
            del self._open[id(value)]
            self._depth -= 1

    def _form(self, value: object) -> bytes:
        kind = type(value)
        if kind in _DATES:
            return keys.canonical(value)
        found = self._walk.reference(value)
        if found is not None:
            self.size += 16
            return found
        special = _SPECIAL.get(kind) or next((f for base, f in _FAMILIES if isinstance(value, base)), None)
        if special is not None:
            return special(self, value)
        if value is sys.stdout or value is sys.stderr or getattr(value, "name", None) in _STREAMS:
            return self.silence(value)
        if kind.__module__.partition(".")[0] == "numpy":
            return self._numpy(value)
        return self._instance(value)

    def frame(self, tag: str, *forms: bytes) -> bytes:
        """One form of several; no two lists of forms give the same bytes."""
        self.size += 16
        head = tag.encode()
        return b"(%d:%b%d:" % (len(head), head, len(forms)) + b"".join(b"%d:%b" % (len(f), f) for f in forms)

    def text(self, tag: str, text: str) -> bytes:
        return self.frame(tag, text.encode("utf-8", "surrogatepass"))

    # --- containers ---

    def sequence(self, value: Any) -> bytes:
        if not isinstance(value, tuple):
            self.watched.append(value)
        return self.frame(self._tag(value), *map(self.form, list(value)))

    def members(self, value: Any) -> bytes:
        if not isinstance(value, frozenset):
            self.watched.append(value)
        return self.frame(self._tag(value), *sorted(map(self.form, list(value))))

    def mapping(self, value: Any) -> bytes:
        """In insertion order: who goes over a dict sees it."""
        self.watched.append(value)
        forms = [self.form(one) for row in list(value.items()) for one in row]
        if isinstance(value, collections.defaultdict):
            forms.append(self.form(value.default_factory))
        return self.frame(self._tag(value), *forms, *self._extra(value))

    def _tag(self, value: object) -> str:
        kind = type(value)
        if kind.__module__ in {"builtins", "collections", "types"}:
            return kind.__qualname__
        return self._walk.describe_instance(kind).hex()

    def _extra(self, value: object) -> list[bytes]:
        """What a subclass of a container carries beside its members."""
        state = getattr(value, "__dict__", None)
        return [self.form(state)] if state else []

    # --- others ---

    def member(self, value: Any) -> bytes:
        return self.frame(
            "enum",
            self._walk.describe_instance(type(value)),
            self.text("name", str(value.name)),
            self.form(value.value),
        )

    def partial(self, value: Any) -> bytes:
        return self.frame(
            "partial",
            self.form(value.func),
            self.form(value.args),
            *(self.form(one) for row in value.keywords.items() for one in row),
        )

    def reduced(self, value: Any) -> bytes:
        made = value.__reduce__()
        return self.frame(type(value).__qualname__, self.form(made[1]))

    def refuse(self, value: object) -> bytes:
        raise Opaque(f"a {type(value).__module__}.{type(value).__qualname__}, whose state cannot be seen")

    def silence(self, value: object) -> bytes:
        self.silent = self.silent or self._depth == 1
        return b"silent"

    def _numpy(self, value: Any) -> bytes:
        import numpy as np

        if isinstance(value, np.ndarray):
            if value.dtype.hasobject or type(value) not in {np.ndarray, np.memmap}:
                if type(value) is np.ndarray:
                    self.watched.append(value)
                    shape = self.text("shape", repr(value.shape))
                    return self.frame("array", shape, *map(self.form, value.ravel().tolist()))
                raise Opaque(f"a {type(value).__module__}.{type(value).__qualname__}")
            self.size += value.nbytes
            base: Any = value
            frozen = True
            while isinstance(base, np.ndarray):
                frozen &= not base.flags.writeable
                base = base.base
            if not frozen or not (base is None or isinstance(base, bytes)):
                self.watched.append(value)
            data = np.ascontiguousarray(value)
            return keys.array_form(
                repr(np.lib.format.dtype_to_descr(value.dtype)), value.shape, data.reshape(-1).view("u1").data
            )
        if isinstance(value, np.generic):
            if value.dtype.hasobject:
                raise Opaque("a numpy object scalar")
            return self.frame("scalar", str(value.dtype).encode(), value.tobytes())
        if isinstance(value, (np.dtype, np.ufunc)):
            return self.text("dtype" if isinstance(value, np.dtype) else "ufunc", repr(value))
        return self._instance(value)

    def _instance(self, value: Any) -> bytes:
        """An object whose state is its attributes: hashed with its class.  Any other is refused."""
        kind = type(value)
        if kind is object:
            return b"object"
        if not has_visible_state(kind):
            raise Opaque(f"a {kind.__module__}.{kind.__qualname__}, whose state cannot be seen")
        if not (dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen):  # type: ignore[attr-defined]
            self.watched.append(value)
        state: dict[str, object] = dict(getattr(value, "__dict__", {}))
        for name in [name for name in state if isinstance(getattr(kind, name, None), functools.cached_property)]:
            del state[name]  # computed from the rest, and only there once somebody has asked
        for name in slots_of(kind):
            if hasattr(value, name):
                state[name] = getattr(value, name)
        plain = next((base for base in kind.__mro__ if base in _PLAIN_BASES), None)
        extra = [] if plain is None else [_PLAIN_BASES[plain](self, value)]
        forms = [one for name in sorted(state) for one in (value_form(name), self.form(state[name]))]
        return self.frame("instance", self._walk.describe_instance(kind), *forms, *extra)


def has_visible_state(kind: type) -> bool:
    """Whether instances keep everything in `__dict__` and slots: no class of theirs is written in C."""
    return all(
        base in _PLAIN_BASES or (base.__flags__ & _HEAP_TYPE and written_in_python(base)) for base in kind.__mro__[:-1]
    )


def written_in_python(kind: type) -> bool:
    parent = kind.__base__ or object
    room = parent.__basicsize__ + 8 * len(tuple(_own_slots(kind))) + 16  # a dict and a list of weak references
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    compiled = module is not None and file is not None and not file.endswith((".py", ".pyc"))
    return kind.__basicsize__ <= room and not compiled and kind.__module__ not in sys.builtin_module_names


def _own_slots(kind: type) -> list[str]:
    slots = kind.__dict__.get("__slots__", ())
    return [slots] if isinstance(slots, str) else list(slots)


def value_form(value: object) -> bytes:
    if value is ...:
        return b"ellipsis"
    if value is NotImplemented:
        return b"notimplemented"
    return keys.canonical(value)


def _text_of(tag: str, spell: Callable[[Any], str]) -> Callable[[Judge, Any], bytes]:
    return lambda judge, value: judge.text(tag, spell(value))


def _buffer(judge: Judge, value: Any) -> bytes:
    judge.watched.append(value)
    raw = bytes(value)
    judge.size += len(raw)
    return judge.frame(type(value).__name__, getattr(value, "typecode", "").encode(), raw)


def _deque(judge: Judge, value: Any) -> bytes:
    return judge.frame("deque", judge.form(value.maxlen), judge.sequence(value))


def _chain(judge: Judge, value: Any) -> bytes:
    return judge.frame("chain", *(judge.form(one) for one in value.maps))


_SPECIAL: dict[type, Callable[[Judge, Any], bytes]] = {
    tuple: Judge.sequence,
    list: Judge.sequence,
    set: Judge.members,
    frozenset: Judge.members,
    dict: Judge.mapping,
    collections.OrderedDict: Judge.mapping,
    collections.defaultdict: Judge.mapping,
    collections.Counter: Judge.mapping,
    collections.deque: _deque,
    collections.ChainMap: _chain,
    bytearray: _buffer,
    array.array: _buffer,
    slice: lambda judge, value: judge.frame("slice", *map(judge.form, (value.start, value.stop, value.step))),
    re.Pattern: lambda judge, value: judge.frame("pattern", judge.form(value.pattern), b"%d" % value.flags),
    struct.Struct: _text_of("struct", lambda value: str(value.format)),
    datetime.timezone: _text_of("timezone", repr),
    zoneinfo.ZoneInfo: _text_of("zone", lambda value: str(value.key)),
    operator.itemgetter: Judge.reduced,
    operator.attrgetter: Judge.reduced,
    operator.methodcaller: Judge.reduced,
    functools.partial: Judge.partial,
    functools.partialmethod: Judge.partial,
    types.SimpleNamespace: lambda judge, value: judge.frame("namespace", judge.mapping(vars(value))),
    types.MappingProxyType: lambda judge, value: judge.frame("proxy", judge.mapping(value)),
    type(dataclasses.MISSING): lambda judge, value: b"missing",
    weakref.ref: Judge.refuse,
    type(sys.flags): lambda judge, value: judge.frame("flags", *map(judge.form, tuple(value))),
    type(sys.version_info): lambda judge, value: judge.frame("version", *map(judge.form, tuple(value))),
}

# Subclasses of these are their value beside their attributes.
_PLAIN_BASES: dict[type, Callable[[Judge, Any], bytes]] = {
    bool: lambda judge, value: value_form(bool(value)),
    int: lambda judge, value: value_form(int.__index__(value)),
    float: lambda judge, value: value_form(float.__float__(value)),
    str: lambda judge, value: value_form(str.__str__(value)),
    bytes: lambda judge, value: value_form(bytes.__getitem__(value, slice(None))),
    tuple: lambda judge, value: judge.frame("tuple", *map(judge.form, tuple.__iter__(value))),
    list: lambda judge, value: judge.frame("list", *map(judge.form, list.__iter__(value))),
    dict: lambda judge, value: judge.frame("dict", *(judge.form(x) for row in dict.items(value) for x in row)),
    set: lambda judge, value: judge.frame("set", *sorted(map(judge.form, set.__iter__(value)))),
    frozenset: lambda judge, value: judge.frame("set", *sorted(map(judge.form, frozenset.__iter__(value)))),
}

# Looked at in this order, for subclasses.
_FAMILIES: tuple[tuple[Any, Callable[[Judge, Any], bytes]], ...] = (
    (enum.Enum, Judge.member),
    (_SILENT, Judge.silence),
    (pathlib.PurePath, lambda judge, value: judge.text(type(value).__name__, str(value))),
    (_TYPING, lambda judge, value: judge.text("typing", kinds.spelled(value))),
    (keys.Ref, lambda judge, value: judge.text("ref", str(value))),
)
