"""Canonical forms read back, for people and for audits."""

from __future__ import annotations

import datetime
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from boxwork.derive.canonical_text import Lost, named_forms, text_of_form, text_of_value, value_of_form
from boxwork.derive.handles import Blob
from boxwork.keys import canonical, ref_of, text_form, tree_form

PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**200,
    10**5000,
    -2.5,
    1 + 2j,
    "ä",
    "\ud800",
    [1, (2, "x")],
    {"a": {1, 2}},
    frozenset({3}),
    range(1, 9, 2),
    {1: None},
]


@dataclass
class Crop:
    x: int
    name: str = "left"


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_a_plain_value_comes_back(value: Any) -> None:
    back = value_of_form(canonical(value))
    assert (type(value), value) == (type(back), back)


def test_bytes_come_back_as_their_name() -> None:
    assert ref_of(b"abc") == value_of_form(canonical(b"abc")) == value_of_form(canonical(Blob.of(b"abc")))


@pytest.mark.parametrize("value", [Crop(1), datetime.date(2026, 1, 2), np.arange(3), bytearray(b"x"), [Crop(1)]])
def test_what_only_a_class_could_make_is_lost(value: Any) -> None:
    with pytest.raises(Lost):
        value_of_form(canonical(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (150, "150"),
        ("left", "'left'"),
        (b"abc", "bytes ba7816bf…"),
        ([1, "a"], "[1, 'a']"),
        (Crop(1), "(x=1, name='left')"),
        ({"c": Crop(2)}, "{'c': (x=2, name='left')}"),
        (datetime.date(2026, 1, 2), "date 2026-01-02"),
        (np.zeros((2, 3), "f4"), "array <f4 2x3 "),
        (OrderedDict(a=1), "OrderedDict([('a', 1)])"),
        (bytearray(b"abc"), "bytearray ba7816bf…"),
        ("x" * 100, "'" + "x" * 38 + "…"),
    ],
)
def test_a_form_is_shown_in_a_few_words(value: Any, text: str) -> None:
    assert text_of_form(canonical(value)).startswith(text)


def test_a_tree_and_nonsense_are_shown_too() -> None:
    assert "tree abababab…" == text_of_form(tree_form(b"\xab" * 32))
    assert "3 bytes of form" == text_of_form(b"???")


def test_long_values_are_shown_without_looking_at_all_of_them() -> None:
    assert "list of 1000" == text_of_value([0] * 1000)
    assert "ndarray float64 10x20" == text_of_value(np.zeros((10, 20)))
    assert "'xxxxxxxxxxxxxxxxxxxxxxxx'… (500 characters)" == text_of_value("x" * 500)
    assert "Crop" == text_of_value(Crop(1))


def test_what_goes_into_a_key_is_taken_apart_again() -> None:
    values = {"crop": Crop(1), "page": b"abc", "tags": {"a": [1]}}
    forms = b"".join(text_form(name) + canonical(value) for name, value in values.items())
    assert [(name, canonical(value)) for name, value in values.items()] == named_forms(forms)
