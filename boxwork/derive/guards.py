"""Whether anything a fingerprint was computed from has been exchanged since.

A guard is an identity: this name in that namespace still is that object.  Immutable values need no more; a mutable
value also has a snapshot.  All identities of a box become one generated function of `and`s, because it runs at
every call: 15 ns an identity, where a loop takes 60.  The text it is generated from has numbers and quoted names.
"""

from __future__ import annotations

import marshal
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import CellType
from typing import Any

from boxwork.box import Derivation

# Compiling costs 10 us an identity once; beyond this many, a loop is the better bargain.  Unit: guards.
COMPILED_MAX = 150

# Boxes are held weakly, or boxes that call each other would never go.  This stands for one that has gone.
_GONE = object()

_PLAIN = frozenset({type(None), bool, int, float, complex, str})
_PLAIN_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})


class Guards:
    """Collects what must still hold; `check()` makes the function that asks."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, str], tuple[Mapping[str, Any], str, Any]] = {}
        self._attributes: dict[tuple[int, str], tuple[Any, str, Any]] = {}
        self._absent: dict[int, tuple[Mapping[str, Any], set[str]]] = {}
        self._sizes: dict[int, tuple[Mapping[str, Any], int]] = {}
        self._tests: list[Callable[[], bool]] = []

    def entry(self, namespace: Mapping[str, Any], name: str, value: object) -> None:
        self._entries[id(namespace), name] = (namespace, name, value)

    def class_entry(self, kind: type, name: str, value: object) -> None:
        # `kind.__dict__` is a new proxy each time: the first one is kept so that its id stays its own.
        self._entries[id(kind), name] = (kind.__dict__, name, value)

    def class_size(self, kind: type) -> None:
        self._sizes[id(kind)] = (kind.__dict__, len(kind.__dict__))

    def absent(self, namespace: Mapping[str, Any], name: str) -> None:
        self._absent.setdefault(id(namespace), (namespace, set()))[1].add(name)

    def attribute(self, owner: object, name: str, value: object) -> None:
        self._attributes[id(owner), name] = (owner, name, value)

    def cell(self, cell: CellType, value: object) -> None:
        self.attribute(cell, "cell_contents", value)

    def test(self, holds: Callable[[], bool]) -> None:
        self._tests.append(holds)

    def value(self, value: object, parts: Sequence[object]) -> None:
        """Guard the content of a mutable value; `parts` is everything in it that can change, itself included."""
        self._tests.append(unchanged(value, parts))

    def check(self) -> Callable[[], bool]:
        """A function that says whether everything still holds.  It never raises: what cannot be looked at
        any more (a name deleted, a dict that another thread fills) does not hold."""
        terms: list[str] = []
        objects: list[object] = []

        def term(text: str, *found: object) -> None:
            names = []
            for one in found:
                names.append(f"o{len(objects)}")
                objects.append(one)
            terms.append(text.format(*names))

        rows = [row for row in self._entries.values() if type(row[2]) is not Derivation]
        attributes = [*self._attributes.values()]
        if len(rows) + len(attributes) > COMPILED_MAX:
            term("{}()", _loop(rows, attributes))
        else:
            for namespace, name, value in rows:
                term("{}[" + repr(name).replace("{", "{{").replace("}", "}}") + "] is {}", namespace, value)
            for owner, name, value in attributes:
                term("{}." + name + " is {}", owner, value)
        for namespace, name, value in self._entries.values():
            if type(value) is Derivation:
                term(
                    "{}(" + repr(name).replace("{", "{{").replace("}", "}}") + ") is ({}() or {})",
                    namespace.__getitem__,
                    weakref.ref(value),
                    _GONE,
                )
        for namespace, absent in self._absent.values():
            term("{}({})", namespace.keys().isdisjoint, frozenset(absent))
        for namespace, size in self._sizes.values():
            term("len({}) == {}", namespace, size)
        for holds in self._tests:
            term("{}()", holds)
        arguments = ", ".join(f"o{index}" for index in range(len(objects)))
        text = (
            f"def make({arguments}):\n"
            f"  def check():\n"
            f"    try: return {' and '.join(terms) or 'True'}\n"
            f"    except Exception: return False\n"
            f"  return check\n"
        )
        scope: dict[str, Any] = {}
        exec(compile(text, "<guards>", "exec"), scope)
        check: Callable[[], bool] = scope["make"](*objects)
        return check


def _loop(rows: list[tuple[Mapping[str, Any], str, Any]], attributes: list[tuple[Any, str, Any]]) -> Callable[[], bool]:
    def holds() -> bool:
        for namespace, name, value in rows:
            if namespace[name] is not value:
                return False
        return all(getattr(owner, name) is value for owner, name, value in attributes)

    return holds


def unchanged(value: object, parts: Sequence[object]) -> Callable[[], bool]:
    """A test of whether the content of `value` is still what it is now.

    It may say no for a value that is equal after all: that only costs a second look.
    """
    if _is_plain(value):
        dumps: Callable[[Any, int], bytes] = marshal.dumps
        before = dumps(value, 2)  # version 2: without back references, which depend on reference counts

        def same_bytes() -> bool:
            return dumps(value, 2) == before

        return same_bytes
    known = [(part, _content(part)) for part in parts]

    def same_content() -> bool:
        for part, held in known:
            now = _content(part)
            if len(now) != len(held) or not all(map(_same, now, held)):
                return False
        return True

    return same_content


def _is_plain(value: object) -> bool:
    """Whether marshal spells the value and its types completely."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind not in _PLAIN_CONTAINERS:
        return False
    if kind is dict:
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))  # type: ignore[call-overload,attr-defined]
    return all(map(_is_plain, value))  # type: ignore[call-overload]


def _same(one: object, other: object) -> bool:
    return one is other or (type(one) is bytes and one == other)


def _content(part: Any) -> list[object]:
    """What a mutable object holds itself; what that holds in turn is another part."""
    kind = type(part)
    out: list[object] = [kind]
    if isinstance(part, Mapping):
        out += part
        out += part.values()
    elif isinstance(part, (list, set, deque)):
        out += part
    elif kind is bytearray or kind is array:
        out.append(bytes(part))
    elif hasattr(part, "tobytes"):
        if part.dtype.hasobject:
            out += part.ravel().tolist()
        else:
            out += (part.dtype, f"{part.shape}".encode(), part.tobytes())
    state = getattr(part, "__dict__", None)
    if state is not None:
        out += state
        out += state.values()
    out += [getattr(part, name) for name in slots_of(kind) if hasattr(part, name)]
    return out


def slots_of(kind: type) -> list[str]:
    """Names of all slots of a class that hold values, mangled as they are stored."""
    found: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if name in {"__dict__", "__weakref__"}:
                continue
            private = name.startswith("__") and not name.endswith("__")
            found.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return found
