"""What a fact may be."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwork.errors import FormatError, TooLarge, UnsupportedType
from boxwork.keys import ref_of
from boxwork.state.values import (
    ANY_DECODER,
    VALUE_BYTES_MAX,
    Packed,
    as_stored,
    encode_stored,
    freeze,
    pack,
    thaw,
    unpack,
)


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int


@dataclasses.dataclass(frozen=True)
class Card:
    title: str
    tags: list[str]


class Color(enum.Enum):
    RED = 1


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text("ab"), inner)
        | st.frozensets(st.integers() | st.text("ab"))
        | st.dictionaries(st.integers(), inner)
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    return bool(one == other) and pack(one) == pack(other)


@given(plain)
def test_what_is_packed_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    assert same(unpack(pack(value)), value)


@given(plain)
def test_what_is_stored_comes_back_from_the_log(value: Any) -> None:
    stored = freeze(value)
    again = as_stored(ANY_DECODER.decode(encode_stored(stored)))
    assert type(stored) is type(again)
    assert same(thaw(again), value)


@pytest.mark.parametrize(
    "value",
    [
        Point(1, 2),
        Card("a", ["b"]),
        Color.RED,
        datetime.datetime(2024, 1, 2, 3, 4, 5, 6),
        datetime.date(2024, 1, 2),
        datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        datetime.timedelta(days=1, microseconds=3),
        uuid.UUID(int=5),
        decimal.Decimal("1.50"),
        fractions.Fraction(1, 3),
        ref_of(b"x"),
        {Point(1, 2): {"a": [Color.RED]}},
        {1, 2},
        2**100,
    ],
)
def test_values_of_classes_come_back(value: Any) -> None:
    again = thaw(freeze(value))
    assert value == again
    assert type(value) is type(again)


def test_what_is_read_is_a_fresh_copy() -> None:
    stored = freeze([1, 2])
    thaw(stored).append(3)
    assert [1, 2] == thaw(stored)


def test_plain_values_are_kept_as_they_are() -> None:
    value = ("a", 1, (b"c", None))
    assert value is freeze(value)
    assert isinstance(freeze([1]), Packed)
    assert isinstance(freeze(("a", [1])), Packed)


def test_equal_sets_have_equal_bytes() -> None:
    assert pack({"a", "b", "c", 1}) == pack({1, "c", "b", "a"})


def test_a_value_without_a_form_is_refused_with_what_to_use() -> None:
    with pytest.raises(UnsupportedType, match="a fact cannot be a builtins.object"):
        freeze(object())
    with pytest.raises(UnsupportedType, match="lone surrogate"):
        freeze("\ud800")


def test_a_class_of_a_function_is_refused_because_nobody_could_read_it_back() -> None:
    class Local(msgspec.Struct):
        x: int

    with pytest.raises(UnsupportedType, match="move it to a module"):
        freeze(Local(1))


def test_too_large_a_fact_is_told_where_to_go() -> None:
    with pytest.raises(TooLarge, match="put the bytes into content"):
        freeze(bytes(VALUE_BYTES_MAX + 1))


def test_a_stored_name_cannot_make_anything_but_data() -> None:
    evil = pack(Point(1, 2)).replace(b"test_state_values:Point", b"builtins:print" + b"  " * 0)
    with pytest.raises((FormatError, msgspec.DecodeError)):
        unpack(evil)


def test_a_class_that_is_gone_is_named() -> None:
    raw = pack(Color.RED).replace(b"test_state_values:Color", b"test_state_values:Colxr")
    with pytest.raises(FormatError, match="cannot be imported"):
        unpack(raw)
