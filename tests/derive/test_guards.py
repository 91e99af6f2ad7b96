"""Guards notice every exchange, and cost next to nothing when there is none."""

from __future__ import annotations

import gc
import types
import weakref
from array import array
from collections import deque
from typing import Any

import numpy as np
import pytest

from boxwork.box import derivation
from boxwork.derive.guards import COMPILED_MAX, Guards, unchanged
from boxwork.derive.values import Judge


class Plain:
    def __init__(self) -> None:
        self.a = [1, 2]


class Slots:
    __slots__ = ("__hidden", "a")

    def __init__(self) -> None:
        self.a = 1
        self.__hidden = 2

    def poke(self) -> None:
        self.__hidden = 3


class References:
    """Nothing is followed here; only the values themselves are of interest."""

    def reference(self, value: object) -> bytes | None:
        return b"function" if callable(value) else None

    def describe_instance(self, kind: type) -> bytes:
        return kind.__qualname__.encode()


class Walk:
    def __init__(self) -> None:
        self.references = References()
        self.open_values: dict[int, int] = {}


def change(name: str, value: Any) -> None:
    """One change of each kind of value."""
    {
        "item": lambda: value.__setitem__(0, 9),
        "append": lambda: value.append(9),
        "add": lambda: value.add(9),
        "key": lambda: value.__setitem__("z", 9),
        "inner": lambda: value["a"].append(3),
        "type": lambda: value.__setitem__("b", True),
        "attribute": lambda: setattr(value, "a", 9),
        "deep": lambda: value.a.append(3),
        "poke": lambda: value.poke(),
        "class": lambda: setattr(value, "__class__", Other),
        "shape": lambda: value.resize((4, 1), refcheck=False),
    }[name]()


class Other(Plain):
    pass


CHANGES: list[tuple[Any, str]] = [
    ([1, 2], "item"),
    ([1, 2], "append"),
    ({1, 2}, "add"),
    ({"a": [1], "b": 1}, "key"),
    ({"a": [1], "b": 1}, "inner"),
    ({"a": [1], "b": 1}, "type"),
    ({"f": len, "a": [1]}, "inner"),
    (bytearray(b"ab"), "item"),
    (deque([1]), "append"),
    (array("i", [1]), "item"),
    (np.zeros((2, 2)), "shape"),
    (np.zeros(3), "item"),
    (Plain(), "attribute"),
    (Plain(), "deep"),
    (Plain(), "class"),
    (Slots(), "attribute"),
    (Slots(), "poke"),
    (types.SimpleNamespace(a=1), "attribute"),
    ([b"a", 1.5], "item"),
]


@pytest.mark.parametrize(("value", "how"), CHANGES, ids=lambda one: one if isinstance(one, str) else type(one).__name__)
def test_every_change_in_place_is_noticed(value: Any, how: str) -> None:
    judge = Judge(Walk())  # type: ignore[arg-type]
    before = judge.form(value)
    assert judge.watched
    holds = unchanged(value, judge.watched)
    assert holds()
    assert holds()
    change(how, value)
    assert not holds()
    assert before != Judge(Walk()).form(value)  # type: ignore[arg-type]


def test_an_exchange_of_anything_guarded_is_noticed() -> None:
    def function(x: int = 1) -> int:
        return x

    def closure() -> Any:
        return function

    namespace = {"a": 1, "{b}": "quote ' and {brace}"}
    cell = (closure.__closure__ or ())[0]

    def guarded() -> Any:
        guards = Guards()
        guards.entry(namespace, "a", namespace["a"])
        guards.entry(namespace, "{b}", namespace["{b}"])
        guards.absent(namespace, "len")
        guards.attribute(function, "__defaults__", function.__defaults__)
        guards.cell(cell, cell.cell_contents)
        return guards.check()

    check = guarded()
    assert check()
    namespace["a"] = True
    assert not check()
    namespace["a"] = 1
    assert check()
    del namespace["a"]
    assert not check()
    namespace["a"] = 1
    namespace["len"] = 2
    assert not check()
    del namespace["len"]
    function.__defaults__ = (2,)
    assert not check()
    check = guarded()
    cell.cell_contents = 1
    assert not check()


def test_very_many_guards_are_a_loop() -> None:
    namespace = {f"n{index}": object() for index in range(COMPILED_MAX + 50)}
    guards = Guards()
    for name, value in namespace.items():
        guards.entry(namespace, name, value)
    check = guards.check()
    assert check()
    namespace["n7"] = object()
    assert not check()


def test_a_class_that_grows_is_noticed() -> None:
    class Kind:
        pass

    guards = Guards()
    guards.class_size(Kind)
    check = guards.check()
    assert check()
    Kind.more = 1  # type: ignore[attr-defined]
    assert not check()


def test_a_box_is_held_weakly_and_a_missing_one_is_a_change() -> None:
    namespace: dict[str, object] = {"box": derivation(lambda x: x)}
    guards = Guards()
    guards.entry(namespace, "box", namespace["box"])
    holds = guards.check()
    del guards
    assert holds()
    gone = weakref.ref(namespace["box"])
    namespace["box"] = None
    gc.collect()
    assert gone() is None
    assert not holds()
